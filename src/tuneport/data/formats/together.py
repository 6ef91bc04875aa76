"""Together.ai: four forms, told apart by their columns, each with an optional `weight` of the row.

- conversational: `{"messages": [...], "tools": [...]}`, messages as OpenAI's, with `weight` 0 or 1 and reasoning
- instruction: `{"prompt": text, "completion": text}`
- generic text: `{"text": ...}`
- preference: `{"input": {"messages": [...]}, "preferred_output": [message], "non_preferred_output": [message]}`

Stricter than OpenAI: users and assistants take turns after one optional system prompt, there is no developer, only a
user shows images, and these inline, and a column besides those above is refused. What has to change for that is a loss.
Source: Together's dataset rules as its client enforced them until version 2, and its server does now.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from tuneport.data.formats import prompt_completion, text
from tuneport.data.formats.contract import (
    InvalidRecord,
    Problem,
    Unrepresentable,
    Written,
    chat_of_record,
    decode_dataset_row,
    row_value_json_type,
)
from tuneport.data.formats.openai import format as openai
from tuneport.data.formats.openai import messages as chat
from tuneport.data.formats.openai import preference as openai_preference
from tuneport.data.formats.shared.tools import add_message_call_ids, count_message_tool_calls, has_message_tool_calls
from tuneport.data.formats.shared.turns import alternate_turns
from tuneport.data.rows.records import (
    ImagePart,
    Message,
    Part,
    PlainText,
    Preference,
    PromptCompletion,
    Record,
    TextPart,
)
from tuneport.formatting import listed_names

NAME = "together"
MAX_IMAGES = 10
_FORMS = (
    (openai, frozenset(("messages", "tools"))),
    (prompt_completion, frozenset(("prompt", "completion"))),
    (text, frozenset(("text",))),
    (openai_preference, frozenset(("input", "preferred_output", "non_preferred_output"))),
)


def likeness(row: Mapping[str, Any]) -> tuple[float, str]:
    """Return less than 1 without a weight in the row, because the same row is one of OpenAI's, of `text` or of a
    prompt."""
    plain = {key: value for key, value in row.items() if key != "weight"}
    for form, columns in _FORMS:
        if not columns.issuperset(plain):
            continue
        score, reason = form.likeness(plain)
        if score:
            if _is_weight(row.get("weight")):
                return 1.0, f"{reason}, and a weight of the row"
            return min(score, 0.8), f"{reason}, which {form.NAME} has as well"
    return 0.0, "the columns match none of the four forms"


def _is_weight(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0


def read_format_row(line: bytes) -> Record:
    row = decode_dataset_row(line)
    weight = row.get("weight")
    form = next((form for form, columns in _FORMS if any(key in columns for key in row)), None)
    if form is None:
        rule = f"no form has such a record (its keys: {listed_names(list(row))})"
        raise InvalidRecord(Problem("", rule, "give messages, prompt and completion, text, or a preference pair"))
    problems = []
    if weight is not None and not _is_weight(weight):
        rule = (
            f"must be a number from 0, not {weight!r}"
            if row_value_json_type(weight) == "a number"
            else "must be a number from 0"
        )
        problems.append(Problem("weight", rule, "correct or remove it"))
    try:
        record: Record = form.read_format_row(line)
    except InvalidRecord as error:
        raise InvalidRecord(*problems, *error.problems) from None
    if problems:
        raise InvalidRecord(*problems)
    if weight is not None:
        record.metadata = {key: value for key, value in record.metadata.items() if key != "weight"}
        record.weight = float(weight)
    return record


def write_format_row(record: Record) -> Written:
    lost: list[Unrepresentable] = []
    row: dict[str, Any] = {}
    if isinstance(record, PlainText):
        row["text"] = record.text
    elif isinstance(record, PromptCompletion):
        row |= {"prompt": record.prompt, "completion": record.completion}
    elif isinstance(record, Preference):
        given: dict[str, Any] = {}
        for name, answer in (("chosen", record.chosen), ("rejected", record.rejected)):
            if len(answer) != 1 or answer[0].role != "assistant":
                return None, [Unrepresentable("", f"the {name} answer is not exactly one assistant message")]
        if not record.context or record.context[-1].role == "assistant":
            return None, [
                Unrepresentable("", "the input of a pair must end with a message that is not the assistant's")
            ]
        start = count_message_tool_calls(record.context)
        given["messages"] = _write_messages(record.context, 0, lost)
        row["input"] = given
        row["preferred_output"] = _write_messages(record.chosen, start, lost)
        row["non_preferred_output"] = _write_messages(record.rejected, start, lost)
        if record.tools:
            given["tools"] = openai.write_openai_tools(record.tools, lost)
    else:
        conversation = chat_of_record(record, lost)
        if conversation is None:
            return None, lost
        row["messages"] = _write_messages(conversation.messages, 0, lost)
        if record.tools:
            row["tools"] = openai.write_openai_tools(record.tools, lost)
    if record.tools and isinstance(record, PlainText | PromptCompletion):
        lost.append(Unrepresentable("tools", "only messages come with tool definitions"))
    if record.parallel_tool_calls is not None:
        lost.append(Unrepresentable("parallel_tool_calls", "there is no such setting"))
    if record.weight is not None:
        if record.weight >= 0:
            row["weight"] = record.weight
        else:
            lost.append(Unrepresentable("weight", "a record's weight cannot be negative"))
    lost += [Unrepresentable(key, "further columns are refused") for key in record.metadata]
    return row, lost


def _write_messages(messages: Sequence[Message], start: int, lost: list[Unrepresentable]) -> list[dict[str, Any]]:
    turns = alternate_turns(messages, lost)
    if has_message_tool_calls(turns):
        turns = add_message_call_ids(turns, chat.ID_PREFIX, lost, start)
    images = 0
    rows = []
    for message in turns:
        lost += [Unrepresentable(f"messages[].{key}", "messages have no further keys") for key in message.extra]
        message = msgspec.structs.replace(message, extra={})
        if message.name is not None:
            lost.append(Unrepresentable("messages[].name", "there are no names"))
            message.name = None
        if isinstance(message.content, list):
            message.content = _content(message.role, message.content, images, lost)
            images += sum(isinstance(part, ImagePart) for part in message.content if not isinstance(part, str))
        elif message.content is None and not message.tool_calls:
            lost.append(Unrepresentable("messages[].content", "must be text; an absent one becomes an empty text"))
            message.content = ""
        rows.append(chat.write_openai_message(message, lost))
    return rows


def _content(role: str, parts: list[Part], images: int, lost: list[Unrepresentable]) -> str | list[Part]:
    if role != "user":
        lost.append(
            Unrepresentable("messages[].content", "only a user's content has parts; others are joined by newlines")
        )
        if any(isinstance(part, ImagePart) for part in parts):
            lost.append(Unrepresentable("messages[].content[].image", "only a user shows images"))
        return "\n".join(part.text for part in parts if isinstance(part, TextPart))
    kept: list[Part] = []
    for part in parts:
        lost += [Unrepresentable(f"messages[].content[].{key}", "parts have no further keys") for key in part.extra]
        if isinstance(part, TextPart):
            kept.append(TextPart(part.text))
        elif part.data is None:
            lost.append(
                Unrepresentable("messages[].content[].image", "images must be inline (base64); one by URL is left out")
            )
        elif images == MAX_IMAGES:
            lost.append(
                Unrepresentable(
                    "messages[].content[].image", f"there are {MAX_IMAGES} images at most; more are left out"
                )
            )
        else:
            if part.detail is not None:
                lost.append(Unrepresentable("messages[].content[].detail", "an image has no detail setting"))
            kept.append(ImagePart(data=part.data, media_type=part.media_type))
            images += 1
    return kept or ""


def note_row_spelling(line: bytes) -> str:
    return openai.note_row_spelling(line)
