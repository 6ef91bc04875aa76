"""Plain text: `{"text": ...}`, as for continued pre-training. Nothing marks turns in it, so only plain text goes in;
`chatml` is the format that writes conversations as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from tuneport.data.formats.contract import (
    RecordProblems,
    Unrepresentable,
    Written,
    decode_dataset_row,
    pick_unknown_row_keys,
    restore_unknown_row_keys,
)
from tuneport.data.formats.contract import note_row_spelling as note_row_spelling
from tuneport.data.formats.flat import note_lost_settings
from tuneport.data.rows.records import PlainText, Record
from tuneport.data.rows.repeated_keys import are_row_texts_fully_decoded

NAME = "text"
KNOWN = frozenset(("text",))


class _PlainRow(msgspec.Struct, forbid_unknown_fields=True):
    text: str


_plain = msgspec.json.Decoder(_PlainRow)


def likeness(row: Mapping[str, Any]) -> tuple[float, str]:
    text = row.get("text")
    if not isinstance(text, str):
        return 0.0, "there is no text"
    if text.lstrip().startswith("<|im_start|>"):
        return 0.5, "a text of ChatML's turns"
    if "label" in row or row.keys() & {"messages", "conversations", "contents", "prompt", "instruction", "output"}:
        return 0.0, "a text beside a label, or beside columns of other formats"
    return (1.0, "a text and nothing to train on beside it") if len(row) == 1 else (0.9, "a text and other columns")


def read_format_row(line: bytes) -> Record:
    try:
        plain = _plain.decode(line).text
        if are_row_texts_fully_decoded(line, 4, (plain,)):
            return PlainText(plain)
    except (msgspec.ValidationError, UnicodeDecodeError):
        pass
    row = decode_dataset_row(line)
    problems = RecordProblems()
    text = problems.read_text(row, "text", "")
    problems.raise_if_any()
    return PlainText(text or "", metadata=pick_unknown_row_keys(row, KNOWN))


def write_format_row(record: Record) -> Written:
    if not isinstance(record, PlainText):
        return None, [
            Unrepresentable(
                "", "a record with an answer has no form as plain text; chatml writes conversations as text"
            )
        ]
    lost: list[Unrepresentable] = []
    row: dict[str, Any] = {"text": record.text}
    note_lost_settings(record, lost)
    restore_unknown_row_keys(row, record.metadata, KNOWN, "", lost)
    return row, lost
