"""Paces the reads of hosted backends, for callers that ask a provider often and on their own account.

What a person waits for (a submit, a chat) is not paced. Polling runs within `paced(limiter)`, and every read of a
hosted backend then waits for its turn, the pages of a list and the retries included.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from tuneport.rate_limits import RateLimiter

BURST_SECONDS = 10.0
"""What was not used is kept for so long: ten seconds' worth of requests may go at once, never a minute's."""

_limiter: ContextVar[RateLimiter | None] = ContextVar("limiter", default=None)
_prepaid: ContextVar[bool] = ContextVar("prepaid", default=False)


@contextmanager
def rate_limited_reads(limiter: RateLimiter) -> Iterator[None]:
    """Let reads of hosted backends in the block, on this thread, wait for `limiter`."""
    token = _limiter.set(limiter)
    try:
        yield
    finally:
        _limiter.reset(token)


def wait_before_provider_read() -> None:
    """Wait before a read for its turn, whether or not it will be answered."""
    limiter = _limiter.get()
    if limiter is not None:
        limiter.acquire()
        _prepaid.set(True)


def count_provider_pages() -> None:
    """Count further answers of the same read, such as the pages of a list, which wait for their turns here."""
    limiter = _limiter.get()
    if limiter is not None and not _prepaid.get():
        limiter.acquire()
    _prepaid.set(False)
