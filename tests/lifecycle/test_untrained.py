"""A dataset of which nothing would be trained makes no job, whatever the backend; rows of that kind are told of."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.workspaces import write_chats
from tuneport.errors import DatasetError
from tuneport.lifecycle.service import JobService
from tuneport.types import TuneSpec


def without_answers(path: Path, every: int = 1) -> Path:
    rows = [json.loads(line) for line in write_chats(path).read_text().splitlines()]
    for row in rows[::every]:
        row["messages"][-1]["content"] = ""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("part", ["training", "validation"])
@pytest.mark.parametrize("backend", ["fake", "openai"])
def test_empty_answers_only_make_no_job(
    workspace: JobService, isolated: Path, monkeypatch: pytest.MonkeyPatch, backend: str, part: str
) -> None:
    monkeypatch.setitem(workspace.settings.environment, "OPENAI_API_KEY", __import__("pydantic").SecretStr("sk-test"))
    empty, good = without_answers(isolated / "empty.jsonl"), write_chats(isolated / "good.jsonl")
    data = {"dataset": empty} if part == "training" else {"dataset": good, "validation": empty}
    model = "fake-model" if backend == "fake" else "gpt-4.1-mini"
    with pytest.raises(
        DatasetError, match="none of the 12 rows would train anything: 12 have an empty answer"
    ) as error:
        workspace.submit(TuneSpec(model=model, **data), backend=backend)
    assert "\n" not in str(error.value) and str(empty) in str(error.value)
    assert not workspace.store.jobs.all()


def test_some_empty_answers_are_an_event_of_the_job(workspace: JobService, isolated: Path) -> None:
    row = workspace.submit(
        TuneSpec(model="fake-model", dataset=without_answers(isolated / "a.jsonl", 4)), backend="fake"
    )
    told = [event.message for _, event in workspace.events(row.id) if event.level == "warning"]
    assert told == [
        f"{isolated / 'a.jsonl'}: 3 of 12 rows have an empty answer (lines 1, 5, 9); complete the answers or remove "
        "the rows (tuneport clean does)"
    ]


def test_a_damaged_prepared_file_is_made_again_before_it_is_uploaded(workspace: JobService, isolated: Path) -> None:
    """Of the same length: only its content tells."""
    source = write_chats(isolated / "train.jsonl")
    row = workspace.submit(TuneSpec(model="fake-model", dataset=source), backend="fake")
    prepared = row.prepared_data.training.path
    whole = prepared.read_bytes()
    prepared.write_bytes(whole.replace(b"Answer 3.", b"Answer 8."))
    workspace.start(row.id)
    (file,) = workspace.store.files.list_job_files(row.id)
    assert workspace.backend("fake").read_file(file.id) == whole
    assert prepared.read_bytes() == whole


def test_a_damaged_prepared_file_without_its_original_is_not_uploaded(workspace: JobService, isolated: Path) -> None:
    source = write_chats(isolated / "train.jsonl")
    row = workspace.submit(TuneSpec(model="fake-model", dataset=source), backend="fake")
    prepared = row.prepared_data.training.path
    prepared.write_bytes(prepared.read_bytes().replace(b"Answer 3.", b"Answer 8."))
    source.write_text(source.read_text().replace("Answer 4.", "Answer 9."))
    row = workspace.start(row.id)
    assert row.status == "failed" and row.job_error is not None
    assert "has changed since" in row.job_error.message and "damaged" in row.job_error.message
    assert not workspace.store.files.list_job_files(row.id)
