"""JSON within the cells of tables: which text means a list or an object, by the names that formats give to columns."""

from __future__ import annotations

from typing import Any

import msgspec

from tuneport.data.rows.repeated_keys import is_row_fully_decoded, repeated_keys

LISTS = frozenset(
    ("messages", "conversations", "tools", "functions", "history", "preferred_output", "non_preferred_output")
    + ("contents", "system_instruction", "systemInstruction", "images")
)
"""Columns that never hold text."""
_TURNS = frozenset(("input", "prompt", "completion", "chosen", "rejected", "system"))
"""Columns that hold text in one format and messages in another."""
_SCALARS = frozenset(("parallel_tool_calls", "label", "weight"))
_TURN_KEYS = frozenset(("role", "from", "messages", "type"))


class RepeatedKeyError(Exception):
    """An object in the JSON of a cell has a key twice; the message says where."""


def parse_dataset_cell(column: str, text: str) -> Any:
    """Return the value of a cell, or None if it is empty and its column never holds text. Everything else is text.

    Raises RepeatedKeyError if reading the cell's JSON would drop something.
    """
    if column in LISTS or column in _SCALARS:
        if not text:
            return None
        value = _decoded(text)
        if column in LISTS:
            return _all_of(column, text, value) if isinstance(value, list | dict) else text
        return value if isinstance(value, bool | int | float) else text
    if column in _TURNS and text[:1] in ("[", "{"):
        value = _decoded(text)
        items = value if isinstance(value, list) else [value]
        if items and all(isinstance(item, dict) and not _TURN_KEYS.isdisjoint(item) for item in items):
            return _all_of(column, text, value)
    return text


def format_dataset_cell(value: Any) -> str:
    """Return the text of a value: itself, its JSON, or an empty string for none."""
    if value is None:
        return ""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _decoded(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return None


def _all_of(column: str, text: str, value: Any) -> Any:
    if not is_row_fully_decoded(text.encode(), value):
        for at, key in repeated_keys(text):
            field = f"{column}.{at}" if at and not at.startswith("[") else f"{column}{at}"
            raise RepeatedKeyError(f"{field} has the key {key!r} twice")
    return value
