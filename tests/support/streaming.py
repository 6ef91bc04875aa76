"""A client of event streams, as browsers read them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass
class Block:
    event: str
    id: str | None
    data: Any


def blocks(lines: Iterable[str]) -> Iterator[Block]:
    """What an `EventSource` would hand on; comments and `retry` are not handed on."""
    event, id_, data = "message", None, ""
    for line in lines:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            if data:
                yield Block(event, id_, json.loads(data))
            event, id_, data = "message", None, ""
        elif name == "event":
            event = value
        elif name == "id":
            id_ = value
        elif name == "data":
            data += value
