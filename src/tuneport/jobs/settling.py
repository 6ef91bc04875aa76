"""Keeps what a row says of beginning, duration and cost in step with its state and events, in the same transaction.

Every way by which a row changes comes through here, so that there is no end without its actuals.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from tuneport.jobs.actuals import INTERRUPTS, STARTS_TRAINING, TRAINS, note_beginning, settle
from tuneport.jobs.budgets import Projection, projection
from tuneport.jobs.tables import EventRow, JobRow
from tuneport.types import JobEvent, JobStatus, Quote, now

_ENDED = [status.value for status in JobStatus if status.terminal]
_TRAINS = [status.value for status in TRAINS]


def most_of(quote: Quote | None) -> float | None:
    """The most that a job may cost by its quote, in US dollars; None where that is unknown."""
    if quote is None:
        return None
    return quote.expected if quote.high is None else quote.high


OVER_BUDGET = "over_budget"
"""The type of the event that tells it."""


def settle_in(session: Session, row: JobRow) -> Projection | None:
    """Of one row that has just been written. Where it is on its way above its budget, what is projected; then the wish
    to cancel it is written down with it, if that was asked for."""
    interrupted = False
    if row.job_status.terminal:
        marks = select(EventRow.position).where(EventRow.job_id == row.id, EventRow.type.in_(INTERRUPTS)).limit(1)
        interrupted = session.scalar(marks) is not None
    settle(row, interrupted=interrupted)
    if row.budget_usd is None or row.job_status.terminal:
        return None
    found = projection(row)
    if found is None or not found.over:
        return None
    if row.cancel_over_budget and row.cancel_requested_at is None:
        row.cancel_requested_at = row.due_at = now()
    return found


def settle_many(session: Session, job_ids: Sequence[str]) -> dict[str, Projection]:
    """Of many rows that have just been written: those that ended, those first seen training, and those with a budget,
    of which it returns the ones that are on their way above it."""
    over: dict[str, Projection] = {}
    for start in range(0, len(job_ids), 500):
        some = JobRow.id.in_(job_ids[start : start + 500])
        begins = JobRow.running_at.is_(None) & JobRow.status.in_(_TRAINS)
        wanted = or_(JobRow.status.in_(_ENDED), begins, JobRow.budget_usd.is_not(None))
        for row in session.scalars(select(JobRow).where(some, wanted)):
            if (found := settle_in(session, row)) is not None:
                over[row.id] = found
    return over


def over_budget_event(found: Projection, *, cancels: bool) -> JobEvent:
    """One for each job, whoever notices it first."""
    ends = "; it is being cancelled" if cancels else "; `tuneport cancel` stops it"
    return JobEvent(
        id=f"tuneport-{OVER_BUDGET}",
        created_at=now(),
        level="warning",
        type=OVER_BUDGET,
        message=f"It will cost {found}{ends}",
        data=found.as_dict(),
    )


def heed_events(session: Session, job_id: str, events: Sequence[JobEvent]) -> None:
    """What a backend's new events say of the beginning; of a job that has ended the actuals follow."""
    begins = [event.created_at for event in events if {event.type, event.message}.intersection(STARTS_TRAINING)]
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
