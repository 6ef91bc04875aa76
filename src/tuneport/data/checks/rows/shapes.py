"""Tells the kinds of text apart: code, JSON, or words."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import msgspec

_MARKS = (
    "```",
    "def ",
    "class ",
    "import ",
    "#include",
    "function",
    "SELECT ",
    "return ",
    ");",
    "</",
    "=>",
    "= ",
    "{\n",
)
_CODE = re.compile(
    r"```|^[ \t]*(?:(?:async )?def \w+\(|class \w+ ?[:({]|import [\w.{*]+(?: as \w+| from .*|;)?$|from [\w.]+ import "
    r"|#include\b|#!/|(?:export |async )*function\b ?\w*\(|(?:public|private|protected|static) \w+"
    r"|(?:const|let|var) \w+ ?=|SELECT\b.+\bFROM\b|INSERT INTO\b|CREATE (?:TABLE|VIEW)\b|UPDATE \w+ SET\b|<\?php"
    r"|<(?:!DOCTYPE|html|div|script|svg)\b|package \w+;|fn \w+\(|func \w+\(|return\b.*;$|(?:if|for|while) ?\(.*\) ?\{$"
    r"|(?:for|while|if) .+:\n[ \t]+\w+[ .(=]|[\w.\[\]]+ = [\w.]+\(.*\);?$|.*(?:[^ ]\);|\};?)$)",
    re.MULTILINE,
)
_FENCED = re.compile(r"```(?:json|JSON)?\s*\n(.*?)\n?\s*```", re.DOTALL)


def row_looks_like_code(text: str) -> bool:
    """Return whether the text is a program, or prose with one in it."""
    for mark in _MARKS:
        if mark in text:
            return _CODE.search(text) is not None
    return False


def strip_row_code_fence(text: str) -> str | None:
    """Return the inside of a text that is one code fence of JSON or of no language, else None."""
    text = text.strip()
    found = _FENCED.fullmatch(text) if text.startswith("```") else None
    return found[1] if found else None


@lru_cache(maxsize=8)  # several checks ask about the same answer
def parse_row_answer_json(text: str) -> Any:
    """Return the object or list that the whole text is in JSON, or None for anything else."""
    text = text.strip()
    if not text.startswith(("{", "[")) or not text.endswith(("}", "]")):
        return None
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return None
