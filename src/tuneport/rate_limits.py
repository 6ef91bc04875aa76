"""Limits requests per minute; reads and writes HTTP's Retry-After headers."""

from __future__ import annotations

import math
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

LONGEST_WAIT = 86_400.0
"""Seconds. A server that says more means "not soon", and dates overflow with some numbers."""
_MOST_CLIENTS = 10_000


def parse_retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds to wait of `retry-after-ms`, or of `retry-after` in seconds or as a date: 0 to LONGEST_WAIT.

    A date counts from the date of the answer itself, because this machine's clock may differ from the server's.
    Returns None if the headers name no time that can be read. `headers` finds names in any case, as httpx's do.
    """
    for name, scale in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        value = headers.get(name, "").strip()
        if re.fullmatch(r"\d+(\.\d*)?([eE]\+?\d+)?", value, re.ASCII):
            return min(float(value) / scale, LONGEST_WAIT)
    try:
        sent = headers.get("date")
        since = parsedate_to_datetime(sent).timestamp() if sent else time.time()
        return min(max(0.0, parsedate_to_datetime(headers.get("retry-after", "")).timestamp() - since), LONGEST_WAIT)
    except (ValueError, TypeError, OverflowError):
        return None


def retry_after_headers(seconds: float) -> dict[str, str]:
    """Return the headers that ask a client to wait: whole seconds, and milliseconds for OpenAI's SDK."""
    return {
        "Retry-After": str(max(1, math.ceil(seconds))),
        "Retry-After-Ms": str(max(1, math.ceil(seconds * 1000))),
    }


@dataclass(frozen=True)
class Allowance:
    """The rest of the limit after a request. `wait`: seconds until the next one is allowed, 0.0 if this one was."""

    limit: int
    remaining: int
    reset: float
    wait: float

    def headers(self) -> dict[str, str]:
        return {
            "x-ratelimit-limit-requests": str(self.limit),
            "x-ratelimit-remaining-requests": str(self.remaining),
            "x-ratelimit-reset-requests": f"{self.reset:.3f}s",
        }


class RateLimiter:
    """A token bucket for each client: `per_minute` requests, `burst` of them at once. Threads may share one.

    `clock` gives seconds, and `sleep` waits so many of them: both are handed in, so that a test needs no time.
    """

    def __init__(
        self,
        per_minute: float,
        *,
        burst: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._burst, self._a_second = max(1.0, per_minute if burst is None else burst), per_minute / 60
        self._clock, self._sleep = clock, sleep
        self._levels: dict[str, tuple[float, float]] = {}
        self._lock = threading.Lock()
        self.requests = 0

    def try_acquire(self, client: str = "") -> Allowance:
        """Count a request if one is left, and return what is left; the caller refuses it if there is a `wait`."""
        return self._take(client, queue=False)

    def acquire(self, client: str = "") -> None:
        """Wait until a request is left, and count it. Those that wait take turns."""
        if wait := self._take(client, queue=True).wait:
            self._sleep(wait)

    def _take(self, client: str, *, queue: bool) -> Allowance:
        with self._lock:
            moment = self._clock()
            level, since = self._levels.get(client, (self._burst, moment))
            level = min(self._burst, level + (moment - since) * self._a_second)
            short = max(0.0, 1.0 - level)
            if queue or not short:
                level -= 1.0  # below zero: a place in the queue
                self.requests += 1
            if len(self._levels) >= _MOST_CLIENTS:
                self._forget(moment)
            self._levels[client] = (level, moment)
        reset = (self._burst - level) / self._a_second
        return Allowance(int(self._burst), max(0, int(level)), reset, short / self._a_second)

    def _forget(self, moment: float) -> None:
        # A client whose bucket is full again is as good as new; of too many others, all are.
        for client, (level, since) in list(self._levels.items()):
            if level + (moment - since) * self._a_second >= self._burst:
                del self._levels[client]
        if len(self._levels) >= _MOST_CLIENTS:
            self._levels.clear()
