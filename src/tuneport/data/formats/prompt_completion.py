"""Prompt and completion: `{"prompt": text, "completion": text}`, which is the same as one question and its answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from tuneport.data.formats.contract import (
    RecordProblems,
    Unrepresentable,
    Written,
    chat_of_record,
    decode_dataset_row,
    pick_unknown_row_keys,
    restore_unknown_row_keys,
)
from tuneport.data.formats.contract import note_row_spelling as note_row_spelling
from tuneport.data.formats.flat import note_lost_settings, reduce_to_exchange
from tuneport.data.rows.records import PromptCompletion, Record
from tuneport.data.rows.repeated_keys import are_row_texts_fully_decoded

NAME = "prompt-completion"
KNOWN = frozenset(("prompt", "completion"))


def likeness(row: Mapping[str, Any]) -> tuple[float, str]:
    if isinstance(row.get("prompt"), str) and isinstance(row.get("completion"), str):
        if isinstance(row.get("label"), bool):
            return 0.5, "a prompt and a completion, and a label that this format would ignore"
        if "weight" in row:
            return 0.9, "a prompt and a completion, and a weight, which is a mere column here"
        return 1.0, "a prompt and a completion"
    return 0.0, "there are no prompt and completion of text"


class _PlainRow(msgspec.Struct, forbid_unknown_fields=True):
    prompt: str
    completion: str


_plain = msgspec.json.Decoder(_PlainRow)


def read_format_row(line: bytes) -> Record:
    try:
        plain = _plain.decode(line)
    except (msgspec.ValidationError, UnicodeDecodeError):
        pass
    else:
        if are_row_texts_fully_decoded(line, 8, (plain.prompt, plain.completion)):
            return PromptCompletion(plain.prompt, plain.completion)
    row = decode_dataset_row(line)
    problems = RecordProblems()
    prompt = problems.read_text(row, "prompt", "")
    completion = problems.read_text(row, "completion", "")
    problems.raise_if_any()
    return PromptCompletion(prompt or "", completion or "", metadata=pick_unknown_row_keys(row, KNOWN))


def write_format_row(record: Record) -> Written:
    lost: list[Unrepresentable] = []
    chat = chat_of_record(record, lost)
    if chat is None:
        return None, lost
    exchange = reduce_to_exchange(chat.messages, lost)
    if exchange is None:
        return None, lost
    prompt = exchange.question
    if exchange.system is not None or exchange.history:
        lost.append(
            Unrepresentable(
                "messages[]", "there is one prompt; the system prompt and earlier turns are written into it"
            )
        )
        turns = [] if exchange.system is None else [exchange.system]
        turns += [f"User: {question}\nAssistant: {answer}" for question, answer in exchange.history]
        prompt = "\n\n".join([*turns, f"User: {prompt}" if exchange.history else prompt])
    row: dict[str, Any] = {"prompt": prompt, "completion": exchange.answer}
    note_lost_settings(record, lost)
    restore_unknown_row_keys(row, record.metadata, KNOWN, "", lost)
    return row, lost
