"""A budget of requests a minute, for whoever asks a provider often and unasked.

What a person waits for (a submit, a chat) is not paced. Polling runs within `paced(budget)`, and every read of a hosted
backend then waits for its turn, the pages of a list and the retries included.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

BURST_SECONDS = 10.0
"""What was not used is kept for so long: ten seconds' worth of requests may go at once, never a minute's."""


class Budget:
    """`per_minute` requests, evenly but for short bursts. Threads may share one.

    `clock` gives seconds, and `sleep` waits so many of them: both are handed in, so that a test needs no time.
    """

    def __init__(self, per_minute: float, *, clock: Callable[[], float], sleep: Callable[[float], object]) -> None:
        self.per_second = per_minute / 60.0
        self._capacity = max(1.0, self.per_second * BURST_SECONDS)
        self._clock, self._sleep = clock, sleep
        self._tokens, self._filled_at = self._capacity, clock()
        self._lock = threading.Lock()
        self.spent = 0

    def take(self) -> None:
        """Wait until there is a request left, and use it."""
        with self._lock:
            moment = self._clock()
            self._tokens = min(self._capacity, self._tokens + (moment - self._filled_at) * self.per_second)
            self._filled_at = moment
            self._tokens -= 1.0  # below zero: a place in the queue
            wait = max(0.0, -self._tokens / self.per_second)
            self.spent += 1
        if wait:
            self._sleep(wait)


_budget: ContextVar[Budget | None] = ContextVar("budget", default=None)
_prepaid: ContextVar[bool] = ContextVar("prepaid", default=False)


@contextmanager
def paced(budget: Budget) -> Iterator[None]:
    """Within the block, on this thread, reads of hosted backends take from `budget`."""
    token = _budget.set(budget)
    try:
        yield
    finally:
        _budget.reset(token)


def before_request() -> None:
    """Before a read: wait for its turn, whether or not it will be answered."""
    budget = _budget.get()
    if budget is not None:
        budget.take()
        _prepaid.set(True)


def after_response() -> None:
    """After each answer: further ones of the same read, such as the pages of a list, wait for theirs here."""
    budget = _budget.get()
    if budget is not None and not _prepaid.get():
        budget.take()
    _prepaid.set(False)
