"""ChatML as text: `{"text": "<|im_start|>user\\nHi<|im_end|>\\n<|im_start|>assistant\\nHello<|im_end|>\\n"}`.

One object a row, with the conversation under `text`, because that is the column that trainers of plain text read; a
row that is a bare JSON string is refused with that advice. A turn's head is the role and, as OpenAI first had it, an
optional `name=NAME`. What ChatML leaves open is written as Qwen and Hermes train it: reasoning as `<think>` at the
head of an answer, each call as `<tool_call>` with a JSON object at its end, results as turns of the role `tool`, to
the calls by order. Tool definitions have no place but a system prompt, which is not rewritten: they are a loss.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tuneport.data.formats.contract import (
    RecordProblems,
    Unrepresentable,
    Written,
    chat_of_record,
    decode_dataset_row,
    pick_unknown_row_keys,
    restore_unknown_row_keys,
    row_round_trips,
)
from tuneport.data.formats.contract import note_row_spelling as note_row_spelling
from tuneport.data.formats.flat import note_lost_settings
from tuneport.data.formats.sharegpt.turns import read_sharegpt_tool_calls, write_sharegpt_tool_call
from tuneport.data.rows.records import Chat, Message, Record

NAME = "chatml"
KNOWN = frozenset(("text",))
START, END = "<|im_start|>", "<|im_end|>"
ROLES = ("system", "developer", "user", "assistant", "tool")
_HEAD = re.compile(r"(\w+)(?: name=(\S+))?")
_THINK = re.compile(r"<think>\n(.*?)\n</think>\n\n", re.DOTALL)
_CALL = re.compile(r"<tool_call>\n(.*?)\n</tool_call>", re.DOTALL)
_CALLS = re.compile(r"(?:^|\n)<tool_call>\n.*?\n</tool_call>(?:\n<tool_call>\n.*?\n</tool_call>)*\Z", re.DOTALL)


def likeness(row: Mapping[str, Any]) -> tuple[float, str]:
    text = row.get("text")
    if isinstance(text, str) and text.lstrip().startswith(START):
        return 1.0, f"a text of turns between {START} and {END}"
    return 0.0, f"there is no text that begins with {START}"


def read_format_row(line: bytes) -> Record:
    row = decode_dataset_row(line)
    problems = RecordProblems()
    text = problems.read_text(row, "text", "") or ""
    messages = _read_turns(text, problems)
    problems.require_answer(messages, "text", "turn of the assistant")
    problems.raise_if_any()
    return Chat(messages, metadata=pick_unknown_row_keys(row, KNOWN))


def _read_turns(text: str, problems: RecordProblems) -> list[Message]:
    messages: list[Message] = []
    place = 0
    while (start := text.find(START, place)) >= 0:
        _refuse_between(text[place:start], place, problems)
        end = text.find(END, start)
        head, line_break, body = text[start + len(START) : end].partition("\n")
        if end < 0 or not line_break or START in body:
            rule = f"the turn at character {start} has no {END if line_break else 'line break after its role'}"
            problems.add("text", rule, f"write each turn from {START} to {END}, its role on a line of its own")
            return messages
        found = _HEAD.fullmatch(head.strip())
        if found is None or found[1] not in ROLES:
            rule = f"{head!r} at character {start + len(START)} is not a role"
            problems.add("text", rule, f"use one of {', '.join(ROLES)}")
        else:
            messages.append(_read_message(found[1], found[2], body))
        place = end + len(END)
    _refuse_between(text[place:], place, problems)
    return messages


def _refuse_between(text: str, place: int, problems: RecordProblems) -> None:
    if text.strip():
        place += len(text) - len(text.lstrip())
        rule = f"stray text at character {place}"
        problems.add("text", rule, f"write turns only, each from {START} to {END}")


def _read_message(role: Any, name: str | None, text: str) -> Message:
    message = Message(role, text, name)
    if role != "assistant":
        return message
    thought = _THINK.match(text)
    if thought:
        message.reasoning, text = thought[1], text[thought.end() :]
    message.content = text
    found = _CALLS.search(text)
    if found:
        problems = RecordProblems()  # what only looks like a call stays text
        calls = [call for body in _CALL.findall(found[0]) for call in read_sharegpt_tool_calls(body, "", problems)]
        if not problems:
            message.tool_calls = calls
            message.content = text[: found.start()] if found.start() or found[0].startswith("\n") else None
    return message


def write_format_row(record: Record) -> Written:
    lost: list[Unrepresentable] = []
    chat = chat_of_record(record, lost)
    if chat is None:
        return None, lost
    row: dict[str, Any] = {"text": "".join(_write_message(message, lost) for message in chat.messages)}
    note_lost_settings(record, lost)
    restore_unknown_row_keys(row, record.metadata, KNOWN, "", lost)
    plain = row["text"].count("<") == 2 * len(chat.messages) and not any(message.name for message in chat.messages)
    if not lost and not plain and not row_round_trips(read_format_row, row, record):
        lost.append(
            Unrepresentable("messages[].content", "the text contains what marks turns, thoughts or calls in ChatML")
        )
    return row, lost


def _write_message(message: Message, lost: list[Unrepresentable]) -> str:
    if isinstance(message.content, list):
        lost.append(Unrepresentable("messages[].content", "content is plain text; parts are joined by newlines"))
        if message.has_image:
            lost.append(Unrepresentable("messages[].content[].image", "there are no images"))
    if message.content is None and not message.tool_calls:
        lost.append(Unrepresentable("messages[].content", "an absent content becomes an empty text"))
    if message.weight is not None:
        lost.append(Unrepresentable("messages[].weight", "there are no weights of messages"))
    if message.tool_call_id is not None:
        lost.append(Unrepresentable("messages[].tool_call_id", "results belong to calls by order, without ids"))
    lost += [Unrepresentable(f"messages[].{key}", "messages have no further keys") for key in message.extra]
    pieces = [] if message.content is None else [message.text]
    pieces += [f"<tool_call>\n{write_sharegpt_tool_call(call, lost)}\n</tool_call>" for call in message.tool_calls]
    thought = "" if message.reasoning is None else f"<think>\n{message.reasoning}\n</think>\n\n"
    name = "" if message.name is None else f" name={message.name}"
    body = thought + "\n".join(pieces)
    return f"{START}{message.role}{name}\n{body}{END}\n"
