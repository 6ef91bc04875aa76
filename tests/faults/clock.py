"""Time that passes only by waiting: one clock for emulator, backend and worker, and a record of the waits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from tuneport.lifecycle.schema.machine_clock import StoreClockReading

LONGEST_RUN = 100_000.0
"""Seconds. A run that has waited for so long is going in circles."""


class StuckError(BaseException):
    """Not an Exception, so that nothing in between takes it for the provider's."""


@dataclass(frozen=True)
class Wait:
    at: float  # when it began
    seconds: float
    who: str  # backend, worker or user


class Clock:
    """`advance` moves the emulator's clock and returns its time, which begins at `start`."""

    def __init__(self, start: float, advance: Callable[[float], float]) -> None:
        self.start, self.time, self.waits = start, start, list[Wait]()
        self._advance = advance

    def sleeper(self, who: str) -> Callable[[float], None]:
        def sleep(seconds: float) -> None:
            self.waits.append(Wait(self.time, seconds, who))
            self.time = self._advance(seconds)
            if self.time - self.start > LONGEST_RUN:
                raise StuckError(f"the run has waited {self.time - self.start:.0f} seconds")

        return sleep

    def monotonic(self) -> float:
        return self.time

    def machine(self) -> StoreClockReading:
        return StoreClockReading("bench", self.time)

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.time, UTC)
