"""The command line as people and scripts use it: documents, exit codes, and one line for everything that is wrong."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tuneport
from tests.support.commands import Finish, Run
from tests.support.folders import FIXTURES
from tests.support.terminal import pretend_terminal, without_styles
from tests.support.tiny import tiny_model
from tuneport.cli.main import main
from tuneport.errors import ConfigError
from tuneport.testing.emulators.openai.emulator import OpenAIEmulator
from tuneport.testing.emulators.together.emulator import TogetherEmulator
from tuneport.training_options import TrainingOptions

TRAIN = str(FIXTURES / "datasets" / "support_intents.train.jsonl")


@pytest.fixture
def providers(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, OpenAIEmulator | TogetherEmulator]]:
    with OpenAIEmulator() as openai, TogetherEmulator() as together:
        monkeypatch.setenv("TUNEPORT_OPENAI_BASE_URL", openai.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", openai.key)
        monkeypatch.setenv("TUNEPORT_TOGETHER_BASE_URL", together.base_url)
        monkeypatch.setenv("TOGETHER_API_KEY", together.key)
        yield {"openai": openai, "together": together}


def test_one_command_any_backend_the_same_document(
    run: Run, providers: dict[str, Any], isolated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model(tmp_path / "tiny-model", context=2048)
    (isolated / "tuneport.toml").write_text(
        f'[models.support-intents]\nlocal = "{model}"\n[backends.together.options]\npoll_interval = 0.01\n'
    )
    data = tmp_path / "few.jsonl"
    data.write_text("".join(Path(TRAIN).read_text().splitlines(keepends=True)[:24]))
    documents = {}
    for name in ("fake", "openai", "together", "local"):
        monkeypatch.setenv("TUNEPORT_BACKEND", name)
        code, document, error = run(
            "submit", "--yes", "--anyway", str(data), "--model", "support-intents", "--wait", "--json"
        )
        assert code == 0, error
        documents[name] = document
    for name, document in documents.items():
        assert document["backend"] == name
        assert document["status"] == "succeeded" and document["tuned_model"]
    quote = documents["together"]["quote"]
    # Few rows are not packed, so each is billed at its sequence's length: Together's own estimate does not know that.
    assert quote["authority"] == "manifest" and f"{24 * 1024:,} tokens x 5 epochs" in quote["explanation"]
    shapes = {tuple(_shape(document)) for document in documents.values()}
    assert len(shapes) == 1
    assert providers["openai"].jobs_created == providers["together"].jobs_created == 1
    code, listed, _ = run("jobs", "--json")
    assert [row["backend"] for row in listed["data"]] == ["local", "together", "openai", "fake"]


def _shape(document: dict[str, Any]) -> list[str]:
    fixed = ("dataset", "hyperparameters", "progress")
    inner = [f"{key}.{name}" for key in fixed for name in sorted(document[key])]
    return sorted(document) + inner


def test_every_command_prints_one_document(
    run: Run, finished: Finish, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TUNEPORT_BACKEND", "fake")
    job = finished(TRAIN, "--model", "m")
    for arguments in (
        ["check", TRAIN],
        ["split", TRAIN, "-o", str(tmp_path)],
        ["convert", TRAIN, "--to", "alpaca", "-o", str(tmp_path / "out.jsonl")],
        ["clean", TRAIN, "-o", str(tmp_path / "clean.jsonl"), "--redact"],
        ["compare", TRAIN, "--model", "support-intents"],
        ["jobs"],
        ["show", job],
        ["watch", job],
        ["logs", job],
        ["metrics", job],
        ["cancel", job],
        ["chat", job, "Where is my parcel?"],
        ["backends"],
        ["doctor"],
    ):
        code, document, error = run(*arguments, "--json")
        assert code == 0, (arguments, error)
        assert isinstance(document, dict), arguments


def test_the_same_commands_print_for_people_in_80_columns(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TUNEPORT_BACKEND", "fake")
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = run("submit", "--yes", "--anyway", TRAIN, "--model", "m", "--wait")
    assert code == 0
    job = out.split()[0]
    pretend_terminal(monkeypatch)
    for arguments in (["check", TRAIN], ["compare", TRAIN], ["jobs"], ["metrics", job], ["backends"], ["logs", job]):
        code, out, error = run(*arguments)
        assert code == 0, (arguments, error)
        assert out.strip() and max(map(len, without_styles(out).splitlines())) <= 80, arguments


def test_compare_has_a_row_for_each_provider_with_its_facts(run: Run) -> None:
    _, document, _ = run("compare", TRAIN, "--model", "support-intents", "--json")
    usual = [row for row in document["choices"] if row["inference_per_month"]["offer"] is None]
    rows = {row["backend"]: row for row in usual}
    assert set(rows) == {"local", "openai", "together"}
    for name in ("openai", "together"):
        assert rows[name]["training"]["expected"] > 0
        assert rows[name]["inference_per_month"]["expected"] > 0
        assert rows[name]["priced_on"] and rows[name]["training"]["source"]
        assert rows[name]["duration"]["unavailable"]
    assert rows["openai"]["retires"] == "2027-01-14"
    assert rows["local"]["training"]["expected"] == 0 and rows["local"]["duration"]["expected_seconds"] > 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist"),
        ("", "is empty"),
        ("directory", "is a folder without data files"),
        ("broken on line 7", "data.jsonl:7"),
        ("no answer", "data.jsonl:3"),
    ],
)
@pytest.mark.parametrize("command", ["check", "submit"])
def test_a_bad_dataset_is_one_line_and_starts_nothing(
    run: Run, tmp_path: Path, command: str, content: str | None, message: str
) -> None:
    path = tmp_path / "data.jsonl"
    good = Path(TRAIN).read_text().splitlines()[:20]
    if content == "directory":
        path.mkdir()
    elif content is not None:
        rows = {
            "": [],
            "broken on line 7": good[:6] + [good[6][:-3]] + good[7:],
            "no answer": good[:2] + ['{"messages": [{"role": "user", "content": "Hello?"}]}'] + good[3:],
        }[content]
        path.write_text("".join(row + "\n" for row in rows))
    more = ["--model", "support-intents", "--backend", "fake"] if command == "submit" else []
    arguments = [command, str(path), *more]
    code, out, error = run(*arguments)
    assert code == 2
    told = error if command == "submit" or content in (None, "", "directory") else out
    assert message in told.replace("\n", " ") or message.rpartition(":")[2] in told
    if command == "submit":
        assert error.count("\n") == 1 and error.startswith("error: ")
        assert run("jobs", "--json")[1]["data"] == []


def test_a_missing_file_is_one_line_with_a_method_given_too(run: Run, tmp_path: Path) -> None:
    """With a method, the first look at the file is at its size, not at its rows."""
    missing = tmp_path / "missing.jsonl"
    code, _, error = run("submit", str(missing), "--method", "sft", "-m", "support-intents", "-b", "fake")
    assert code == 2 and error == f"error: {missing}: does not exist; correct the path\n"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (
            ["submit", "--yes", "--anyway", TRAIN, "--model", "gpt-5-turbo", "--backend", "openai"],
            2,
            "OpenAI does not offer gpt-5-turbo",
        ),
        (["submit", "--yes", "--anyway", TRAIN, "--model", "support-intents", "--backend", "nowhere"], 2, "'nowhere'"),
        (
            ["submit", "--yes", "--anyway", TRAIN, "--model", "support-intents", "--backend", "together"],
            2,
            "TOGETHER_API_KEY",
        ),
        (
            ["submit", "--yes", "--anyway", TRAIN, "--model", "m", "-b", "fake", "--set", "epochs=0"],
            2,
            "epochs: must be at least 1",
        ),
        (
            ["submit", "--yes", "--anyway", TRAIN, "--model", "m", "-b", "fake", "--set", "epoch=1"],
            2,
            "there is no 'epoch'; did you mean epochs?",
        ),
        (
            ["submit", "--yes", "--anyway", TRAIN, "--model", "m", "-b", "fake", "--set", "epochs"],
            2,
            "is not NAME=VALUE",
        ),
        (["submit", "--yes", "--anyway", TRAIN, "--model", "m", "-b", "fake", "--budget", "1"], 2, "budget"),
        (["submit", TRAIN, "-m", "gpt-4.1", "--model", "gpt-4o"], 2, "--model is given 2 times, and one is meant here"),
        (["submit", TRAIN, "-m", "m", "-b", "fake", "-bopenai"], 2, "--backend is given 2 times"),
        (["plan", TRAIN, "--model=qwen3-8b", "-m", "qwen3-4b"], 2, "--model is given 2 times, and one is meant here"),
        (["show", "job-none"], 2, "no job 'job-none' here"),
        (["convert", TRAIN, "--to", "nonsense", "-o", "x.jsonl"], 2, "nonsense"),
        (
            ["convert", TRAIN, "--to", "openai", "-o", "x.jsonl", "--map", "messages"],
            2,
            "--map messages is not a mapping",
        ),
        (["convert", TRAIN, "--to", "openai", "-o", "x.jsonl", "--map", "a=b"], 2, "no record has the column 'b'"),
        (["compare", TRAIN, "--traffic-in", "many"], 2, "--traffic-in: 'many' is not a count; write"),
        (["compare", TRAIN, "--tokens-per-request", "400"], 2, "is not IN:OUT"),
        (["compare", TRAIN, "--tokens-per-request", "400:80"], 2, "need the number of requests"),
        (["compare", TRAIN, "--prompt-saved", "401"], 2, "more than the prompt has"),
        (["compare", TRAIN, "--own-gpu", "H100", "--own-hour", "25000"], 2, "is not an hourly price"),
        (["compare", TRAIN, "--own-speed", "100"], 2, "a speed alone gives no price"),
        (["compare", TRAIN, "--own-gpu", "Voodoo 2"], 2, "the GPU 'Voodoo 2' is not known"),
        (["compare", TRAIN, "--model", "no-such-model"], 2, "no-such-model"),
        (["submit", "--yes", "--anyway", TRAIN], 2, "--model"),
        (
            ["submit", "--yes", "--anyway", TRAIN, "--model", "m", "-b", "fake", "--method", "zzz"],
            2,
            "method: Input should be",
        ),
        (
            ["submit", "--yes", "--anyway", TRAIN, "--model", "m", "-b", "fake", "--adapter", "zzz"],
            2,
            "adapter: Input should be",
        ),
        (
            ["submit", "--yes", "--anyway", TRAIN, "--model", "m", "-b", "fake", "--set", "epochs=x"],
            2,
            "epochs: Input should be",
        ),
        (["compare", TRAIN, "--epochs", "0"], 2, "--epochs"),
        (["compare", TRAIN, "--method", "zzz"], 2, "method: Input should be 'sft', 'dpo'"),
        (["compare", TRAIN, "--cached", "7"], 2, "--cached"),
        (["compare", TRAIN, "--cached", "nan"], 2, "--cached"),
        (["compare", TRAIN, "--traffic-in", "9" * 400], 2, "is not a count; write"),
        (["jobs", "--limit", "99999999999999999999"], 2, "--limit"),
        (["logs", "job-none", "--after", "99999999999999999999"], 2, "--after"),
        (["show", "\udcff"], 2, r"the argument '\udcff' is not UTF-8"),
        (["frobnicate"], 2, "frobnicate"),
    ],
)
def test_a_wrong_command_is_told_and_has_the_right_exit_code(
    run: Run, arguments: list[str], code: int, message: str
) -> None:
    got, out, error = run(*arguments)
    assert (got, out) == (code, "")
    assert message in error and error.startswith("error: ") and "Traceback" not in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "--json"], "Missing argument"),
        (["jobs", "--json", "--nonsense"], "--nonsense"),
        (["jobs", "--limit", "abc", "--json"], "--limit"),
        (["jobs", "--json", "--limit", "0"], "--limit"),
        (["frobnicate", "--json"], "frobnicate"),
    ],
)
def test_a_wrong_command_is_a_document_where_one_was_asked_for(run: Run, arguments: list[str], message: str) -> None:
    code, document, error = run(*arguments)
    assert code == 2 and document["error"]["type"] == "UsageError"
    assert message in document["error"]["message"] and error == f"error: {document['error']['message']}\n"


def test_an_option_that_is_no_option_asks_for_no_document(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "--", "--json", "more"]) == 2
    assert capsys.readouterr().out == ""


def test_a_bug_is_one_line_and_one_document(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object, **more: object) -> None:
        raise RuntimeError("first\n  second")

    monkeypatch.setattr("tuneport.lifecycle.store.jobs.JobStore.all", broken)
    code, document, error = run("jobs", "--json")
    assert code == 1 and document["error"]["type"] == "InternalError" and error.count("\n") == 1
    assert document["error"]["message"].startswith("a bug in tuneport: RuntimeError: first second; ")


def test_what_is_wrong_with_the_home_is_told(run: Run, isolated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (isolated / "home").mkdir()
    (isolated / "home" / "files").write_text("")
    monkeypatch.setenv("TUNEPORT_HOME", str(isolated / "home"))
    code, document, _ = run("submit", "--yes", "--anyway", TRAIN, "--model", "m", "-b", "fake", "--json")
    assert code == 2 and document["error"]["type"] == "StorageError"
    assert run("jobs", "--json")[1]["data"] == []
    (isolated / ".env").write_bytes(b"A=\xff\n")
    code, document, _ = run("jobs", "--json")
    assert code == 2 and ".env cannot be read" in document["error"]["message"]


@pytest.mark.parametrize("spoken", [b"", b" \n", b"\xff"])
def test_nothing_to_say_is_told(run: Run, finished: Finish, monkeypatch: pytest.MonkeyPatch, spoken: bytes) -> None:
    job = finished(TRAIN, "--model", "m", "--backend", "fake")
    for more in (["--json"], []):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(spoken), encoding="utf-8"))
        code, document, error = run("chat", job, *more)
        assert code == 2 and ("no message" in error or "is not UTF-8" in error)
        assert not more or document["error"]["type"] == "ConfigError"


def test_a_cancelled_job_that_was_waited_for_is_no_success(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNEPORT_BACKEND", "fake")
    _, job, _ = run("submit", "--yes", "--anyway", TRAIN, "--model", "m", "--json")
    code, cancelled, _ = run("cancel", job["id"], "--json")
    assert code == 0 and cancelled["status"] in ("cancelling", "cancelled")
    code, document, error = run("watch", job["id"], "--json")
    assert (code, document["status"]) == (2, "cancelled") and f"{job['id']} was cancelled" in error
    code, out, error = run("watch", job["id"])
    assert (code, out) == (2, "") and error.count("was cancelled") == 1


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"hyperparameters": {"epoch": 1}}, "there is no 'epoch'; did you mean epochs?"),
        ({"hyperparameters": {"zzz": 1}}, "there is no 'zzz'; known are: epochs, "),
        ({"hyperparameters": {"epochs": 0}}, "epochs: must be at least 1, or auto; got 0"),
        ({"method": "zzz"}, "method: Input should be 'sft', 'dpo'"),
    ],
)
def test_python_is_told_in_the_same_words(more: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        tuneport.submit(TRAIN, model="m", backend="fake", confirm=False, anyway=True, **more)
    assert str(caught.value).startswith(message)
    with pytest.raises(ConfigError, match="epochs: must be at least 1"):
        tuneport.compare(TRAIN, epochs=0)


@pytest.mark.parametrize("command", [["submit"], ["plan"]])
def test_the_options_are_listed_instead_of_a_job(run: Run, command: list[str]) -> None:
    code, out, _ = run(*command, "--set", "help")
    assert code == 0 and "learning_rate_multiplier" in out and "examples per" in out
    assert max(map(len, out.splitlines())) <= 80 and "…" not in out
    _, listed, _ = run(*command, "--option", "help", "--json")
    rows = {row["name"]: row for row in listed["data"] if row["backends"] == ["local"]}
    assert rows["precision"]["takes"] == "bf16, fp16 or fp32"
    assert rows.keys() == TrainingOptions.model_fields.keys()


def test_the_options_of_one_backend(run: Run) -> None:
    _, listed, _ = run("submit", "--option", "help", "-b", "azure", "--json")  # it has no address here
    assert {row["name"] for row in listed["data"]} == {"trainingType", "other names"}
    _, listed, _ = run("submit", "--set", "help", "-b", "openai", "--json")
    names = {row["name"] for row in listed["data"]}
    assert "epochs" in names and "lora_rank" not in names
    assert run("plan", TRAIN, "-m", "smollm2-135m-instruct", "--option", "helpful")[0] == 2


def test_an_approximate_price_is_marked(run: Run) -> None:
    tools = str(FIXTURES / "datasets" / "support_tools.jsonl")
    arguments = ("compare", tools, "--model", "gpt-4.1-mini", "--backend", "openai")
    quote = run(*arguments, "--json")[1]["choices"][0]["training"]
    assert quote["low"] < quote["expected"] < quote["high"] and "tool definitions" in quote["explanation"]
    code, out, _ = run(*arguments)
    assert code == 0 and "~$" in out
    assert "the training price is approximate" in run(*arguments, "--all")[1]


def test_an_error_is_a_document_too(run: Run) -> None:
    code, document, error = run("show", "job-none", "--json")
    assert code == 2 and document["error"]["type"] == "UnknownJobError" and error.startswith("error: ")


def test_a_server_that_is_down_leaves_a_job_that_tells_the_truth(
    run: Run, monkeypatch: pytest.MonkeyPatch, isolated: Path
) -> None:
    (isolated / "tuneport.toml").write_text("[backends.openai.options]\ntimeout = 1.0\n")
    monkeypatch.setenv("TUNEPORT_OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-secret")
    monkeypatch.setattr("tuneport.backends.hosted.backend._TRIES", 1)
    code, out, error = run("submit", "--yes", "--anyway", TRAIN, "--model", "support-intents", "--backend", "openai")
    assert code == 3 and "cannot be reached" in error and "sk-secret" not in error
    _, listed, _ = run("jobs", "--json")
    (job,) = listed["data"]
    assert job["status"] == "preparing" and "cannot be reached" in job["note"]
    with OpenAIEmulator() as emulator:
        monkeypatch.setenv("TUNEPORT_OPENAI_BASE_URL", emulator.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", emulator.key)
        code, document, error = run("watch", job["id"], "--json")
    assert code == 0 and document["status"] == "succeeded", error


def test_a_wrong_key_is_told_with_the_variable(run: Run, providers: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-wrong-wrong-wrong")
    code, out, error = run("submit", "--yes", "--anyway", TRAIN, "--model", "support-intents", "--backend", "openai")
    assert code == 2 and "OPENAI_API_KEY" in error and "sk-wrong" not in error


def test_ctrl_c_while_watching_keeps_the_job(isolated: Path) -> None:
    """A real process, a real SIGINT; the next command goes on where the first one stopped."""
    with OpenAIEmulator(pace=60) as emulator:
        environment = os.environ | {"TUNEPORT_OPENAI_BASE_URL": emulator.base_url, "OPENAI_API_KEY": emulator.key}
        environment["PYTHONFAULTHANDLER"] = "1"  # where it hangs, if it does
        command = [
            sys.executable,
            "-m",
            "tuneport.cli.main",
            "submit",
            "--yes",
            "--anyway",
            TRAIN,
            "-m",
            "support-intents",
            "--wait",
        ]
        process = subprocess.Popen(
            [*command, "-b", "openai", "--json"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        said = ""
        while "validating" not in said:
            line = process.stderr.readline()
            assert line, said
            said += line
        process.send_signal(signal.SIGINT)
        try:
            out, rest = process.communicate(timeout=300)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGABRT)
            pytest.fail(process.communicate()[1])
        assert process.returncode == 130
        assert "continues it" in rest and "Traceback" not in rest
        job = next(word for word in said.split() if word.startswith("job-")).rstrip(":")
        document = json.loads(out)
        assert document["error"]["type"] == "Interrupted" and document["job"] == job
        emulator.advance(600)
        done = subprocess.run(
            [sys.executable, "-m", "tuneport.cli.main", "watch", job, "--json"],
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["status"] == "succeeded"
        assert emulator.jobs_created == 1


def test_convert_maps_columns(run: Run, tmp_path: Path) -> None:
    source = tmp_path / "faq.csv"
    source.write_text("question,answer\nWhere is it?,On its way.\n")
    out = tmp_path / "faq.jsonl"
    mapped = ("--map", "instruction=question", "--map", "output=answer")
    code, document, error = run("convert", str(source), "--to", "openai", "-o", str(out), *mapped, "--json")
    assert (code, error, document["rows"]) == (0, "", 1)
    assert "Where is it?" in out.read_text()


@pytest.mark.parametrize("arguments", [["backends"], ["backends", "--json"], ["--help"]])
def test_a_reader_that_has_gone_ends_a_command_without_a_word(arguments: list[str], tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-c", "from tuneport.cli.main import run; run()", *arguments],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


def test_a_pipe_to_a_child_that_has_died_is_no_reader_that_has_gone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object, **kwargs: object) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr("tuneport.cli.main.app", broken)
    assert main(["backends"]) == 1
    assert "a bug in tuneport: BrokenPipeError" in capsys.readouterr().err
    print("still here")
    assert capsys.readouterr().out == "still here\n"
