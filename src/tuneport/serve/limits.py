"""How much one client may ask for in a minute, in OpenAI's words, so that its SDK waits and tries again."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from tuneport.serve.errors import Refusal
from tuneport.settings import GatewaySettings

REQUESTS_PER_MINUTE, JOBS_PER_MINUTE = 6000, 60
"""Of a token, where `[gateway]` says nothing: far above what polling a hundred jobs takes, far below what keeps others
out. Without a token there is one user, and nobody to protect from him."""
_MOST_CLIENTS = 10_000


@dataclass(frozen=True)
class Room:
    """What is left after a request. `wait`: in how many seconds there is room for one, 0.0 where there was."""

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


class Bucket:
    """So many a minute for each client, all at once if it likes. It counts for this process alone."""

    def __init__(self, per_minute: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._size, self._clock = per_minute, clock
        self._a_second = per_minute / 60
        self._levels: dict[str, tuple[float, float]] = {}
        self._lock = threading.Lock()

    def take(self, client: str) -> Room:
        with self._lock:
            level, moment = self._level(client)
            taken = level >= 1
            level -= taken
            if len(self._levels) >= _MOST_CLIENTS:
                self._forget(moment)
            self._levels[client] = (level, moment)
        wait = 0.0 if taken else (1 - level) / self._a_second
        return Room(self._size, int(level), (self._size - level) / self._a_second, wait)

    def _level(self, client: str) -> tuple[float, float]:
        moment = self._clock()
        level, since = self._levels.get(client, (float(self._size), moment))
        return min(self._size, level + (moment - since) * self._a_second), moment

    def _forget(self, moment: float) -> None:
        """Those whose bucket is full again are as good as new; of too many others, all."""
        for client, (level, since) in list(self._levels.items()):
            if level + (moment - since) * self._a_second >= self._size:
                del self._levels[client]
        if len(self._levels) >= _MOST_CLIENTS:
            self._levels.clear()


class Limits:
    """The gateway's: requests and jobs of a client, and failures of an address."""

    def __init__(self, given: GatewaySettings) -> None:
        self._requests = Bucket(given.requests_per_minute or REQUESTS_PER_MINUTE)
        self._jobs = Bucket(given.jobs_per_minute or JOBS_PER_MINUTE)
        self._failures = Bucket(given.failures_per_minute)
        self._local_requests = given.requests_per_minute is not None
        self._local_jobs = given.jobs_per_minute is not None

    def request(self, token_id: str | None, address: str | None) -> Room | None:
        """None where it is not counted. Refusal where it is one too many."""
        if token_id is None and not self._local_requests:
            return None
        room = self._requests.take(token_id or f"address {address}")
        if room.wait:
            raise _too_many("requests", room)
        return room

    def job(self, token_id: str | None, address: str | None) -> None:
        if token_id is None and not self._local_jobs:
            return
        room = self._jobs.take(token_id or f"address {address}")
        if room.wait:
            raise _too_many("fine-tuning jobs", room)

    def failure(self, address: str | None) -> None:
        """One more wrong token. Refusal where they are too many; right ones are never kept out by that."""
        room = self._failures.take(f"address {address}")
        if room.wait:
            raise _too_many("wrong keys", room)


def _too_many(what: str, room: Room) -> Refusal:
    seconds = math.ceil(room.wait)
    return Refusal(
        429,
        f"Rate limit reached for {what} per minute: Limit {room.limit}, Requested 1. Please try again in {seconds}s.",
        code="rate_limit_exceeded",
        kind="requests",
        headers=room.headers() | {"Retry-After": str(seconds), "Retry-After-Ms": str(math.ceil(room.wait * 1000))},
    )
