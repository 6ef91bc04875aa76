"""The interval between two polls of a job. Pure: the clock and the random numbers are arguments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from tuneport.types import JobState, JobStatus


@dataclass(frozen=True)
class PollTiming:
    """Seconds. Five is soon enough for a person who watches; five minutes are nothing to a job that has taken hours."""

    shortest: float = 5.0
    longest: float = 300.0
    first_rest: float = 5.0
    longest_rest: float = 300.0
    """The pause after an error of a provider: doubled from the first to the longest, or as long as it says."""


SHORTEST, LONGEST = PollTiming.shortest, PollTiming.longest
OF_AGE = 0.05
"""A job is asked about again after a twentieth of its age: its end is noticed within 5 % of what it took."""
OF_REMAINDER = 0.25
"""Near the expected end: after a quarter of what is left, so that the last questions come ever closer together; past
it, after a quarter of the delay, so that a job that is late is not asked about all the time."""
JITTER = 0.1
"""Up to a tenth more or less, so that jobs that were started together do not ask together for ever."""


def next_job_poll_delay(
    state: JobState,
    created_at: datetime,
    moment: datetime,
    *,
    random: Callable[[], float] = lambda: 0.5,
    timing: PollTiming = PollTiming(),  # noqa: B008  # frozen
) -> float:
    """Return the seconds until the next poll. `random` gives numbers from 0 to 1. `created_at` is ours, for a provider
    that does not say."""
    age = max(0.0, (moment - (state.created_at or created_at)).total_seconds())
    wait = age * OF_AGE
    expected = expected_job_finish(state, created_at, moment)
    if expected is not None:
        wait = min(wait, abs((expected - moment).total_seconds()) * OF_REMAINDER)
    if state.status is JobStatus.PAUSED:
        wait = timing.longest  # it continues when it is resumed
    return min(timing.longest, max(timing.shortest, wait)) * (1.0 + JITTER * (2.0 * random() - 1.0))


def expected_job_finish(state: JobState, created_at: datetime, moment: datetime) -> datetime | None:
    """Return the provider's expected finish; else one from the seconds that it says are left; else from the pace of the
    steps so far."""
    if state.estimated_finish is not None:
        return state.estimated_finish
    progress = state.progress
    if progress.seconds_left is not None:
        return moment + timedelta(seconds=progress.seconds_left)
    if progress.step and progress.total_steps and state.status is JobStatus.RUNNING:
        elapsed = moment - (state.created_at or created_at)
        return moment + elapsed * (max(0, progress.total_steps - progress.step) / progress.step)
    return None
