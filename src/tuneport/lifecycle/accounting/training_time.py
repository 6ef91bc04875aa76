"""Training time of a job: the time since it began, without pauses, failures and time in a queue.

A row keeps `running_at`, `idle_seconds` of the pauses that are over, and `idle_since`, which marks the current pause. A
job that has ended counts as paused, because a failed job can be resumed.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from tuneport.lifecycle.schema.tables import JobRow
from tuneport.types import JobStatus

STARTS_TRAINING = ("training_start", "Fine-tuning job started")
"""Events that say that training has begun: Together's type, and the beginning of OpenAI's message, which local runs
use, too, each time that they continue. OpenAI's job itself has no such time."""
INTERRUPTS = ("pause", "resume")
RESTARTS = "restart"
"""A local run whose process had died, by the reboot of its machine perhaps, is started again."""
TRAINS = (JobStatus.RUNNING, JobStatus.FINALIZING)
STILL_TRAINS = (JobStatus.PAUSING, JobStatus.CANCELLING)
"""Training until the end of a step, if it was before."""


def job_event_starts_training(type_: str, message: str) -> bool:
    return type_ in STARTS_TRAINING or message.startswith(STARTS_TRAINING)


def job_trained_seconds(
    running_at: datetime | None, idle_seconds: float | None, idle_since: datetime | None, until: datetime
) -> float:
    """Return the seconds trained up to `until`, or up to the current pause."""
    if running_at is None:
        return 0.0
    end = until if idle_since is None else min(until, idle_since)
    return max(0.0, (end - running_at).total_seconds() - (idle_seconds or 0.0))


def record_job_idle_time(row: JobRow, ended: datetime | None) -> None:
    """Record in the row whether the job is idle, judging by its status. `ended`: when it did, if it has ended."""
    status, moment = row.job_status, row.polled_at
    if status is JobStatus.SUCCEEDED and ended is not None:
        row.idle_since = ended  # a pause without a seen end is over
    elif row.running_at is None or status in STILL_TRAINS:
        return
    elif status in TRAINS:
        if row.idle_since is not None and moment is not None:
            row.idle_seconds = (row.idle_seconds or 0.0) + max(0.0, (moment - row.idle_since).total_seconds())
            row.idle_since = None
    elif row.idle_since is None:
        row.idle_since = ended if status.terminal else moment


def job_idle_by_events(events: Iterable[tuple[datetime, str, str]]) -> tuple[float, datetime | None] | None:
    """Return the idle seconds and the start of the current pause by the backend's own events (time, type, message) in
    order, or None if no event tells of a beginning. A job that is resumed after a failure was idle since its last event
    before."""
    idle, began = 0.0, False
    since: datetime | None = None
    last: datetime | None = None
    for moment, type_, message in events:
        if job_event_starts_training(type_, message):
            if since is not None:
                idle += max(0.0, (moment - since).total_seconds())
            since, began = None, True
        elif began and since is None and type_ in (*INTERRUPTS, RESTARTS):
            since = moment if type_ == "pause" else last
        last = moment
    return (idle, since) if began else None
