"""Keeps what a row says of beginning, duration and cost in step with its state and events, in the same transaction.

Every way by which a row changes comes through here, so that there is no end without its actuals.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from tuneport.jobs.actuals import INTERRUPTS, STARTS_TRAINING, TRAINS, note_beginning, settle
from tuneport.jobs.tables import EventRow, JobRow
from tuneport.types import JobEvent, JobStatus, Quote

_ENDED = [status.value for status in JobStatus if status.terminal]
_TRAINS = [status.value for status in TRAINS]


def most_of(quote: Quote | None) -> float | None:
    """The most that a job may cost by its quote, in US dollars; None where that is unknown."""
    if quote is None:
        return None
    return quote.expected if quote.high is None else quote.high


def settle_in(session: Session, row: JobRow) -> None:
    """Of one row that has just been written."""
    interrupted = False
    if row.job_status.terminal:
        marks = select(EventRow.position).where(EventRow.job_id == row.id, EventRow.type.in_(INTERRUPTS)).limit(1)
        interrupted = session.scalar(marks) is not None
    settle(row, interrupted=interrupted)


def settle_many(session: Session, job_ids: Sequence[str]) -> None:
    """Of many rows that have just been written: those that ended, and those first seen training."""
    for start in range(0, len(job_ids), 500):
        some = JobRow.id.in_(job_ids[start : start + 500])
        begins = JobRow.running_at.is_(None) & JobRow.status.in_(_TRAINS)
        for row in session.scalars(select(JobRow).where(some, or_(JobRow.status.in_(_ENDED), begins))):
            settle_in(session, row)


def heed_events(session: Session, job_id: str, events: Sequence[JobEvent]) -> None:
    """What a backend's new events say of the beginning; of a job that has ended the actuals follow."""
    begins = [event.created_at for event in events if event.type.lower() == STARTS_TRAINING]
    if not begins and not any(event.type in INTERRUPTS for event in events):
        return
    row = session.get(JobRow, job_id)
    if row is None:
        return
    for moment in begins:
        note_beginning(row, moment, "backend")
    if row.job_status.terminal:
        session.flush()  # the events themselves
        settle_in(session, row)
