"""The finding columns: what is trained on, what is not, with counts, and signal that would be lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.commands import Run
from tests.support.rows import chat, write
from tuneport.data.checks import check_dataset
from tuneport.data.checks.dataset.column_use import ColumnUseCheck
from tuneport.data.dataset import Dataset
from tuneport.data.rows.records import Chat, Message
from tuneport.methods import Method


def rows(**columns: object) -> list[dict[str, object]]:
    return [{**chat(f"What is {each}?", f"It is {each}."), "id": each, **columns} for each in range(40)]


def test_what_is_used_and_what_is_not_is_told_with_counts(tmp_path: Path) -> None:
    data = [*rows(), {**chat("And?", "No."), "source": "a", "id": 1}]
    finding = check_dataset(write(tmp_path / "a.jsonl", data)).finding("columns")
    assert (finding.verdict, finding.message) == ("pass", "used: messages; not trained on: id (41), source (1)")
    assert finding.details == {"used": ["messages"], "unused": {"id": 41, "source": 1}, "ignored": []}


def test_signal_that_would_be_lost_fails(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [*rows(img="a.jpg"), {**chat("And?", "No."), "context": "A long story."}])
    finding = check_dataset(path).finding("columns")
    assert finding.verdict == "fail" and finding.count == 40
    assert finding.message == "img: 40 records of 41 have it, and the model would not see it, nor context (1)"
    assert finding.fix.endswith("or leave it out on purpose: --ignore img")
    assert [each.lines for each in finding.evidence] == [(1,), (41,)]
    meant = check_dataset(Dataset(path, ignored_columns=("img", "context"))).finding("columns")
    assert meant.verdict == "pass"
    assert meant.message == "used: messages; not trained on: id (40); left out on purpose: context, img"
    assert check_dataset(path, method=Method.GRPO).finding("columns").verdict == "pass", "its reward gets them all"


def test_workers_find_what_one_finds() -> None:
    records = [
        Chat([Message("user", "a"), Message("assistant", "b")], metadata={"rating": float(each % 2), "id": each})
        for each in range(10)
    ]
    whole, parts = ColumnUseCheck(), [ColumnUseCheck() for _ in range(3)]
    for line, record in enumerate(records, start=1):
        for check in (whole, parts[line % 3]):
            check.add(line, b'{"messages": 1, "rating": 1, "id": 1}', record)
    merged = ColumnUseCheck()
    for part in reversed(parts):
        merged.merge(part.state())
    assert merged.finding() == whole.finding() and merged.finding().count == 10


@pytest.mark.parametrize("command", ["submit", "show"])
def test_a_job_says_what_it_is_not_trained_on(run: Run, tmp_path: Path, isolated: Path, command: str) -> None:
    path = write(tmp_path / "a.jsonl", rows(label="x"))
    code, _, error = run("submit", str(path), "--backend", "fake", "--model", "tiny", "--yes", "--anyway", "--wait")
    assert code == 0
    told = error
    if command == "show":
        job = next(word.rstrip(":") for word in error.split() if word.startswith("job-"))
        _, told, _ = run("show", job)
    assert "id, label (columns that are not trained on)" in " ".join(str(told).split())
