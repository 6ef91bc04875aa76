"""Rows of the method rft: a question that ends with the user's message, and columns that a grader compares with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.data.formats.test_round_trips import maybe, parts, texts, tools, words
from tests.support.rows import chat, write
from tuneport.data.checks import check_dataset
from tuneport.data.checks.finding import CheckedDatasetExample
from tuneport.data.conversion.prepare import dataset_upload_format, prepare_dataset
from tuneport.data.dataset import Dataset
from tuneport.data.formats import FORMATS, load_dataset_format
from tuneport.data.formats.openai.reinforcement import NAME
from tuneport.data.pii.redaction import Redactor
from tuneport.data.reading import read_records
from tuneport.data.rows.records import Chat, Graded, Message, Record, ToolCall
from tuneport.data.rows.text import split_record_answer
from tuneport.data.tokens.tokens import count_dataset_tokens
from tuneport.errors import ConversionLossError, DatasetError
from tuneport.types import Method
from tuneport.workflows.compare import compare

quick = settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
questions = st.lists(
    st.builds(Message, st.sampled_from(["system", "developer", "user"]), texts | parts), max_size=2
).flatmap(lambda before: st.builds(lambda text: [*before, Message("user", text)], texts | parts))
graded = st.builds(
    Graded,
    questions,
    st.dictionaries(st.sampled_from(["answer", "reference", "source"]), words | st.integers(), min_size=1),
    tools=tools,
    parallel_tool_calls=maybe(st.booleans()),
    weight=maybe(st.just(0.5)),
)


SYSTEM = {"role": "system", "content": "Be brief."}


def question(text: str, **columns: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], **columns}


@quick
@given(record=graded)
def test_it_comes_back_whole_and_no_other_format_takes_it(record: Record) -> None:
    before = msgspec.json.encode(record)
    for name in FORMATS:
        row, lost = load_dataset_format(name).write_format_row(record)
        assert msgspec.json.encode(record) == before
        assert (row is None) == (name != NAME) and (bool(lost) or name == NAME), name
        if row is None or lost:
            continue
        line = msgspec.json.encode(row)
        assert load_dataset_format(NAME).read_format_row(line) == record
        scores = {other: load_dataset_format(other).likeness(json.loads(line))[0] for other in FORMATS}
        assert max(scores, key=lambda other: scores[other]) == NAME


def test_calls_and_earlier_turns_are_kept() -> None:
    call = ToolCall("look_up", '{"id": 5}')
    messages = [
        Message("user", "Where is 5?"), Message("assistant", None, tool_calls=[call]), Message("tool", "in Bonn"),
        Message("assistant", "In Bonn."), Message("user", "And 6?"),
    ]  # fmt: skip
    row, lost = load_dataset_format(NAME).write_format_row(Graded(messages, {"answer": "Cologne"}))
    assert row is not None and lost == []
    assert load_dataset_format(NAME).read_format_row(msgspec.json.encode(row)) == Graded(
        messages, {"answer": "Cologne"}
    )


@pytest.mark.parametrize(
    ("rows", "format"),
    [
        ([question("2 + 2?", answer="4")], NAME),
        ([{"messages": [SYSTEM, *question("2 + 2?")["messages"]], "answer": 4}], NAME),
        # Chats, however they end and whatever columns they have.
        ([chat("a", "b", answer="4")], "openai"),
        ([chat("a", "b", source="x"), chat("a", "b", "thanks", source="x")], "openai"),
        ([chat("a", "b", "thanks", source="x")], "openai"),
        ([chat("a", "b", system="s"), question("a", source="x")], "openai"),
        ([question("a")], "openai"),
    ],
)  # fmt: skip
def test_detection_takes_no_chat_for_it(tmp_path: Path, rows: list[dict[str, Any]], format: str) -> None:
    path = write(tmp_path / "rows.jsonl", rows)
    assert Dataset(path).format == format
    if format == NAME:
        assert Dataset(path).method is Method.RFT


def test_prepared_rows_keep_their_columns(tmp_path: Path) -> None:
    rows = [
        question("2 + 2?", answer="4", difficulty={"level": 1}),
        chat("2 + 2?", "4", "And 3 + 3?", answer="6", difficulty={"level": 1}),
    ]
    target = dataset_upload_format(Method.RFT, "openai", "openai")
    data = prepare_dataset(write(tmp_path / "rows.jsonl", rows), target, tmp_path / "files")
    assert [json.loads(line) for line in data.path.read_text().splitlines()] == rows
    assert (data.format, data.left_out, data.trained_tokens) == (NAME, (), None)


def test_several_turns_in_every_row_are_read_as_what_the_method_asks_for(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", [chat("2 + 2?", "4", "And 3 + 3?", answer="6")] * 3)
    data = prepare_dataset(path, NAME, tmp_path / "files")
    assert data.rows == 3 and '"answer":"6"' in data.path.read_text()
    assert count_dataset_tokens(Dataset(path, format=NAME)).rows == 3


def test_an_answer_at_the_end_is_an_error_with_its_line(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", [question("a", answer="b"), chat("a", "b", answer="b")])
    with pytest.raises(DatasetError, match="line 2|:2") as caught:
        prepare_dataset(path, NAME, tmp_path / "files")
    assert "role assistant" in str(caught.value) and "column of its own" in str(caught.value)


def test_questions_are_not_trained_on_as_chats(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", [question("a", answer="b")] * 2)
    with pytest.raises(ConversionLossError, match="rft"):
        prepare_dataset(path, "openai", tmp_path / "files")
    chats = [record for _, record in read_records(write(tmp_path / "chats.jsonl", [chat("a", "b")]))]
    assert load_dataset_format(NAME).write_format_row(chats[0])[0] is None and isinstance(chats[0], Chat)


def test_check_judges_by_what_the_answers_are_compared_with(tmp_path: Path) -> None:
    rows = [question(f"What is {n} + {n * 7}?", answer=str(n * 8), level=n % 3) for n in range(120)]
    rows[7]["messages"], rows[7]["answer"] = rows[6]["messages"], "nothing"
    report = check_dataset(write(tmp_path / "rows.jsonl", rows))
    findings = {finding.check: finding for finding in report.findings}
    assert report.format.format == NAME
    assert {name: findings[name].verdict.value for name in ("answers", "classes", "sample-size")} == {
        "answers": "pass", "classes": "pass", "sample-size": "pass",
    }  # fmt: skip
    assert findings["contradictions"].verdict.value != "pass", "one question, two references"


@pytest.mark.parametrize(
    ("reference", "text"),
    [({"answer": "4"}, "4"), ({"b": 1, "a": "x"}, '{"a":"x","b":1}'), ({"answer": ""}, '{"answer":""}'), ({}, "")],
)
def test_reference_stands_for_the_answer(reference: dict[str, Any], text: str) -> None:
    asked = [Message("user", "a")]
    assert CheckedDatasetExample.from_record(1, Graded(asked, reference)).answer == text
    assert split_record_answer(Graded(asked, reference))[0] == asked


def test_costs_are_compared_without_a_grader(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", [question(f"What is {n}?", answer=str(n)) for n in range(20)])
    table = compare(path, model=["o4-mini-2025-04-16"])
    by_backend = {row.backend: row for row in table.choices}
    assert by_backend["azure"].allowed and not by_backend["openai"].allowed, "there it is gone"
    assert "by the hour" in (by_backend["azure"].quote.unavailable or "")


def test_personal_data_in_a_column_is_found_and_redacted() -> None:
    record = Graded([Message("user", "Who?")], {"answer": "Write to jane.doe@brightmail.io"})
    redacted, replaced = Redactor().redact(record)
    assert replaced["email"] == 1
    assert redacted == Graded([Message("user", "Who?")], {"answer": "Write to [EMAIL_1]"})
