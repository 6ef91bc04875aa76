"""The parent's side of local inference, against a stub child that keeps to the protocol and misbehaves on request."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.waiting import until
from tuneport.backends.local.backend import LocalBackend
from tuneport.backends.local.runs import process as local_process
from tuneport.backends.local.serving.infer import LocalInferenceProcess
from tuneport.errors import (
    ConfigError,
    ModelNotOfferedError,
    NotFoundError,
    RejectedError,
    TrainingError,
    UnsupportedError,
)
from tuneport.manifests import load_manifest
from tuneport.settings import BackendSettings, ProjectFile, Settings
from tuneport.types import Completion

STUB = """
import json, os, sys, time
folder = sys.argv[sys.argv.index("--model") + 1]
with open(os.path.join(folder, "started"), "a") as started:
    started.write(f"{os.getpid()}\\n")
def say(reply, **fields):
    print(json.dumps({"reply": reply} | fields), flush=True)
if os.path.exists(os.path.join(folder, "broken")):
    say("failed", code="model_not_loaded", message="config.json names an unknown architecture")
    sys.exit(1)
while os.path.exists(os.path.join(folder, "slow")):
    time.sleep(0.01)
print("some library says hello", flush=True)
say("ready", model=folder, device="cpu")
adapters = {None}
for line in sys.stdin:
    request = json.loads(line)
    if request["op"] == "cancel":
        with open(os.path.join(folder, "cancelled"), "a") as cancelled:
            cancelled.write(request["request"] + "\\n")
        continue
    number, op = request["id"], request["op"]
    if op == "load_adapter":
        adapters.add(request["name"])
        say("done", id=number)
        continue
    if request.get("adapter") not in adapters:
        say("failed", id=number, code="unknown_adapter", message="no such adapter")
        continue
    texts = [messages[-1]["content"] for messages in request["conversations"]]
    if "die" in texts:
        print("RuntimeError: out of luck", file=sys.stderr, flush=True)
        os._exit(7)
    if "hang" in texts:
        time.sleep(60)
    if "object" in texts:
        say("failed", id=number, code="invalid_request", message="that is no chat")
        continue
    if "fail" in texts:
        say("failed", id=number, code="out_of_memory", message="not enough memory")
        continue
    if op == "score":
        found = [-float(len(choice)) for choice in request["choices"]]
        for index in range(len(texts)):
            say("scores", id=number, index=index, log_likelihoods=found)
    elif request.get("stream"):
        for letter in texts[0]:
            say("delta", id=number, index=0, text=letter)
        say("answer", id=number, index=0, text=texts[0], finish_reason="stop", prompt_tokens=1, completion_tokens=2)
    else:
        said = request.get("adapter") or "base"
        for index in reversed(range(len(texts))):  # the order in which a batch ends is the child's
            text = f"{said}:{texts[index]}:{request.get('max_tokens')}:{os.getpid()}"
            say("answer", id=number, index=index, text=text, finish_reason="stop", prompt_tokens=3, completion_tokens=2)
    say("done", id=number)
"""


def chat(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return made_model(tmp_path / "tiny-model")


def made_model(folder: Path) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"")
    return folder


@pytest.fixture
def open_stub(settings: Settings, tmp_path: Path) -> Iterator[Callable[..., LocalBackend]]:
    opened: list[LocalBackend] = []

    def open_one(**seconds: float) -> LocalBackend:
        script = tmp_path / "infer_stub.py"
        script.write_text(STUB)
        project = ProjectFile(backends={"local": BackendSettings(options=seconds)})
        backend = LocalBackend(
            load_manifest("local"),
            settings.model_copy(update={"project": project}),
            infer_command=[sys.executable, str(script)],
        )
        opened.append(backend)
        return backend

    yield open_one
    for backend in opened:
        backend.close()


def started(model: Path) -> list[int]:
    return [int(pid) for pid in (model / "started").read_text().split()]


def test_one_child_serves_all_requests_in_their_order(open_stub, model: Path) -> None:
    backend = open_stub()
    one = backend.complete(str(model), chat("hi"), max_completion_tokens=4, temperature=None)
    assert isinstance(one, Completion)
    assert (one.text.split(":")[:3], one.model) == (["base", "hi", "4"], str(model))
    assert (one.finish_reason, one.prompt_tokens, one.completion_tokens) == ("stop", 3, 2)
    words = [f"word {number}" for number in range(150)]
    answers = list(backend.complete_many(str(model), [chat(word) for word in words]))
    assert [answer.text.split(":")[1] for answer in answers] == words
    assert list(backend.score(str(model), [chat("a"), chat("b")], ["no", "yes"])) == [[-2.0, -3.0], [-2.0, -3.0]]
    *pieces, last = backend.complete(str(model), chat("in pieces"), stream=True)
    assert pieces == list("in pieces") and last == ""
    assert last.choices[0]["finish_reason"] == "stop" and last.usage["total_tokens"] == 3
    assert len(started(model)) == 1


def test_threads_share_the_child_and_get_their_own_answers(open_stub, model: Path) -> None:
    backend = open_stub()
    words = [f"word {number}" for number in range(50)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda word: backend.complete(str(model), chat(word)).text.split(":")[1], words))
    assert answers == words
    assert len(started(model)) == 1


def test_stream_that_is_dropped_does_not_disturb_the_next(open_stub, model: Path) -> None:
    backend = open_stub()
    pieces = backend.complete(str(model), chat("a long answer"), stream=True)
    assert next(iter(pieces)) == "a"
    del pieces
    assert backend.complete(str(model), chat("next")).text.startswith("base:next")
    assert (model / "cancelled").read_text().split() == ["1"]


def test_child_that_dies_is_told_with_its_last_words_and_replaced(open_stub, model: Path) -> None:
    backend = open_stub()
    with pytest.raises(TrainingError, match="ended with exit code 7: RuntimeError: out of luck"):
        backend.complete(str(model), chat("die"))
    assert backend.complete(str(model), chat("hi")).text.startswith("base:hi")
    os.kill(started(model)[-1], signal.SIGKILL)
    pid = started(model)[-1]
    until(lambda: local_process.local_run_process_start(pid) is None)
    assert backend.complete(str(model), chat("hi")).text.startswith("base:hi")
    assert len(started(model)) == 3


def test_what_the_child_refuses_is_told_and_it_stays(open_stub, model: Path) -> None:
    backend = open_stub()
    with pytest.raises(RejectedError, match="that is no chat"):
        backend.complete(str(model), chat("object"))
    with pytest.raises(TrainingError, match="not enough memory"):
        backend.complete(str(model), chat("fail"))
    assert backend.complete(str(model), chat("hi")).text.startswith("base:hi")
    assert len(started(model)) == 1


def test_child_that_hangs_is_killed_in_time(open_stub, model: Path) -> None:
    backend = open_stub(silence_seconds=3)
    backend.complete(str(model), chat("hi"))
    with pytest.raises(TrainingError, match="said nothing for 3 s"):
        backend.complete(str(model), chat("hang"))
    assert local_process.local_run_process_start(started(model)[0]) is None


def test_model_that_cannot_be_loaded_is_told(open_stub, model: Path) -> None:
    (model / "broken").touch()
    with pytest.raises(TrainingError, match="unknown architecture"):
        open_stub().complete(str(model), chat("hi"))


def test_model_that_loads_too_long_is_given_up(open_stub, model: Path) -> None:
    (model / "slow").touch()
    with pytest.raises(TrainingError, match="not loaded in time"):
        open_stub(startup_seconds=0.2).complete(str(model), chat("hi"))


def test_close_ends_the_children_and_a_third_model_takes_the_place_of_the_oldest(open_stub, tmp_path: Path) -> None:
    backend = open_stub()
    models = [made_model(tmp_path / name) for name in ("first", "second", "third")]
    for model in models:
        backend.complete(str(model), chat("hi"))
    pids = [started(model)[0] for model in models]
    assert [local_process.local_run_process_start(pid) is None for pid in pids] == [True, False, False]
    backend.close()
    assert all(local_process.local_run_process_start(pid) is None for pid in pids)


def test_child_ends_with_its_parent_however_that_dies(model: Path, tmp_path: Path) -> None:
    script = tmp_path / "infer_stub.py"
    script.write_text(STUB)
    program = f"""
import os, signal
from pathlib import Path
from tuneport.backends.local.serving.infer import LocalInferenceProcess
child = LocalInferenceProcess([{sys.executable!r}, {str(script)!r}, "--model", {str(model)!r}], os.environ,
                         Path({str(tmp_path)!r}), startup_seconds=120, silence_seconds=120)
child.load_adapter("x", Path("/"))
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    until(lambda: local_process.local_run_process_start(started(model)[0]) is None)


def test_a_forked_process_leaves_the_child_to_its_parent(open_stub, model: Path) -> None:
    backend = open_stub()
    before = backend.complete(str(model), chat("hi")).text
    if (forked := os.fork()) == 0:
        backend.close()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(forked, 0)[1]) == 0
    assert len(started(model)) == 1 and local_process.local_run_process_start(started(model)[0]) is not None
    assert backend.complete(str(model), chat("hi")).text == before and len(started(model)) == 1


def test_child_that_cannot_be_started_is_told(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="cannot be started"):
        LocalInferenceProcess(["/no/such/python", "m"], {}, tmp_path, startup_seconds=1, silence_seconds=1)


def test_child_inherits_no_key(open_stub, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOGETHER_API_KEY", "tgp_v1_0123456789")
    backend = open_stub()
    backend.complete(str(model), chat("hi"))
    assert b"tgp_v1" not in Path(f"/proc/{started(model)[0]}/environ").read_bytes()


@pytest.mark.parametrize("option", [{"n": 2}, {"logprobs": True}])
def test_option_that_would_be_ignored_is_refused(open_stub, model: Path, option: dict[str, object]) -> None:
    with pytest.raises(UnsupportedError, match=f"{next(iter(option))}.*max_tokens"):
        open_stub().complete(str(model), chat("hi"), **option)


def test_unknown_models_are_told(open_stub) -> None:
    backend = open_stub()
    with pytest.raises(ModelNotOfferedError):
        backend.complete("gpt-4o-mini-2024-07-18", chat("hi"))
    with pytest.raises(NotFoundError, match="run-0123456789abcdef"):
        backend.complete("ft:smollm2-135m-instruct::0123456789abcdef", chat("hi"))


def test_tuned_model_needs_a_run_that_succeeded(open_stub, model: Path) -> None:
    backend = open_stub()
    run = backend.runs.folder / "run-0123456789abcdef"
    (run / "adapter").mkdir(parents=True)
    (run / "adapter" / "adapter_config.json").write_text("{}")
    request = {"model": str(model), "model_name_or_path": str(model), "spec": {"suffix": "mine"}}
    (run / "run.json").write_text(json.dumps(request))
    (run / "state.json").write_text(json.dumps({"status": "running"}))
    name = "ft:tiny-model:mine:0123456789abcdef"
    with pytest.raises(NotFoundError, match="no tuned weights: it is running"):
        backend.complete(name, chat("hi"))
    (run / "state.json").write_text(json.dumps({"status": "succeeded"}))
    assert [model.id for model in backend.list_models()] == [name]
    for model_name in (name, "run-0123456789abcdef"):
        answer = backend.complete(model_name, chat("hi"))
        assert answer.text.startswith("run-0123456789abcdef") and answer.model == model_name
    assert backend.complete(str(model), chat("hi")).text.startswith("base:")
    with pytest.raises(NotFoundError, match="no checkpoint of step 5"):
        backend.complete(f"{name}:ckpt-step-5", chat("hi"))
    assert len(started(model)) == 1


def test_unknown_option_in_the_project_file_is_told(open_stub) -> None:
    with pytest.raises(ConfigError, match="backends.local.options.patience"):
        open_stub(patience=3.0)
