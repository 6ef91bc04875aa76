"""Answers with one odd field: each field of a true answer, at any depth, gets each odd value."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

DROP = object()
HUGE = 10**400
ODD: dict[str, Any] = {
    "dropped": DROP, "null": None, "huge": HUGE, "negative": -1, "nan": float("nan"), "text": "odd", "number": 7,
    "list": [], "object": {}, "empty text": "", "true": True, "long": "x" * 1_000_000, "nested": "NESTED",
}  # fmt: skip
DEPTH = 5_000


def places(answer: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every field, and of every list its first item."""
    if isinstance(answer, dict):
        for name, value in answer.items():
            yield (*path, name)
            yield from places(value, (*path, name))
    elif isinstance(answer, list) and answer:
        yield (*path, 0)
        yield from places(answer[0], (*path, 0))


def mutated(answer: Any, path: tuple[Any, ...], kind: str) -> bytes:
    """The JSON of `answer` with that odd value at `path`; at the empty path, instead of it."""
    value = ODD[kind]
    changed = copy.deepcopy(answer)
    if not path:
        changed = {} if value is DROP else value
    else:
        place = changed
        for name in path[:-1]:
            place = place[name]
        if value is DROP:
            del place[path[-1]]
        else:
            place[path[-1]] = value
    return json.dumps(changed).replace('"NESTED"', "[" * DEPTH + "]" * DEPTH).encode()
