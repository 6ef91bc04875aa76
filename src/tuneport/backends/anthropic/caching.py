"""Prompt caching: a long head of requests (tools and system prompt) that is sent again is kept by the provider.

Writing it costs a quarter more than reading it anew (twice as much in a batch, because it has to be kept for an hour),
and each use of it a tenth. So a head is marked only when it was sent before, or stands in a batch twice: what is
different in each row, as a document in its system prompt is, costs no more than it did.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from tuneport.manifests import OfferedModel

UNKNOWN_MINIMUM = 4096
"""Tokens of the shortest head that is kept, if the manifest does not say: the largest minimum of any model."""
CHARACTERS_PER_TOKEN = 4
"""Of English. Other languages have fewer, so a head that is long enough by this count is long enough there, too."""
_MOST_REMEMBERED = 10_000

Request = Mapping[str, Any]


class SentPromptHeads:
    """The heads of requests that this process has sent. May be used by several threads."""

    def __init__(self) -> None:
        self._sent: set[str] = set()
        self._lock = threading.Lock()

    def mark_repeated(self, request: Request, facts: OfferedModel | None) -> Request:
        """Return the request, its head marked if that was sent before and is long enough for the model."""
        head = _long_head(request, facts)
        if head is None:
            return request
        with self._lock:
            known = head in self._sent
            if len(self._sent) >= _MOST_REMEMBERED:
                self._sent.clear()
            self._sent.add(head)
        return _marked(request, {"type": "ephemeral"}) if known else request


def mark_shared_prompt_heads(requests: Sequence[Request], facts: OfferedModel | None) -> list[Request]:
    """Return the requests of a batch; heads that several of them have are marked, to be kept for an hour."""
    heads = [_long_head(request, facts) for request in requests]
    times = Counter(heads)
    hour = {"type": "ephemeral", "ttl": "1h"}
    return [
        request if head is None or times[head] < 2 else _marked(request, hour)
        for request, head in zip(requests, heads, strict=True)
    ]


def _long_head(request: Request, facts: OfferedModel | None) -> str | None:
    """Return the digest of the request's head, or None if it is too short to be kept."""
    least = UNKNOWN_MINIMUM if facts is None or facts.cache_from is None else facts.cache_from.value
    tools, system = request.get("tools") or [], request.get("system") or []
    written = sum(len(json.dumps(tool)) for tool in tools) + sum(len(block["text"]) for block in system)
    if written < least * CHARACTERS_PER_TOKEN:
        return None
    return hashlib.sha256(json.dumps([request["model"], tools, system], sort_keys=True).encode()).hexdigest()


def _marked(request: Request, mark: dict[str, str]) -> Request:
    """Return the request with the mark at the end of its head: what stands before it is kept."""
    field = "system" if request.get("system") else "tools"
    *first, last = request[field]
    return {**request, field: [*first, last | {"cache_control": mark}]}
