"""Held-out rows and chats get the system prompt, the template and the columns of the job's training data."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.commands import Finish, Run
from tests.support.rows import chat, write
from tuneport.data.dataset import Dataset
from tuneport.testing.fake.backend import FakeBackend
from tuneport.workflows.evaluation.held_out import read_as_trained

SYSTEM = "Name the team."
HOW = ("--map", "completion=team", "--template", "Who mends: {subject}", "--system", SYSTEM)


def tickets(path: Path, first: int, last: int) -> Path:
    rows = "".join(f"Thing {each} of kind {each * 7} is broken,team {each % 3}\n" for each in range(first, last))
    path.write_text(f"subject,team\n{rows}")
    return path


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[list[tuple[str, str]]]:
    """The messages that the backend fake was sent."""
    found: list[list[tuple[str, str]]] = []
    complete = FakeBackend.complete

    def seen(self: FakeBackend, model: str, messages: list[dict[str, str]], **options: object) -> object:
        found.append([(each["role"], each["content"]) for each in messages])
        return complete(self, model, messages, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(FakeBackend, "complete", seen)
    return found


def test_eval_and_chat_use_what_the_job_was_trained_with(
    run: Run, finished: Finish, tmp_path: Path, asked: list[list[tuple[str, str]]]
) -> None:
    job = finished(str(tickets(tmp_path / "train.csv", 0, 40)), "--backend", "fake", "--model", "tiny", *HOW)
    code, _, error = run("eval", str(tickets(tmp_path / "test.csv", 90, 98)), job, "--yes")
    assert code == 0, error
    assert f"the rows are read as the training data of {job}: columns completion=team; system {SYSTEM}" in error
    assert asked and all(each[0] == ("system", SYSTEM) for each in asked)
    assert all(each[1][1].startswith("Who mends: Thing 9") for each in asked)
    asked.clear()
    code, _, error = run("chat", job, "hello")
    assert code == 0 and asked == [[("system", SYSTEM), ("user", "hello")]]
    assert f"with the system prompt that {job} was trained with: {SYSTEM}" in error
    for other, first in (("Be kind.", ("system", "Be kind.")), ("", ("user", "hello"))):
        asked.clear()
        _, _, error = run("chat", job, "hello", "--system", other)
        assert asked[0][0] == first and "system prompt" not in error


def test_rows_that_are_told_otherwise_stay_so_and_that_is_said(tmp_path: Path) -> None:
    trained = Dataset(tmp_path / "train.jsonl", system=SYSTEM)
    rows = Dataset(write(tmp_path / "a.jsonl", [chat("a", "b")]))
    other = Dataset(rows.path, system="Be kind.")
    assert read_as_trained(rows, {"job": Dataset(trained.path)}) == (rows, "")
    assert read_as_trained(other, {"job": trained}) == (
        other,
        "asked otherwise than job was trained, whose rows have: system Name the team.",
    )
    assert read_as_trained(Dataset(rows.path, system=SYSTEM), {"job": trained})[1] == ""
    found, said = read_as_trained(rows, {"job": trained, "other": Dataset(trained.path)})
    assert found is rows and said.startswith("read as they are, while job was trained with: system Name the team.")
    found, said = read_as_trained(rows, {"job": trained, "again": trained})
    assert found.reading.system == SYSTEM and said == "read as the training data of job: system Name the team."
