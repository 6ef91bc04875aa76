"""A content goes to an account once: whatever answers are lost, however late lists are, however many processes ask."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.folders import CHECKOUT
from tuneport.testing.emulators import OpenAIEmulator, TogetherEmulator
from tuneport.types import PreparedData, TuneSpec

MODELS = {"openai": "gpt-4.1-mini-2025-04-14", "together": "meta-llama/Meta-Llama-3.1-8B-Instruct-Reference"}
LAGS = (0.0, 60.0)
LOST = {
    "openai": [("drop_after_accept", "POST", "/files")],
    "together": [
        ("drop_after_accept", "POST", "/files"),
        ("reset_after_accept", "PUT", "/_storage/*"),
        ("drop_after_accept", "POST", "/files/*/preprocess"),
    ],
}
CASES = [(name, fault, lag) for name, faults in LOST.items() for fault in faults for lag in LAGS]


def spec_of(name: str, data: PreparedData) -> TuneSpec:
    return TuneSpec(model=MODELS[name], dataset=data.training.path)


def emulator_of(name: str, **switches: Any) -> Any:
    """One that takes the same content twice, where it is sent twice."""
    if name == "openai":
        return OpenAIEmulator(pace=0.01, **switches)
    return TogetherEmulator(pace=0.01, knows_contents=False, **switches)


def letting_time_pass(backend: Any, emulator: Any) -> Any:
    """The emulator's clock goes on by what the backend sleeps."""
    backend._sleep = emulator.advance
    return backend


@pytest.mark.parametrize(("name", "fault", "lag"), CASES, ids=lambda value: str(value))
def test_a_lost_answer_leaves_one_file(
    connect: Callable[..., Any], data: PreparedData, name: str, fault: tuple[str, str, str], lag: float
) -> None:
    with emulator_of(name, file_lag=lag) as emulator:
        backend = letting_time_pass(connect(emulator), emulator)
        kind, method, path = fault
        emulator.fail(kind, method=method, path=path)
        (file,) = backend.prepare(spec_of(name, data), data)
        assert len(emulator.accepted_uploads) == 1
        assert list(emulator.files) == [file.id], "a file, or what is left of one, lies there besides"
        (again,) = backend.prepare(spec_of(name, data), data)
        assert again.id == file.id and len(emulator.accepted_uploads) == 1


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("status", [429, 503])
def test_what_was_refused_is_sent_again_without_a_look_of_a_minute(
    connect: Callable[..., Any], data: PreparedData, name: str, status: int
) -> None:
    with emulator_of(name) as emulator:
        emulator.fail("status", method="POST", path="/files", status=status)
        backend = connect(emulator)
        (file,) = backend.prepare(spec_of(name, data), data)
        assert emulator.accepted_uploads and sum(backend.waits) < 5 and list(emulator.files) == [file.id]


@pytest.mark.parametrize("name", MODELS)
def test_a_process_that_died_in_an_upload_is_followed_by_a_look(
    connect: Callable[..., Any], data: PreparedData, name: str
) -> None:
    with emulator_of(name, file_lag=60) as emulator:
        first = connect(emulator)
        method, stored = ("POST", "/files") if name == "openai" else ("PUT", "/_storage/*")

        class Died(BaseException):
            """As a kill does it: no line of the program is run any more."""

        def die(request: Any) -> None:
            if request.method in ("POST", "PUT") and emulator.accepted_uploads:
                raise Died

        emulator.fail("drop_after_accept", method=method, path=stored)
        first.client._client.event_hooks["request"].append(die)
        first._sleep = lambda seconds: (_ for _ in ()).throw(Died())
        with pytest.raises(Died):
            list(first.prepare(spec_of(name, data), data))
        assert len(emulator.accepted_uploads) == 1
        second = letting_time_pass(connect(emulator), emulator)
        (file,) = second.prepare(spec_of(name, data), data)
        assert len(emulator.accepted_uploads) == 1 and list(emulator.files) == [file.id]


PROGRAM = """
import sys
from pathlib import Path
from tests.support.emulated import CLASSES, settings_for
from tuneport.manifests import load_manifest
from tuneport.types import PreparedData, TuneSpec

name, url, key, model, path, document = sys.argv[1:]
backend = CLASSES[name](load_manifest(name), settings_for(name, url, key=key))
backend._listed(PreparedData.model_validate_json(document).training) if name == "openai" else backend.client
print("ready", flush=True)
sys.stdin.readline()
data = PreparedData.model_validate_json(document)
(file,) = backend.prepare(TuneSpec(model=model, dataset=Path(path)), data)
print(file.id)
"""


@pytest.mark.full
@pytest.mark.parametrize("name", MODELS)
def test_of_many_processes_at_once_one_uploads(data: PreparedData, name: str, isolated: Path) -> None:
    root = CHECKOUT
    with emulator_of(name, file_lag=60) as emulator:
        arguments = [
            name,
            emulator.base_url,
            emulator.key,
            MODELS[name],
            str(data.training.path),
            data.model_dump_json(),
        ]
        children = [
            subprocess.Popen(
                [sys.executable, "-c", PROGRAM, *arguments],
                cwd=isolated,
                text=True,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={"PYTHONPATH": f"{root}:{root / 'src'}", "PATH": "/usr/bin:/bin"},
            )  # fmt: skip
            for _ in range(5)
        ]
        for child in children:
            assert child.stdout is not None and child.stdout.readline() == "ready\n"
        for child in children:
            assert child.stdin is not None
            child.stdin.write("go\n")
            child.stdin.flush()
        made = {child.communicate(timeout=300)[0].strip() for child in children}
        assert len(emulator.accepted_uploads) == 1 and made == set(emulator.files)
