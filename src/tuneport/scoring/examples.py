"""The rows that models are measured on: a conversation up to its last answer, and what is expected there."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tuneport.data.reading import read_records
from tuneport.data.rows.records import Chat, Labelled, Message, PlainText, Record, ToolCall
from tuneport.data.rows.text import split_record_answer
from tuneport.errors import DatasetError, DatasetProblem

Messages = list[dict[str, Any]]
"""A conversation in OpenAI's shape."""


@dataclass(frozen=True)
class Call:
    """A call of a tool; `arguments` is JSON text."""

    name: str
    arguments: str


@dataclass(frozen=True)
class Example:
    """A conversation up to its last answer, and that answer: its text, its `calls`, or both.

    `tools` are those that may be called, in OpenAI's shape; `tests` is Python that fails if an answer's code is wrong
    (a row's `tests` or `test`); `schema` a JSON schema of the answer (a row's `schema`).
    """

    messages: Messages
    expected: str
    calls: tuple[Call, ...] = ()
    tools: tuple[dict[str, Any], ...] = ()
    tests: str = ""
    schema: dict[str, Any] | None = None

    @property
    def prompt(self) -> str:
        return str(self.messages[-1]["content"])


@dataclass(frozen=True)
class Answer:
    """A model's answer. `log_likelihood`: how likely the *expected* answer is to it, in nats, if it was asked."""

    text: str
    calls: tuple[Call, ...] = ()
    log_likelihood: float | None = None
    details: dict[str, Any] = field(default_factory=dict, compare=False)


def read_scoring_examples(path: Path) -> list[Example]:
    """Read a chat dataset of text whose records end with an answer. Raises DatasetError that names the first that does
    not."""
    found = []
    for line, record in read_records(path):
        if not isinstance(record, Chat) or record.messages[-1].role != "assistant":
            problem = DatasetProblem(
                str(path), line, "messages", "does not end with an answer", "add the expected answer"
            )
            raise DatasetError(problem)
        messages = [{"role": message.role, "content": message.text} for message in record.messages]
        found.append(Example(messages[:-1], str(messages[-1]["content"])))
    return found


def make_scoring_example(record: Record) -> Example | None:
    """Return a record as a question and its answer; for a pair, the preferred one.

    Returns None if it has no question and answer, or is not text alone: images, tools and calls cannot be compared as
    text, and an answer marked as bad does not count. Developer prompts become system prompts: not every server knows
    the other role.
    """
    example = make_scoring_tool_example(record)
    if example is None or example.calls or example.tools or not example.expected:
        return None
    return None if any("tool_calls" in each or each["role"] == "tool" for each in example.messages) else example


def make_scoring_tool_example(record: Record) -> Example | None:
    """Return the record as `make_scoring_example` does, with tools and calls, or None if it has an image or no
    answer."""
    if isinstance(record, PlainText) or (isinstance(record, Labelled) and not record.label):
        return None
    if isinstance(record, Chat | Labelled) and record.messages[-1].role != "assistant":
        return None
    asked, answers = split_record_answer(record)
    if not asked or len(answers) != 1 or answers[0].role != "assistant":
        return None
    answer = answers[0]
    if any(message.has_image for message in (*asked, answer)) or not (answer.text or answer.tool_calls):
        return None
    tests, schema = record.metadata.get("tests", record.metadata.get("test")), record.metadata.get("schema")
    return Example(
        [_as_openai(message) for message in asked],
        answer.text,
        calls=tuple(Call(call.name, call.arguments) for call in answer.tool_calls),
        tools=tuple(
            {
                "type": "function",
                "function": {
                    "name": tool.name,
                    **({} if tool.description is None else {"description": tool.description}),
                    **({} if tool.parameters is None else {"parameters": tool.parameters}),
                },
            }
            for tool in record.tools
        ),
        tests="\n".join(map(str, tests)) if isinstance(tests, list) else str(tests or ""),
        schema=schema if isinstance(schema, dict) else None,
    )


def _as_openai(message: Message) -> dict[str, Any]:
    role = "system" if message.role == "developer" else message.role
    shown: dict[str, Any] = {"role": role, "content": message.text}
    if message.tool_calls:
        shown["tool_calls"] = [_call_as_openai(call, place) for place, call in enumerate(message.tool_calls)]
    if message.tool_call_id:
        shown["tool_call_id"] = message.tool_call_id
    return shown


def _call_as_openai(call: ToolCall, place: int) -> dict[str, Any]:
    called = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id or f"call_{place}", "type": "function", "function": called}


def scored_tool_calls(tool_calls: Sequence[dict[str, Any]]) -> tuple[Call, ...]:
    """Return the calls of a completion, in OpenAI's shape."""
    found = []
    for each in tool_calls:
        function = each.get("function") or {}
        arguments = function.get("arguments")
        text = arguments if isinstance(arguments, str) else json.dumps(arguments or {}, ensure_ascii=False)
        found.append(Call(str(function.get("name", "")), text))
    return tuple(found)


def expected_scoring_labels(rows: Sequence[Example]) -> list[str]:
    return sorted({row.expected for row in rows})


def choose_scoring_shots(train: Sequence[Example], *, per_label: int, seed: int) -> list[Example]:
    """Choose `per_label` training rows of each label, drawn and shuffled by `seed`."""
    draw = random.Random(seed)
    by_label: dict[str, list[Example]] = {}
    for row in train:
        by_label.setdefault(row.expected, []).append(row)
    chosen = [row for rows in by_label.values() for row in draw.sample(rows, min(per_label, len(rows)))]
    draw.shuffle(chosen)
    return chosen


def prepend_few_shot_turns(row: Example, shots: Sequence[Example]) -> Messages:
    """Return the conversation with the shots as earlier turns, after the system prompt that all share, if there is
    one."""
    system = [message for message in row.messages if message["role"] == "system"]
    turns = [message for message in row.messages if message["role"] != "system"]
    shown: Messages = []
    for shot in shots:
        shown += [message for message in shot.messages if message["role"] != "system"]
        shown.append({"role": "assistant", "content": shot.expected})
    return system + shown + turns
