"""Keeps the delay that a server asked for with `retry-after`, for whichever call comes next."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from tuneport.errors import ProviderError, RateLimitError

CallKind = Literal["read", "start", "chat"]
"""What providers limit separately: looking, starting jobs, chats."""


class ProviderCooldown:
    """The delays that one provider asks for. `monotonic` gives seconds. Threads may share one."""

    def __init__(self, provider: str, monotonic: Callable[[], float]) -> None:
        self._provider, self._monotonic = provider, monotonic
        self._until: dict[CallKind, float] = {}

    def check(self, kind: CallKind) -> None:
        """Raise RateLimitError with the remaining seconds if the next call would be too early."""
        if (left := self.remaining(kind)) > 0:
            raise RateLimitError(
                f"{self._provider} limits requests; try again in {left:.0f} s",
                provider=self._provider,
                retry_after=left,
            )

    def remaining(self, kind: CallKind) -> float:
        """Return the seconds until the next call may be made, 0 if it may be made now. While reads wait, starts wait,
        too."""
        kinds: tuple[CallKind, ...] = ("read", "start") if kind == "start" else (kind,)
        return max(0.0, max(self._until.get(name, 0.0) for name in kinds) - self._monotonic())

    def record(self, kind: CallKind, error: ProviderError) -> None:
        """Record the delay that an answer asks for; a shorter delay of a later answer does not undo an earlier one.

        Refusals that waiting does not solve (a daily limit) delay nothing else.
        """
        if not error.retryable or error.retry_after is None:
            return
        if kind == "start" and not isinstance(error, RateLimitError):
            kind = "read"  # the service is overloaded, not the number of jobs too large
        self._until[kind] = max(self._until.get(kind, 0.0), self._monotonic() + error.retry_after)
