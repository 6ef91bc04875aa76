"""Local inference end to end: a tiny real model in a child, and behind servers that speak OpenAI's format."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.folders import CHECKOUT
from tests.support.tiny import endless, tiny_adapter, tiny_model
from tests.support.waiting import PATIENCE_SECONDS, until
from tuneport.backends.local.backend import LocalBackend
from tuneport.backends.local.runs import process as local_process
from tuneport.errors import (
    AuthError,
    ConfigError,
    NotFoundError,
    RejectedError,
    TrainingError,
    TuneportError,
    UnavailableError,
    UnsupportedError,
)
from tuneport.infer_protocol import LoadAdapter
from tuneport.manifests import load_manifest
from tuneport.settings import BackendSettings, ProjectFile, Settings
from tuneport.types import Completion

pytest.importorskip("transformers", reason="local inference is an extra: pip install 'tuneport[local]'")
Chat = list[dict[str, str]]


def chat(text: str) -> Chat:
    return [{"role": "user", "content": text}]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return endless(tiny_model(tmp_path_factory.mktemp("served"), context=50_000))


@pytest.fixture(scope="module")
def adapters(model: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return [str(tiny_adapter(tmp_path_factory.mktemp("adapter"), model, seed=seed)) for seed in (1, 2)]


def opened(home: Path, options: dict[str, Any], environment: dict[str, str] | None = None, **more: Any) -> LocalBackend:
    project = ProjectFile(backends={"local": BackendSettings(options=options)})
    settings = Settings.load(home, {"TUNEPORT_HOME": str(home)} | (environment or {}))
    settings = settings.model_copy(update={"project": project})
    return LocalBackend(load_manifest("local"), settings, **more)


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalBackend]:
    made = opened(tmp_path_factory.mktemp("home"), {"precision": "fp32"})  # in which batches change no answer
    yield made
    made.close()


def child_of(backend: LocalBackend) -> Any:
    (child,) = backend._serving.children._children.values()
    return child


def ticks(pid: int) -> int:
    """Processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_calls_of_many_threads_are_answered_together_and_as_alone(
    backend: LocalBackend, model: Path, adapters: list[str]
) -> None:
    models = [str(model), *adapters]
    jobs = [(models[number % 3], f"question {number}", 6 + number) for number in range(9)]
    options = {"temperature": 0.9, "seed": 4}

    def ask(job: tuple[str, str, int]) -> str:
        name, text, most = job
        answer = backend.complete(name, chat(text), max_tokens=most, **options)
        assert isinstance(answer, Completion) and answer.completion_tokens == most
        assert answer.seconds is not None and answer.seconds >= (answer.seconds_to_first_token or 0) > 0
        return answer.text

    def stream(job: tuple[str, str, int]) -> str:
        name, text, most = job
        return "".join(backend.complete(name, chat(text), stream=True, max_tokens=most, **options))

    expected = [ask(job) for job in jobs]
    assert len(set(expected)) == len(jobs)
    with ThreadPoolExecutor(18) as pool:
        whole, streamed = pool.map(ask, jobs), pool.map(stream, jobs)
        assert list(whole) == expected and list(streamed) == expected
    assert len(backend._serving.children._children) == 1


def test_a_long_answer_goes_on_beside_others_and_ends_when_nobody_wants_it(backend: LocalBackend, model: Path) -> None:
    pieces = backend.complete(str(model), chat("a long one"), stream=True, max_tokens=49_000, temperature=0)
    assert isinstance(pieces, Iterator)
    assert next(pieces)
    for text, error, match in (
        ("x" * 60_000, RejectedError, "the model reads 50,000; shorten it"),
        ("", RejectedError, "at least|empty|content"),
    ):
        messages = chat(text) if text else []
        with pytest.raises(error, match=match) as caught:
            backend.complete(str(model), messages)
        assert "\n" not in str(caught.value)
    answers = backend.complete_many(str(model), [chat(f"q{number}") for number in range(150)], max_tokens=2)
    assert len([answer.text for answer in answers]) == 150
    assert next(pieces) and child_of(backend).waiting
    del pieces
    pid = child_of(backend)._child.pid

    def idle() -> bool:  # it waits: the rest of the long answer would have taken minutes
        before = ticks(pid)
        time.sleep(0.5)
        return ticks(pid) == before

    until(idle, told=lambda: f"{ticks(pid)} ticks of process {pid}")


def test_an_adapter_of_another_model_is_refused_and_nothing_else_changes(
    backend: LocalBackend, model: Path, adapters: list[str], tmp_path: Path
) -> None:
    import json

    before = backend.complete(adapters[0], chat("hello"), max_tokens=5, temperature=0)
    other = tiny_model(tmp_path / "other")
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config))
    from transformers import LlamaConfig, LlamaForCausalLM

    size = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=259, **size)).save_pretrained(other)
    wrong = tiny_adapter(tmp_path / "wrong", other)
    config = json.loads((wrong / "adapter_config.json").read_text())
    (wrong / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": str(model)}))
    with pytest.raises(RejectedError, match="does not fit this model: .*size mismatch") as caught:
        backend.complete(str(wrong), chat("hello"))
    assert "\n" not in str(caught.value)
    again = backend.complete(adapters[0], chat("hello"), max_tokens=5, temperature=0)
    assert again.text == before.text


def test_each_call_in_flight_is_told_once_when_the_child_is_killed(backend: LocalBackend, model: Path) -> None:
    # Greedy, since a drawn answer may end by itself before the kill.
    streams = [
        backend.complete(str(model), chat(f"q{n}"), stream=True, max_tokens=40_000, temperature=0) for n in range(4)
    ]
    for pieces in streams:
        assert next(pieces)
    pid = child_of(backend)._child.pid
    with ThreadPoolExecutor(4) as pool:
        told = [pool.submit(lambda pieces: list(pieces), pieces) for pieces in streams]
        os.kill(pid, signal.SIGKILL)
        for future in told:
            with pytest.raises(TrainingError, match="was killed by signal 9"):
                future.result(timeout=PATIENCE_SECONDS)
    assert all(not list(pieces) for pieces in streams)
    assert backend.complete(str(model), chat("hello"), max_tokens=2).completion_tokens == 2
    assert child_of(backend)._child.pid != pid


def gone(pid: int) -> None:
    until(lambda: local_process.local_run_process_start(pid) is None)


def test_a_child_in_the_middle_of_an_answer_ends_with_its_parent(model: Path, tmp_path: Path) -> None:
    program = f"""
import os, signal, sys
from pathlib import Path
from tests.backends.local.serving.test_serving import chat, child_of, opened
backend = opened(Path({str(tmp_path)!r}), {{}})
pieces = backend.complete({str(model)!r}, chat("hello"), stream=True, max_tokens=49000, temperature=0)
next(pieces)
print(child_of(backend)._child.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    root = str(CHECKOUT)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    gone(int(done.stdout))


# --- servers that answer instead ------------------------------------------------------------------------------------


@pytest.fixture
def server(model: Path) -> Iterator[Any]:
    from tests.support.vllm import ChatEmulator

    emulator = ChatEmulator(model, "served-base", key="sk-of-the-server")
    thread = threading.Thread(target=emulator.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield emulator
    emulator.shutdown()
    thread.join()
    emulator.server_close()


def test_a_server_by_url_answers_for_the_models_it_has(
    server: Any, model: Path, adapters: list[str], tmp_path: Path
) -> None:
    options = {"serve_url": server.url, "serve_api_key_env": "OUR_SERVER_KEY"}
    backend = opened(tmp_path, options, {"OUR_SERVER_KEY": "sk-of-the-server"})
    greedy = {"max_tokens": 6, "temperature": 0}
    by_name = backend.complete("served-base", chat("hello"), **greedy)
    by_folder = backend.complete(str(model), chat("hello"), **greedy)
    assert isinstance(by_name, Completion) and isinstance(by_folder, Completion)
    assert by_name.text == by_folder.text and by_name.model == "served-base" and by_folder.model == str(model)
    assert (by_name.completion_tokens, by_name.finish_reason) == (6, "length") and by_name.prompt_tokens
    *pieces, last = backend.complete(str(model), chat("hello"), stream=True, **greedy)
    assert "".join(pieces) == by_name.text and last.usage["completion_tokens"] == by_name.completion_tokens
    assert pieces[-1].choices[0]["finish_reason"] == by_name.finish_reason
    backend.complete(str(model), chat("hello"))
    assert server.answerer.requests[-1] | {"messages": 0} == {
        "model": "served-base",
        "messages": 0,
        "max_tokens": 512,
        "temperature": 1.0,
        "top_p": 1.0,
    }
    many = list(backend.complete_many(str(model), [chat(f"q{number}") for number in range(20)], **greedy))
    assert [answer.text for answer in many] == [
        backend.complete(str(model), chat(f"q{number}"), **greedy).text for number in range(20)
    ]
    with pytest.raises(NotFoundError, match=f"has served-base; not {adapters[0]}: load .*--lora-modules"):
        backend.complete(adapters[0], chat("hello"))
    with pytest.raises(NotFoundError, match="not gpt-9: name one of those"):
        backend.complete("gpt-9", chat("hello"))
    server.answerer.ask(LoadAdapter(name="ours", folder=adapters[0])).get()
    server.adapters["ours"] = adapters[0]
    assert backend.complete(adapters[0], chat("hello"), **greedy).text != by_name.text
    with pytest.raises(RejectedError, match="answers 400: .*the model reads 50,000"):
        backend.complete(str(model), chat("x" * 60_000))
    with pytest.raises(RejectedError, match="answers 400: .*the model reads 50,000"):
        list(backend.complete(str(model), chat("x" * 60_000), stream=True))

    pieces = backend.complete(str(model), chat("hello"), stream=True, max_tokens=40_000)
    assert next(iter(pieces))
    pieces.close()  # type: ignore[union-attr]
    until(lambda: server.answerer.cancelled)
    server.breaks_off = True
    with pytest.raises(UnavailableError, match="stopped in the middle"):
        list(backend.complete(str(model), chat("hello"), stream=True))
    backend.close()


def test_what_a_server_would_fetch_is_not_sent_to_it(server: Any, tmp_path: Path) -> None:
    """vLLM fetches http and https: whoever may chat would ask the machine's own network by it."""
    options = {"serve_url": server.url, "serve_api_key_env": "OUR_SERVER_KEY"}
    backend = opened(tmp_path, options, {"OUR_SERVER_KEY": "sk-of-the-server"})
    inside = "http://169.254.169.254/latest/meta-data"
    parts: list[dict[str, Any]] = [
        {"type": "image_url", "image_url": {"url": inside}},
        {"type": "image_url", "image_url": {"url": " HTTP://127.0.0.1:8321/"}},
        {"type": "image_url", "image_url": {"url": "file:///etc/passwd"}},
        {"type": "image_url", "image_url": {"url": "//127.0.0.1/"}},
        {"type": "image_url", "image_url": inside},
        {"image_url": inside},
        {"type": "video_url", "video_url": {"url": inside}},
        {"type": "audio_url", "audio_url": {"url": inside}},
        {"type": "input_audio", "input_audio": {"data": inside, "format": "wav"}},
        {"type": "file", "file": {"file_data": inside}},
    ]
    for part in parts:
        messages = [
            {"role": "user", "content": "Hi"},
            {"role": "user", "content": [{"type": "text", "text": "Hi"}, part]},
        ]
        with pytest.raises(UnsupportedError, match=r"messages\[1\]\.content\[1\]\.\S+ is an address") as refused:
            backend.complete("served-base", messages)
        assert (refused.value.param or "").startswith("messages[1].content[1].")
        with pytest.raises(UnsupportedError, match="fetches none"):
            list(backend.complete("served-base", messages, stream=True))
    assert server.answerer.requests == []
    data = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"}}
    text = {"type": "text", "text": f"see {inside}"}
    with contextlib.suppress(RejectedError):  # the tiny model has no eyes
        backend.complete("served-base", [{"role": "user", "content": [text, data]}], max_tokens=2)
    assert server.answerer.requests[-1]["messages"][0]["content"] == [text, data]
    backend.close()


@pytest.mark.parametrize(
    ("options", "environment", "error", "match"),
    [
        ({"serve_url": "{url}"}, {}, AuthError, "answers 401: Unauthorized"),
        ({"serve_url": "{url}", "serve_api_key_env": "NO_SUCH_KEY"}, {}, ConfigError, "NO_SUCH_KEY is not set"),
        ({"serve_url": "http://127.0.0.1:9/v1"}, {}, UnavailableError, "cannot be reached"),
        ({"serve_url": "127.0.0.1"}, {}, ConfigError, "is not an address"),
    ],
)
def test_a_server_that_cannot_be_asked_is_told(
    server: Any, tmp_path: Path, options: dict[str, Any], environment: dict[str, str], error: type, match: str
) -> None:
    filled = {name: value.replace("{url}", server.url) for name, value in options.items()}
    backend = opened(tmp_path, filled, environment)
    with pytest.raises(error, match=match) as caught:
        backend.complete("served-base", chat("hello"))
    assert isinstance(caught.value, TuneportError) and "\n" not in str(caught.value)
    backend.close()


VLLM = (sys.executable, "-m", "tests.support.vllm")


def test_vllm_is_started_with_adapters_and_ends_with_the_backend(
    model: Path, adapters: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """vLLM itself does not run here: a server with its options and its way to load adapters stands in for it."""
    root = str(CHECKOUT)
    path = os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", path)
    backend = opened(tmp_path, {"engine": "vllm"}, {"PYTHONPATH": path}, vllm_command=VLLM)
    greedy = {"max_tokens": 6, "temperature": 0}
    texts = [backend.complete(name, chat("hello"), **greedy).text for name in (str(model), *adapters)]
    assert len(set(texts)) == 3
    assert "".join(backend.complete(adapters[1], chat("hello"), stream=True, **greedy)) == texts[2]
    server = backend._serving.vllm._server
    assert server is not None and not backend._serving.children._children
    pid = int(next(line for line in server._log if line.startswith("pid ")).split()[1])
    backend.close()
    gone(pid)


def test_vllm_that_does_not_start_says_why(model: Path, tmp_path: Path) -> None:
    program = "import sys; print('ValueError: no GPU found'); sys.exit(3)"
    backend = opened(tmp_path, {"engine": "vllm"}, vllm_command=(sys.executable, "-c", program))
    with pytest.raises(TrainingError, match="ended with exit code 3: ValueError: no GPU found"):
        backend.complete(str(model), chat("hello"))
    backend.close()
    without = opened(tmp_path, {"engine": "vllm"})
    with pytest.raises(ConfigError, match=r"pip install .*\[vllm\]"):
        without.complete(str(model), chat("hello"))
    without.close()
