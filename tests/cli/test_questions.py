"""Ctrl-C at each question of a command: it says that nothing was done, and nothing is."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import Run
from tests.support.emulated import LeadTo
from tests.support.workspaces import write_chats
from tuneport.cli.commands import migrate
from tuneport.cli.views import output
from tuneport.testing.emulators import OpenAIEmulator, TogetherEmulator


class InterruptedTerminal:
    """A keyboard on which Ctrl-C is pressed as soon as the command waits for a line."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True

    def readline(self) -> str:
        raise KeyboardInterrupt

    def fileno(self) -> int:
        raise OSError  # so that `input` asks this object and not the terminal


@pytest.fixture
def train(isolated: Path) -> str:
    return str(write_chats(isolated / "train.jsonl"))


def interrupted(run: Run, monkeypatch: pytest.MonkeyPatch, *command: str) -> str:
    """Return what the command says last when its first question is answered with Ctrl-C."""
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdin", InterruptedTerminal())
        code, _, error = run(*command)
    assert code == 130 and "bug" not in error, error
    return str(error.splitlines()[-1])


def jobs(run: Run) -> list[Any]:
    return list(run("jobs", "--json")[1]["data"])


def test_at_the_start_of_a_job(run: Run, lead_to: LeadTo, train: str, monkeypatch: pytest.MonkeyPatch) -> None:
    together = lead_to(TogetherEmulator())
    command = ("submit", train, "--model", "llama-3.1-8b-instruct", "--anyway", "--backend", "together")
    assert interrupted(run, monkeypatch, *command).endswith("nothing was started")
    assert not together.jobs and jobs(run) == []


def test_at_the_choice_of_a_backend(run: Run, lead_to: LeadTo, train: str, monkeypatch: pytest.MonkeyPatch) -> None:
    openai = lead_to(OpenAIEmulator())
    monkeypatch.delenv("TUNEPORT_BACKEND", raising=False)
    told = interrupted(run, monkeypatch, "submit", train, "--model", "gpt-4.1-mini", "--anyway")
    assert told.endswith("nothing was started") and not openai.jobs and jobs(run) == []


@pytest.mark.parametrize(
    ("command", "expected"),
    [(("delete", "JOB"), "nothing was deleted"), (("store", "downgrade", "5"), "nothing was changed")],
)
def test_at_what_cannot_be_undone(
    run: Run, train: str, command: tuple[str, ...], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNEPORT_BACKEND", "fake")
    _, job, _ = run("submit", train, "--model", "m", "--yes", "--anyway", "--json")
    words = [word.replace("JOB", job["id"]) for word in command]
    assert interrupted(run, monkeypatch, *words).endswith(expected)
    assert jobs(run)[0]["deleted_at"] is None


def test_at_the_questions_of_advise(run: Run, isolated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert interrupted(run, monkeypatch, "advise").endswith("nothing was done")


def test_at_the_start_of_moved_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    output.reset_command_output()
    monkeypatch.setattr(sys, "stdin", InterruptedTerminal())
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    ready: list[Any] = [object(), object()]
    with pytest.raises(KeyboardInterrupt):
        migrate._confirmed(ready, "together", yes=False)
    assert output.interrupted == "nothing new was started"


def test_later_ctrl_c_is_told_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    output.reset_command_output()
    with output.interrupted_question("nothing was started"):
        assert output.interrupted == "nothing was started"
    assert output.interrupted == "stopped"
