"""Keys that stand twice in one JSON object. Parsers take the last and say nothing, so what the others hold would be
lost.

The cheap tests count quotes. Each key and each text has two around it, and quotes within a text are escaped but still
quotes; so whatever a parser passed over shows as quotes that are in the JSON and not in what was read. Only a quote
that is written as \\u0022 hides one, so JSON with that is always looked at closely.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

hidden_quote = re.compile(rb"\\u0022").search  # three times as fast as `in`
FIX = "keep one of them: JSON readers take the last and drop the others"

_encode = msgspec.json.Encoder().encode


def is_row_fully_decoded(line: bytes, value: Any) -> bool:
    """Return whether `value`, which was decoded from `line`, has everything in it. False only calls for a closer
    look."""
    try:
        return line.count(b'"') == _encode(value).count(b'"') and not hidden_quote(line)
    except RecursionError:
        return False


def are_row_texts_fully_decoded(line: bytes, quotes: int, texts: Iterable[str]) -> bool:
    """Return the same for a struct of `texts`; around its keys and texts there are `quotes` quotes."""
    found = line.count(b'"')
    return found == quotes or (found == quotes + sum([text.count('"') for text in texts]) and not hidden_quote(line))


def repeated_keys(line: bytes | str) -> list[tuple[str, str]]:
    """Return the path of each object with a key that it has twice, and the key; empty if the text is not JSON."""
    try:
        # Numbers stay text: only keys are looked at, and a long one would be refused.
        value = json.loads(line, object_pairs_hook=_Pairs, parse_int=str, parse_float=str)
        return list(_repeated(value, ""))
    except (ValueError, RecursionError):
        return []


class _Pairs(list[tuple[str, Any]]):
    """An object, with all its keys."""


def _repeated(value: Any, at: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, _Pairs):
        keys = Counter(key for key, _ in value)
        yield from ((at, key) for key, count in keys.items() if count > 1)
        for key, item in value:
            if isinstance(item, list):
                yield from _repeated(item, f"{at}.{key}" if at else key)
    else:
        for index, item in enumerate(value if isinstance(value, list) else ()):
            if isinstance(item, list):
                yield from _repeated(item, f"{at}[{index}]")
