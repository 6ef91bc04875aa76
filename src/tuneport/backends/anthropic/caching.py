"""Prompt caching: a long head of requests (tools and system prompt) that is sent again is kept by the provider.

Writing it costs a quarter more than reading it anew (twice as much in a batch, because it has to be kept for an hour),
and each use of it a tenth. So a head is marked only when it was sent before, not longer ago than it would be kept, or
stands in a batch twice: what is different in each row, as a document in its system prompt is, costs no more than it
did. Requests that say themselves what is to be kept stay as they are: the API takes four marks at most.
"""

from __future__ import annotations

import hashlib
import json
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tuneport.manifests import OfferedModel

UNKNOWN_MINIMUM = 4096
"""Tokens of the shortest head that is kept, if the manifest does not say: the largest minimum of any model."""
CHARACTERS_PER_TOKEN = 4
"""Of English. Other languages have fewer, so a head that is long enough by this count is long enough there, too."""
KEPT_SECONDS = 300.0
"""How long a head is kept after its last use, unless an hour is asked for."""
_MOST_REMEMBERED = 10_000
_MARK = "cache_control"

Request = Mapping[str, Any]


class SentPromptHeads:
    """The heads of requests that this process has sent, and when. May be used by several threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._sent: dict[str, float] = {}
        self._clock = clock
        self._lock = threading.Lock()

    def mark_repeated(self, request: Request, facts: OfferedModel | None) -> Request:
        """Return the request, its head marked if that was sent lately and is long enough for the model."""
        head = _long_head(request, facts)
        if head is None:
            return request
        with self._lock:
            now = self._clock()
            known = now - self._sent.get(head, -math.inf) < KEPT_SECONDS
            if len(self._sent) >= _MOST_REMEMBERED:
                self._sent.clear()
            self._sent[head] = now
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
    """Return the digest of the request's head, or None if it is too short to be kept or the request has marks."""
    least = UNKNOWN_MINIMUM if facts is None or facts.cache_from is None else facts.cache_from.value
    tools, system = request.get("tools") or [], request.get("system") or []
    written = sum(len(json.dumps(tool)) for tool in tools) + sum(len(block["text"]) for block in system)
    if written < least * CHARACTERS_PER_TOKEN or _has_marks(request):
        return None
    return hashlib.sha256(json.dumps([request["model"], tools, system], sort_keys=True).encode()).hexdigest()


def _has_marks(request: Request) -> bool:
    said = [turn["content"] for turn in request["messages"] if not isinstance(turn["content"], str)]
    return any(
        _MARK in block for blocks in (request.get("tools"), request.get("system"), *said) for block in blocks or ()
    )


def _marked(request: Request, mark: dict[str, str]) -> Request:
    """Return the request with the mark at the end of its head: what stands before it is kept."""
    field = "system" if request.get("system") else "tools"
    *first, last = request[field]
    return {**request, field: [*first, last | {_MARK: mark}]}
