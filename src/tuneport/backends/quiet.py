"""What a server asked for with `retry-after`: to be left alone until then, whichever call comes next."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from tuneport.errors import ProviderError, RateLimitError

Lane = Literal["read", "start", "chat"]
"""What providers limit separately: looking, starting jobs, chats."""


class Quiet:
    """One provider's wishes. `monotonic` gives seconds. Threads may share one."""

    def __init__(self, provider: str, monotonic: Callable[[], float]) -> None:
        self._provider, self._monotonic = provider, monotonic
        self._until: dict[Lane, float] = {}

    def heed(self, lane: Lane) -> None:
        """RateLimitError with the time that is left, where it is too early."""
        if (left := self.left(lane)) > 0:
            raise RateLimitError(
                f"{self._provider} asks to be left alone for another {left:.0f} s; try again then",
                provider=self._provider,
                retry_after=left,
            )

    def left(self, lane: Lane) -> float:
        """Seconds until the next call may be made, 0 where it may be now. While reads wait, starts do, too."""
        lanes: tuple[Lane, ...] = ("read", "start") if lane == "start" else (lane,)
        return max(0.0, max(self._until.get(name, 0.0) for name in lanes) - self._monotonic())

    def note(self, lane: Lane, error: ProviderError) -> None:
        """Remember what an answer asks for; a shorter wish of a later answer does not undo an earlier one.

        Refusals that no waiting mends (a daily limit) hold nothing else up.
        """
        if not error.retryable or error.retry_after is None:
            return
        if lane == "start" and not isinstance(error, RateLimitError):
            lane = "read"  # the service is overloaded, not the number of jobs too large
        self._until[lane] = max(self._until.get(lane, 0.0), self._monotonic() + error.retry_after)
