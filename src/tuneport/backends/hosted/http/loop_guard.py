"""The gateways that a request has passed through: each adds its id, and one that meets its own refuses.

A context variable instead of an argument of each method, like the client's identity: whatever a backend sends for a
request names the gateways that the request passed. A job is sent later, by another process: its request keeps the
gateways for that.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

HOP_HEADER = "X-Tuneport-Hop"
MOST_HOPS = 8
"""The most gateways in a row. More are a mistake, even if none meets itself because each restarts all the time."""

_NO_GATEWAY = "1"
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_HOPS: ContextVar[tuple[str, ...]] = ContextVar("tuneport_hops", default=())


def current_gateway_hops() -> tuple[str, ...]:
    """Return the gateways that the present request passed through, first to last, without this one."""
    return _HOPS.get()


@contextmanager
def forwarded_via_gateways(via: Iterable[str]) -> Iterator[None]:
    token = _HOPS.set(tuple(via))
    try:
        yield
    finally:
        _HOPS.reset(token)


def parse_gateway_hops(header: str | None) -> tuple[str, ...]:
    """Return the ids in a request's header. Invalid ids are left out."""
    words = [word.strip() for word in (header or "").split(",")]
    return tuple(word for word in words if _ID.fullmatch(word) and word != _NO_GATEWAY)


def gateway_hop_header(gateway_id: str | None) -> str:
    """Return the header of a request that leaves now, from the gateway of that id or, with None, from another
    program."""
    return ",".join([*current_gateway_hops(), _NO_GATEWAY if gateway_id is None else gateway_id])


def gateway_hop_hook(gateway_id: str | None) -> Callable[[Any], None]:
    """Return a hook of an HTTP client that sets the header on requests that have it when they leave."""

    def tell(request: Any) -> None:
        if HOP_HEADER in request.headers:
            request.headers[HOP_HEADER] = gateway_hop_header(gateway_id)

    return tell
