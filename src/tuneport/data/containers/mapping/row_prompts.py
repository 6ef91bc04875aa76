"""Prompts that are made for rows as they are read: the user's message by a template, and a system prompt before it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from tuneport.data.containers.bad_row import BadRow, unreadable_file_error
from tuneport.data.rows.repeated_keys import is_row_fully_decoded
from tuneport.errors import ConfigError, DatasetError
from tuneport.formatting import listed_names

_PIECE = re.compile(r"\{\{|\}\}|\{([^{}]+)\}")
_ANSWERS = ("completion", "chosen", "rejected")
_KEPT = frozenset((*_ANSWERS, "output", "label", "kto_tag", "tools"))
"""Fields of formats: they stay in the row although a template has used them."""
_SYSTEM_ROLES = ("system", "developer")

_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.encode


class RowPrompts:
    """Changes each row: `template` makes the field prompt (Alpaca's instruction) of the row's columns, whose names it
    has in braces, and `system` is put before conversations that have no system prompt.

    `columns` are those of `ColumnMapping`: a template may name a column as the file does. Nothing in a template is
    evaluated. A column that it has used is part of the prompt and leaves the row. Raises ConfigError for a template
    without a column.
    """

    def __init__(self, template: str | None, system: str | None, columns: Mapping[str, str] | None = None) -> None:
        self._template, self._system = template, system
        self._renamed = {name: field for field, name in (columns or {}).items()}
        self._field = "instruction" if {"instruction", "output"} & set(columns or {}) else "prompt"
        names = [found[1] for found in _PIECE.finditer(template or "") if found[1]]
        if template is not None and not names:
            raise ConfigError("the template names no column; write {COLUMN} where a column of the row belongs")
        self._missing = dict.fromkeys(names)
        self._seen: dict[str, None] = {}

    def __bool__(self) -> bool:
        return self._template is not None or self._system is not None

    @property
    def missing(self) -> list[str]:
        """Return the columns of the template that no row had so far."""
        return list(self._missing)

    def row(self, raw: bytes) -> bytes:
        """Return the row with its prompts; unchanged if it is not a JSON object, which its reader says."""
        try:
            row = _decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return raw
        if not is_row_fully_decoded(raw, row):
            return raw  # it has a column twice; the reader says so
        if self._template is not None:
            bad = self._make_prompt(row, self._template)
            if bad is not None:
                return bad
        if self._system is not None and (bad := _add_system(row, self._system)) is not None:
            return bad
        return _encode(row)

    def absent(self, path: Path | str) -> DatasetError:
        """Return the error once all rows were read, if some column of the template was in none of them."""
        rule = f"no record has the column {self.missing[0]!r}, which the template names"
        fix = f"name one of its columns ({listed_names(list(self._seen))}), or write {{{{ and }}}} for braces"
        return unreadable_file_error(path, rule, fix)

    def _make_prompt(self, row: dict[str, Any], template: str) -> BadRow | None:
        if "messages" in row or "conversations" in row:
            self._missing.clear()  # of columns nothing needs to be said
            return BadRow("holds a conversation, of which a template makes nothing", "leave --template out")
        if self._missing:
            self._seen |= dict.fromkeys(row)
        used: dict[str, str] = {}

        def text_of(found: re.Match[str]) -> str:
            if found[1] is None:
                return found[0][0]
            name = found[1] if found[1] in row else self._renamed.get(found[1], found[1])  # as the file has it
            if name in row:
                self._missing.pop(found[1], None)
            used[name] = _text(row.get(name))
            return used[name]

        prompt = _PIECE.sub(text_of, template)
        if not any(text.strip() for text in used.values()):
            return BadRow(f"has nothing in the columns of the template ({listed_names(list(used))})", "fill or drop it")
        for name in used:
            if name not in _KEPT:
                row.pop(name, None)
        row[self._field] = _raw(prompt)
        return None


def _add_system(row: dict[str, Any], system: str) -> BadRow | None:
    """Put a system prompt before the conversation of a row, whatever its format, unless it has one."""
    said = {"role": "system", "content": system}
    if _text(row.get("system")):
        return None
    if "messages" in row:
        row["messages"] = _with_system(row["messages"], said)
    elif "conversations" in row:
        first = _first(row["conversations"])
        if first.get("from", first.get("role")) not in _SYSTEM_ROLES:
            row["system"] = _raw(system)
    elif "instruction" in row:
        row["system"] = _raw(system)
    elif "prompt" in row:
        prompt = msgspec.json.decode(row["prompt"])
        if isinstance(prompt, str):
            row["prompt"] = _raw([said, {"role": "user", "content": prompt}])
            for name in _ANSWERS:
                if name in row and isinstance(answer := msgspec.json.decode(row[name]), str):
                    row[name] = _raw([{"role": "assistant", "content": answer}])
        else:
            row["prompt"] = _with_system(row["prompt"], said)
    elif "contents" in row:
        if "systemInstruction" not in row and "system_instruction" not in row:
            row["systemInstruction"] = _raw({"parts": [{"text": system}]})
    elif "text" in row:
        return BadRow("is plain text, which has no place for a system prompt", "leave --system out")
    return None


def _with_system(raw: msgspec.Raw, said: dict[str, str]) -> msgspec.Raw:
    messages = msgspec.json.decode(raw, type=Any)
    if not isinstance(messages, list) or _first(raw).get("role") in _SYSTEM_ROLES:
        return raw
    return msgspec.Raw(b"[" + _encode(said) + (b"," if messages else b"") + bytes(raw).strip()[1:])


def _first(raw: msgspec.Raw) -> dict[str, Any]:
    """Return the first object of a list; an empty one if there is none."""
    turns = msgspec.json.decode(raw)
    return turns[0] if isinstance(turns, list) and turns and isinstance(turns[0], dict) else {}


def _raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(_encode(value))


def _text(raw: msgspec.Raw | None) -> str:
    """Return a value for a text: texts as they are, nothing for null, and all else as JSON."""
    value = None if raw is None else msgspec.json.decode(raw)
    return value if isinstance(value, str) else "" if value is None else bytes(raw or b"").decode()
