"""The sample of a review, and verdicts that last."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.support.rows import chat, write
from tuneport.data.checks import check_dataset
from tuneport.data.reading import read_records
from tuneport.data.review import read_review_verdicts, record_hash, with_answer
from tuneport.data.review.session import ReviewSession, read_check_flags
from tuneport.data.review.verdicts import editable_answer, review_verdicts_path
from tuneport.errors import ConfigError, DatasetError


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write(tmp_path / "train.jsonl", [chat(f"question {number}", f"answer {number}") for number in range(20)])


def test_verdicts_are_found_by_what_the_records_hold(data: Path) -> None:
    review = ReviewSession(data, sample=20)
    review.judge(4, "reject")
    review.judge(7, "edit", "new")
    moved = write(data, reversed([chat(f"question {number}", f"answer {number}") for number in range(20)]))
    found = read_review_verdicts(review_verdicts_path(moved))
    rejected = [line for line, record in read_records(moved) if record_hash(record) in found]
    assert rejected == [13, 16] and len(found) == 2
    record = next(record for _, record in read_records(moved) if editable_answer(record) == "answer 7")
    changed = with_answer(record, found[record_hash(record)].text or "")
    assert editable_answer(changed) == "new" and editable_answer(record) == "answer 7"


def test_a_crash_leaves_whole_verdicts(data: Path) -> None:
    review = ReviewSession(data, sample=3)
    review.judge(0, "accept")
    review.judge(1, "reject")
    path = review_verdicts_path(data)
    with path.open("r+b") as file:
        file.truncate(os.path.getsize(path) - 20)
    again = ReviewSession(data, sample=3)
    assert again.summary().judged == 1
    again.judge(2, "reject")
    assert ReviewSession(data, sample=3).summary().judged == 2 and len(read_review_verdicts(path)) == 2
    path.write_text('{"verdict": 1}\n', encoding="utf-8")
    with pytest.raises(DatasetError, match=r"review\.jsonl:1: is no verdict"):
        ReviewSession(data)


def test_flagged_records_come_first(data: Path, tmp_path: Path) -> None:
    rows = [chat(f"an unlike question {number**3}", f"reply {number}") for number in range(30)]
    rows[17] = rows[4]
    data = write(tmp_path / "flagged.jsonl", rows)
    report = tmp_path / "report.json"
    report.write_text(json.dumps(check_dataset(data).as_dict(), default=str), encoding="utf-8")
    review = ReviewSession(data, sample=6, flags=read_check_flags(report))
    records = review.as_dict()["records"]
    assert [row["line"] for row in records[:2]] == [5, 18] and len(records) == 6
    assert any("duplicates" in flag for flag in records[0]["flags"]) and not records[3]["flags"]
    report.write_text("[]", encoding="utf-8")
    with pytest.raises(ConfigError, match="is no report"):
        read_check_flags(report)


def test_the_sample_is_of_the_whole_file_and_repeats(tmp_path: Path) -> None:
    data = write(tmp_path / "many.jsonl", [chat(f"q{number}", f"a{number}") for number in range(1000)])
    lines = [each.line for each in ReviewSession(data, sample=50, seed=1).shown]
    assert lines == sorted(lines) and len(set(lines)) == 50 and min(lines) < 200 and max(lines) > 800
    assert lines == [each.line for each in ReviewSession(data, sample=50, seed=1).shown]
    assert lines != [each.line for each in ReviewSession(data, sample=50, seed=2).shown]


@pytest.mark.parametrize(
    ("row", "answer"),
    [
        ({"prompt": "a", "completion": "b"}, "b"),
        ({"instruction": "a", "input": "", "output": "b"}, "b"),
        (
            {
                "input": {"messages": [{"role": "user", "content": "a"}]},
                "preferred_output": [{"role": "assistant", "content": "b"}],
                "non_preferred_output": [{"role": "assistant", "content": "c"}],
            },
            "b",
        ),
        (
            {
                "messages": [
                    {"role": "user", "content": "a"},
                    {"role": "assistant", "content": [{"type": "text", "text": "b"}]},
                ]
            },
            "b",
        ),
    ],
)
def test_answers_of_every_kind_can_be_edited(tmp_path: Path, row: dict[str, Any], answer: str) -> None:
    ((_, record),) = read_records(write(tmp_path / "one.jsonl", [row]))
    assert editable_answer(record) == answer
    assert editable_answer(with_answer(record, "new")) == "new"
    assert editable_answer(record) == answer and record_hash(record) != record_hash(with_answer(record, "new"))


def test_columns_are_mapped(tmp_path: Path) -> None:
    data = tmp_path / "faq.csv"
    data.write_text("question,answer\na,b\nc,d\n")
    review = ReviewSession(data, columns={"prompt": "question", "completion": "answer"})
    assert [(shown.at, shown.record.completion) for shown in review.shown] == [  # type: ignore[union-attr]
        ("line 2", "b"),
        ("line 3", "d"),
    ]
