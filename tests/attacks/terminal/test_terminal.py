"""What providers write reaches a terminal and a pipe as text that is seen, through every command."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.attacks.terminal.hostile import HostileOpenAI, HostileTogether, harmless, hostile
from tests.attacks.terminal.screen import controls, run, unseen
from tests.support.folders import FIXTURES

TRAIN = str(FIXTURES / "datasets" / "support_intents.train.jsonl")
TEST = str(FIXTURES / "datasets" / "support_intents.test.jsonl")
MODELS = {"openai": "gpt-4.1-mini", "together": "llama-3.1-8b-instruct"}
EMULATORS = {"openai": HostileOpenAI, "together": HostileTogether}
NAMES = ("message", "fine_tuned_model", "model_output_name", "output_name", "filename", "user_provided_suffix",
         "suffix", "display_name", "owned_by", "content", "organization_id")  # fmt: skip
GROUPS = {"names": NAMES}
AFTERWARDS = (
    "jobs", "jobs --costs", "show {job}", "logs {job}", "metrics {job}", "checkpoints {job}", "watch {job}", "watch",
    "files", "files --delete file-none --yes", "chat {job} Hello", "deployments", "deploy {job} --yes", "undeploy none",
    "cancel {job}", "pause {job}", "resume {job}", "download {job} -o weights", "migrate --from {backend}",
    "migrate --from {backend} --save saved", "migrate --saved saved", "doctor", "backends", "store",
    "eval " + TEST + " {job} --rows 2", "jobs --json", "logs {job} --json", "delete {job} --yes",
)  # fmt: skip


def environment(home: Path, backend: str, emulator: HostileOpenAI | HostileTogether) -> dict[str, str]:
    name = backend.upper()
    return os.environ | {
        "TUNEPORT_HOME": str(home), f"TUNEPORT_{name}_BASE_URL": emulator.base_url, f"{name}_API_KEY": emulator.key,
        "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "40", "TUNEPORT_BACKEND": backend,
    }  # fmt: skip


def outputs(
    folder: Path, backend: str, text: str, fields: Sequence[str], commands: Sequence[str], *, terminal: bool
) -> tuple[list[str], list[bytes]]:
    """What each command wrote: first `submit --wait`, then `commands` on its job."""
    folder.mkdir(parents=True)
    with EMULATORS[backend](pace=0.02) as emulator:
        emulator.text, emulator.fields = text, frozenset(fields)
        settings = environment(folder / "home", backend, emulator)
        submit = [
            "submit",
            "--yes",
            "--anyway",
            TRAIN,
            "--model",
            MODELS[backend],
            "--backend",
            backend,
            "--validation",
            TEST,
            "--wait",
        ]
        os.chdir(folder)
        told = [each.format(job="job-", backend=backend).split() for each in commands]
        shown = run([submit, *told], settings, terminal=terminal)
    return ["submit", *commands], shown


def compare(folder: Path, backend: str, fields: Sequence[str], commands: Sequence[str], seed: int) -> list[str]:
    """The commands that let something through, in words."""
    attack = hostile(seed)
    wrong = []
    for terminal in (True, False):
        where = "terminal" if terminal else "pipe"
        names, bad = outputs(folder / f"{where}-bad", backend, attack, fields, commands, terminal=terminal)
        _, good = outputs(folder / f"{where}-good", backend, harmless(attack), fields, commands, terminal=terminal)
        for name, one, other in zip(names, bad, good, strict=True):
            if extra := controls(one) - controls(other) - _drawing(controls(one), terminal):
                wrong.append(f"{name} ({where}): {sorted(extra)!r}")
            if extra := unseen(one):
                wrong.append(f"{name} ({where}): {sorted(extra)!r}")
            if b"a bug in tuneport" in one or b"Traceback" in one:
                wrong.append(f"{name} ({where}): {one[-300:]!r}")
            if not terminal and controls(one):
                wrong.append(f"{name} ({where}): {sorted(controls(one))!r}")
    return wrong


def _drawing(sequences: set[bytes], terminal: bool) -> set[bytes]:
    """Those of rich's own: its colours, and how it draws a bar anew, which is a matter of the machine's speed."""
    if not terminal:
        return set()
    redrawn = {b"\x1b[1A", b"\x1b[2K", b"\r", b"\x1b[?25l", b"\x1b[?25h"}
    return redrawn | {each for each in sequences if re.fullmatch(rb"\x1b\[[0-9;]+m", each)} - {b"\x1b[8m"}


@pytest.mark.full
@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("backend", EMULATORS)
def test_no_command_lets_anything_through(tmp_path: Path, backend: str, group: str) -> None:
    seed = len(backend) * 10 + len(group)
    assert compare(tmp_path, backend, GROUPS[group], AFTERWARDS, seed) == []


def test_what_a_job_s_events_and_names_say_is_seen(tmp_path: Path) -> None:
    """On a terminal, where it is obeyed; the other commands and pipes are in the full test."""
    attack = hostile(7)
    commands = ("logs {job}", "show {job}", "jobs", "migrate --from openai")
    names, shown = outputs(tmp_path / "it", "openai", attack, NAMES, commands, terminal=True)
    for name, written in zip(names, shown, strict=True):
        assert not unseen(written), name
        assert controls(written) <= _drawing(controls(written), True), name
    assert "[bold]b[/bold]" in shown[1].decode(), "markup is text, too"


def test_a_traceback_and_a_line_that_is_faked(tmp_path: Path) -> None:
    lines = "refused\x1b[2J\nerror: nothing is wrong\u202e"
    body = {"error": {"message": lines, "type": "invalid_request_error", "param": None, "code": None}}
    with HostileOpenAI() as emulator:
        settings = environment(tmp_path / "home", "openai", emulator)
        emulator.fail("status", status=400, body=body, method="POST", path="/files")
        emulator.fail("status", status=400, body=body, method="POST", path="/uploads")
        submit = ["submit", "--yes", "--anyway", TRAIN, "--model", "gpt-4.1-mini", "--backend", "openai"]
        failing = [*submit], ["--debug", "cancel", "ftjob-x", "--backend", "openai"]
        for command in failing:
            done = subprocess.run(
                [sys.executable, "-m", "tuneport.cli.main", *command], env=settings, capture_output=True, check=False
            )
            written = done.stdout + done.stderr
            assert done.returncode != 0 and not controls(written) and not unseen(written), written[-2000:]
            debug = command[0] == "--debug"
            assert b"refused" in written and (b"Traceback" in written) is debug, written
            assert debug or not re.search(rb"^error: nothing is wrong", written, re.M), written
            emulator.fail("status", status=400, body=body, path="**", times=None)
