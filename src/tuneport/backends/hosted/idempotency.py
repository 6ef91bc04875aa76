"""The header `Idempotency-Key` on calls that spend money: a server that knows it makes the same call only once.

A context variable, like `current_gateway_hops`, because Together's SDK takes no headers when it creates a job.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

IDEMPOTENCY_HEADER = "Idempotency-Key"

_KEY: ContextVar[tuple[str, str] | None] = ContextVar("tuneport_idempotency_key", default=None)


@contextmanager
def send_idempotency_key(key: str, path: str) -> Iterator[None]:
    """Send `key` with each POST whose path ends in `path`, and with no other: one call of an SDK may make several."""
    token = _KEY.set((key, path))
    try:
        yield
    finally:
        _KEY.reset(token)


def add_idempotency_key(request: Any) -> None:
    """Add the header to a request that is about to leave: a hook of httpx and httpx2."""
    wanted = _KEY.get()
    if wanted is not None and request.method == "POST" and request.url.path.endswith(wanted[1]):
        request.headers[IDEMPOTENCY_HEADER] = wanted[0]
