"""The questions of a labelling: each record's conversation up to its last answer, and that answer if it has one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from tuneport.data.dataset import Dataset
from tuneport.data.formats import load_dataset_format
from tuneport.data.formats.contract import DatasetFormat
from tuneport.data.formats.openai.messages import write_openai_message
from tuneport.data.reading import RowProblemTally, ScannedRow, read_dataset_row
from tuneport.data.rows.records import Chat, Graded, Labelled, Message, PlainText, Preference, Record, ToolCall
from tuneport.data.rows.text import split_record_answer
from tuneport.errors import DatasetError
from tuneport.scoring.examples import Example, make_scoring_tool_example, scored_tool_calls

CHATS, QUESTIONS = "openai", "openai-reinforcement"
PROMPTS = "prompt-completion"
EARLIER = "earlier_answer"


@dataclass(frozen=True)
class LabelQuestion:
    """A record as it is asked: `asked` is the conversation without its last answer, with the tools and columns.

    `earlier`: the columns for what the record had there, empty if it had no answer; `answer` is that answer's text.
    """

    line: int
    record: Record
    asked: Chat
    example: Example
    answer: str
    earlier: dict[str, Any]

    def answered(self, text: str, calls: list[dict[str, Any]]) -> Chat:
        """Return the record with the model's answer, and what it had before in a column of its own."""
        columns = dict(self.asked.metadata)
        for name, value in self.earlier.items():
            free, number = name, 2
            while free in columns:  # of an earlier labelling
                free, number = f"{name}_{number}", number + 1
            columns[free] = value
        messages = [*self.asked.messages, _answer_message(text, calls)]
        return msgspec.structs.replace(self.asked, messages=messages, metadata=columns)


def read_label_questions(dataset: Dataset) -> tuple[list[LabelQuestion], int]:
    """Return the questions of a dataset, and how many records ask nothing that can be answered in text: plain text, and
    those with an image.

    Chats with and without answers may be in one file, and prompts need no column for the answer. Raises DatasetError
    with all that is wrong.
    """
    found: list[LabelQuestion] = []
    unusable = 0
    problems = RowProblemTally()
    for row in _rows(dataset):
        if not problems.accept(row.problems) or row.record is None:
            continue
        question = _question(row.line, row.record)
        if question is None:
            unusable += 1
        else:
            found.append(question)
    problems.end()
    return found, unusable


def _rows(dataset: Dataset) -> Iterator[ScannedRow]:
    """Yield each row as its format reads it; a row without an answer as a question."""
    source = dataset.open()
    try:
        known = dataset.known
    except DatasetError:
        if dataset.given_format is not None or not _are_prompts(dataset):
            raise
        known = load_dataset_format(PROMPTS)
    reads: tuple[DatasetFormat, ...] = (known,)
    if known.NAME in (CHATS, QUESTIONS):
        reads = (known, load_dataset_format(QUESTIONS if known.NAME == CHATS else CHATS))
    for line, raw in source.rows():
        text = _with_empty_completion(raw) if known.NAME == PROMPTS else raw
        rows = [read_dataset_row(each, line, text, source.locate) for each in reads]
        yield next((row for row in rows if row.record is not None), rows[0])


def _are_prompts(dataset: Dataset) -> bool:
    first = next((_decoded(raw) for _, raw in dataset.open().rows()), None)
    return first is not None and isinstance(first.get("prompt"), str)


def _with_empty_completion(raw: bytes) -> bytes:
    row = _decoded(raw)
    return raw if row is None or row.get("completion") is not None else msgspec.json.encode(row | {"completion": ""})


def _decoded(raw: bytes) -> dict[str, Any] | None:
    try:
        row = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None  # which the format tells better
    return row if isinstance(row, dict) else None


def _question(line: int, record: Record) -> LabelQuestion | None:
    if isinstance(record, PlainText):
        return None
    before, answers = split_record_answer(record)
    columns, beside = dict(record.metadata), dict[str, Any]()
    if isinstance(record, Graded):
        answers, columns = [], dict(record.reference)
    elif isinstance(record, Preference):
        beside = {"earlier_rejected": _as_column(record.rejected)}
    elif isinstance(record, Chat | Labelled) and record.messages[-1].role != "assistant":
        before, answers = record.messages, []
    if isinstance(record, Labelled) and answers:
        beside = {"earlier_good": record.label}
    answers = [each for each in answers if each.text or each.tool_calls or each.has_image]
    asked = Chat(before, tools=record.tools, parallel_tool_calls=record.parallel_tool_calls, metadata=columns)
    # What is asked does not depend on the answer.
    example = make_scoring_tool_example(msgspec.structs.replace(asked, messages=[*before, Message("assistant", "-")]))
    if not before or example is None:
        return None
    earlier = {EARLIER: _as_column(answers), **beside} if answers else {}
    return LabelQuestion(line, record, asked, example, answers[-1].text if answers else "", earlier)


def _as_column(answer: list[Message]) -> Any:
    """Return an answer as the text that it is, or whole if there are calls or more messages."""
    if len(answer) == 1 and isinstance(answer[0].content, str) and not answer[0].tool_calls:
        return answer[0].content
    return [write_openai_message(each, []) for each in answer]


def _answer_message(text: str, calls: list[dict[str, Any]]) -> Message:
    """Return a model's answer, with its calls in OpenAI's shape, as a message of a record."""
    found = scored_tool_calls(calls)
    return Message(
        "assistant",
        text if text or not found else None,
        tool_calls=[
            ToolCall(each.name, each.arguments, id=call.get("id")) for call, each in zip(calls, found, strict=True)
        ],
    )
