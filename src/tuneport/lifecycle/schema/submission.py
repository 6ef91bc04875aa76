"""The state of a start whose answer was lost: the `submission` column of its row."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict

from tuneport.lifecycle.schema.machine_clock import StoreClockReading
from tuneport.types import JobState


class SubmissionCandidate(BaseModel):
    """A job that the provider lists and that may be the one whose answer was lost."""

    model_config = ConfigDict(frozen=True)
    remote_id: str
    model: str
    created_at: datetime | None = None

    @classmethod
    def from_state(cls, state: JobState) -> SubmissionCandidate:
        return cls(remote_id=state.remote_id, model=state.model, created_at=state.created_at)

    def __str__(self) -> str:
        created = "" if self.created_at is None else f", created {self.created_at:%Y-%m-%d %H:%M} UTC"
        return f"{self.remote_id} ({self.model}{created})" if self.model else f"{self.remote_id}{created}"


class JobSubmission(BaseModel):
    """`since`: by clock, what it read when the request was sent, or when this machine first saw it unanswered.

    `unclear`: the outcome of a start was unknown at some time. `question`: what a person has to decide, in words.
    `named`: the job that an answer named, though it does not look like this one. `dismissed`: jobs that a person said
    are not this one. `duplicates`: further jobs that carry the same token.
    """

    model_config = ConfigDict(frozen=True)
    since: dict[str, float] = {}
    last_look: dict[str, float] = {}
    looks: int = 0
    absences: int = 0
    unclear: bool = False
    question: str | None = None
    candidates: tuple[SubmissionCandidate, ...] = ()
    named: SubmissionCandidate | None = None
    dismissed: tuple[str, ...] = ()
    duplicates: tuple[str, ...] = ()

    def seconds_waited(self, reading: StoreClockReading) -> float:
        """Return for how many seconds this clock can vouch that the answer has been missing; 0 for a new clock."""
        return _elapsed(self.since, reading) or 0.0

    def with_clock(self, reading: StoreClockReading) -> JobSubmission:
        """Return the same, with this clock running. A clock that went backwards (a container) starts again."""
        if _elapsed(self.since, reading) is not None:
            return self
        return self.model_copy(update={"since": self.since | reading.clock_values})

    def mark_sent(self, reading: StoreClockReading) -> JobSubmission:
        """Return the submission as of now, when its request is about to be sent: the wait begins for every clock."""
        return JobSubmission(
            since=reading.clock_values,
            unclear=self.unclear,
            dismissed=self.dismissed,
            duplicates=self.duplicates,
        )

    def mark_looked(self, reading: StoreClockReading, *, absent: bool) -> JobSubmission:
        """Return the same after the provider was asked; `absent`: it listed no job with the token."""
        update = {"looks": self.looks + 1, "absences": self.absences + absent, "last_look": reading.clock_values}
        return self.model_copy(update=update | {"unclear": True})

    def seconds_since_look(self, reading: StoreClockReading) -> float | None:
        """Return the seconds since the provider was last asked, or None if this clock does not know."""
        return _elapsed(self.last_look, reading)


def _elapsed(marks: dict[str, float], reading: StoreClockReading) -> float | None:
    passed = [now - marks[clock] for clock, now in reading.clock_values.items() if clock in marks]
    return None if len(passed) < len(reading.clock_values) or min(passed) < 0 else min(passed)
