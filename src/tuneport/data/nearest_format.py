"""The message on a record that fits no format: which one it is meant to be of, or how to bring it into one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import Any

from tuneport.data.containers.folder import container_suffix
from tuneport.data.formats import FORMATS
from tuneport.formatting import listed_names

_KEYS = (
    ("openai-preference", ("preferred_output", "non_preferred_output")),
    ("trl", ("chosen", "rejected")),
    ("alpaca", ("instruction", "output")),
    ("prompt-completion", ("prompt", "completion")),
    ("openai", ("messages",)),
    ("sharegpt", ("conversations",)),
    ("gemini", ("contents",)),
    ("text", ("text",)),
)
"""By what tells most."""

_PROMPTS = (
    *("prompt", "question", "query", "instruction", "input", "user", "problem", "request", "q"),
    *("message", "body", "utterance", "description", "subject"),
)
_COMPLETIONS = (
    *("completion", "answer", "response", "output", "assistant", "solution", "reply", "target", "label", "a"),
    *("category", "class", "intent", "team", "department"),
)
"""Names that columns have, the likeliest first."""

_MOST_WORDS = 4  # of a column's name; a longer one is a cell


def nearest_dataset_format(row: Mapping[str, Any]) -> str | None:
    """Return the format whose keys the record has, so that errors in their values can be reported; None for none."""
    return next((name for name, keys in _KEYS if all(key in row for key in keys)), None)


def unknown_dataset_format_hint(row: Mapping[str, Any], file: Path, records: int) -> tuple[str, str]:
    """Return rule and fix for the first record of a file without a record that fits any format."""
    lists = [key for key, value in row.items() if isinstance(value, list) and value and isinstance(value[0], dict)]
    if records == 1 and len(lists) == 1:
        rule = f"is one object, which seems to hold the records as {lists[0]!r}"
        return rule, f"give the list alone, as `jq .{lists[0]} {file.name}` prints it"
    rule = f"no known format has such a record (its keys: {listed_names(list(row))})"
    table = container_suffix(file) in (".csv", ".tsv")
    header = "name the columns in its first line; or " if table and any(map(_is_no_name, row)) else ""
    return rule, f"{header}map its columns, as in {_mapping(row)}; known formats: {', '.join(FORMATS)}"


def _is_no_name(key: str) -> bool:
    """Return whether the key looks like a cell of a table without a header."""
    return len(key.split()) > _MOST_WORDS or re.fullmatch(r"[\d\W]+", key) is not None


def _mapping(row: Mapping[str, Any]) -> str:
    names = {key.casefold(): key for key in row}
    asked = next((names[name] for name in _PROMPTS if name in names), "COLUMN")
    answered = next((names[name] for name in _COMPLETIONS if name in names), "COLUMN")
    pairs = (("prompt", asked), ("completion", answered))
    return " ".join(f"--map {quote(f'{name}={column}')}" for name, column in pairs if name != column)
