"""A job's life as a function of time: no thread runs, the state follows from how long ago the job was created."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any


@dataclass
class EmulatedJobPlan:
    """The plan of a job that is not to go well.

    fails_with: the job ends in failure after running, with this {code, message, param}
    status:     the word of the terminal state instead of the usual one, for instance Together's "user_error"
    raw_status: the word shown while running, for instance one that no client knows yet
    stuck:      a state that the job never leaves
    pace:       seconds in each state, instead of the emulator's
    events:     further events, in the provider's own shape, appended to the job's
    """

    fails_with: dict[str, Any] | None = None
    status: str | None = None
    raw_status: str | None = None
    stuck: str | None = None
    pace: float | None = None
    events: list[dict[str, Any]] = field(default_factory=list)

    @property
    def fails(self) -> bool:
        return self.fails_with is not None or self.status is not None


@dataclass
class EmulatedTimeline:
    """The position in `states` of a job that spends `pace` seconds in each; past the last one it has ended."""

    states: tuple[str, ...]
    created: float
    pace: float
    stuck: str | None = None
    held: float = 0.0  # seconds spent paused, until now
    paused_at: float | None = None
    stopped_at: float | None = None

    def age(self, now: float) -> float:
        """Return the seconds of progress: without pauses, and none after a stop."""
        limits = [moment for moment in (self.paused_at, self.stopped_at) if moment is not None]
        age = min([now, *limits]) - self.created - self.held
        if self.stuck:
            # Half way through the state in which it is stuck.
            age = min(age, (self.states.index(self.stuck) + 0.5) * self.pace)
        return age

    def state(self, now: float) -> str | None:
        """Return the state, or None once all are over."""
        if self.pace <= 0:
            return self.stuck
        step = int(self.age(now) / self.pace)
        return self.states[step] if step < len(self.states) else None

    def start_of_state(self, state: str) -> float:
        """Return the age of the job when a state begins."""
        return self.states.index(state) * self.pace

    def progress_in_state(self, now: float, state: str) -> float:
        """Return how much of a state is done, 0 to 1."""
        age = self.age(now) - self.start_of_state(state)
        return min(1.0, max(0.0, age / self.pace)) if self.pace > 0 else 1.0

    def time_of_age(self, age: float) -> float:
        """Return the time when the job had that age (all pauses count at the beginning)."""
        return self.created + self.held + age

    def pause(self, now: float) -> None:
        self.paused_at = now if self.paused_at is None else self.paused_at

    def resume(self, now: float) -> None:
        if self.paused_at is not None:
            self.held += now - self.paused_at
            self.paused_at = None


def emulated_auto_epochs(examples: int) -> int:
    """Return OpenAI's rule for n_epochs="auto", from its cookbook's data preparation notebook."""
    if examples * 3 < 100:
        return max(1, min(25, 100 // max(1, examples)))
    if examples * 3 > 25000:
        return max(1, 25000 // examples)
    return 3


def emulated_loss(step: int, total: int, *, validation: bool = False) -> float:
    """Return a made-up curve that looks like one: falling, a little uneven, validation above training. No
    randomness."""
    falling = 2.0 * math.exp(-4 * step / max(1, total)) * (1 + 0.1 * math.sin(step))
    return round(falling + (0.25 if validation else 0.05), 5)


def emulated_overfitting_loss(step: int, total: int, *, validation: bool) -> float:
    """Return the same curve, with validation at its lowest after a quarter."""
    share = step / max(1, total)
    return round(0.6 + 2 * max(0.0, 0.25 - share) + 1.2 * max(0.0, share - 0.25) + 0.01 * math.sin(step), 5)


def emulated_accuracy(loss_value: float) -> float:
    return round(1 / (1 + loss_value), 5)
