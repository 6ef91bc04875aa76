"""Reconciliation of a row: its beginning, duration and cost match its state and events, in the same transaction.

Every change of a row comes through here, so that no job ends without its actuals.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.orm import Session, defer

from tuneport.lifecycle.accounting.actuals import record_job_training_start, settle_job_actuals
from tuneport.lifecycle.accounting.budgets import JobCostProjection, project_job_cost
from tuneport.lifecycle.accounting.steps import STEPS, describe_steps_difference
from tuneport.lifecycle.accounting.training_time import (
    INTERRUPTS,
    RESTARTS,
    job_event_starts_training,
    job_idle_by_events,
)
from tuneport.lifecycle.schema.database import split_for_store_statement
from tuneport.lifecycle.schema.tables import EventRow, JobRow
from tuneport.lifecycle.store.audit import add_audit_entry
from tuneport.lifecycle.store.outbox import announce_job_end
from tuneport.types import JobEvent, Progress, Quote, now

_NOT_NEEDED = (defer(JobRow.spec), defer(JobRow.prepared))
_TOLD = {"step", "total_steps", "train_loss"}
NO_EVENTS = "no-events"
"""The id, after `tuneport-`, of the event that tells that a job's last events will not be read."""


def max_job_cost(quote: Quote | None) -> float | None:
    """Return the most that a job may cost by its quote, in US dollars, or None if that is unknown."""
    if quote is None:
        return None
    return quote.expected if quote.high is None else quote.high


OVER_BUDGET = "over_budget"
"""The type of the event that tells it."""


@dataclass(frozen=True)
class JobFindings:
    """Findings of a row just written that its owner is told in events: a projected cost above the budget, other
    optimizer steps than expected."""

    over_budget: JobCostProjection | None = None
    steps: str | None = None

    def __bool__(self) -> bool:
        return self != JobFindings()


def reconcile_job_row(session: Session, row: JobRow) -> JobFindings:
    """Update the derived cost columns of a row just written. While the job runs, its reservation grows to the projected
    cost. Returns what is to be told of it, and records a request to cancel a job above its budget if that was asked
    for."""
    ended, interrupted, unread = row.job_status.terminal, False, False
    if ended:
        told = or_(EventRow.type.in_(INTERRUPTS), EventRow.event_id == f"tuneport-{NO_EVENTS}")
        marks = session.execute(select(EventRow.type, EventRow.event_id).where(EventRow.job_id == row.id, told)).all()
        interrupted = any(type_ in INTERRUPTS for type_, _ in marks)
        unread = any(event_id == f"tuneport-{NO_EVENTS}" for _, event_id in marks)
    known = row.actual is not None, row.cost_usd
    settle_job_actuals(row, interrupted=interrupted, unread=unread)
    if ended:
        announce_job_end(session, row)
    if ended and known != (True, row.cost_usd):  # the end, and what is known of the cost later
        end = {"status": row.status, "backend": row.backend}
        add_audit_entry(session, "job.end", row.id, project=row.project, usd=row.cost_usd, automatic=True, **end)
    found = None if ended else project_job_cost(row)
    if found is not None and row.reserved_usd is not None:
        row.reserved_usd = max(row.reserved_usd, found.usd)
    steps = describe_steps_difference(row)
    if found is None or not found.over_budget:
        return JobFindings(steps=steps)
    if row.cancel_over_budget and row.cancel_requested_at is None:
        row.cancel_requested_at = row.due_at = now()
    return JobFindings(found, steps)


def reconcile_job_rows(
    session: Session, job_ids: Sequence[str], *, unchanged: Collection[str] = ()
) -> dict[str, JobFindings]:
    """Update the derived cost columns of many rows just written; return what is to be told of some.

    `unchanged`: rows whose backend reported the same state as before. Of these only machines paid by the hour cost
    more.
    """
    told: dict[str, JobFindings] = {}
    rows = [*_rows(session, job_ids), *_rows(session, list(unchanged), JobRow.usd_per_hour.is_not(None))]
    for row in rows:
        if found := reconcile_job_row(session, row):
            told[row.id] = found
    return told


def _rows(session: Session, job_ids: Sequence[str], *wanted: ColumnElement[bool]) -> Iterator[JobRow]:
    for some in split_for_store_statement(job_ids):
        query = select(JobRow).where(JobRow.id.in_(some), *wanted)
        yield from session.scalars(query.options(*_NOT_NEEDED))


def job_over_budget_event(found: JobCostProjection, *, cancels: bool) -> JobEvent:
    """Return the event that a job is over its budget: one for each job, in whichever process sees it first."""
    ends = "; it is being cancelled" if cancels else "; `tuneport cancel` stops it"
    return JobEvent(
        id=f"tuneport-{OVER_BUDGET}",
        created_at=now(),
        level="warning",
        type=OVER_BUDGET,
        message=f"It will cost {found}{ends}",
        data=found.as_dict(),
    )


def job_steps_event(difference: str) -> JobEvent:
    """Return the event that a job takes other steps than expected: one for each job, in whichever process sees it
    first."""
    return JobEvent(id=f"tuneport-{STEPS}", created_at=now(), level="warning", type=STEPS, message=difference)


def job_event_progress(data: Mapping[str, Any]) -> Progress:
    """Return how far a job is, by the data of an event with metrics."""
    step, total, loss = (data.get(name) for name in ("step", "total_steps", "train_loss"))
    return Progress(
        step=step if isinstance(step, int) else None,
        total_steps=total if isinstance(total, int) else None,
        train_loss=loss if isinstance(loss, int | float) and isfinite(loss) else None,
    )


def _note_progress(session: Session, job_id: str, told: Progress) -> str | None:
    """Update the progress of a job whose provider does not report it. Returns how its steps differ from those expected,
    or None."""
    row = session.get(JobRow, job_id, with_for_update=True)  # a process that writes another state meanwhile keeps it
    state = None if row is None else row.job_state
    # What a backend says itself has more than events have.
    if row is None or state is None or state.progress.model_copy(update=told.model_dump(include=_TOLD)) != told:
        return None
    row.state = state.model_copy(update={"progress": told}).model_dump(mode="json")
    return describe_steps_difference(row)


def apply_job_events(session: Session, job_id: str, events: Sequence[JobEvent]) -> JobFindings:
    """Apply a backend's new events to the row: progress, beginning and pauses, and the actuals if the job has ended.
    Returns what is to be told of it."""
    found = JobFindings()
    if metrics := [event for event in events if event.type == "metrics"]:
        found = JobFindings(steps=_note_progress(session, job_id, job_event_progress(metrics[-1].data)))
    begins = [event.created_at for event in events if job_event_starts_training(event.type, event.message)]
    if not begins and not any(event.type in (*INTERRUPTS, RESTARTS) for event in events):
        return found
    row = session.get(JobRow, job_id)
    if row is None:
        return found
    for moment in begins:
        record_job_training_start(row, moment, "backend")
    session.flush()  # the events themselves
    columns = (EventRow.created_at, EventRow.type, EventRow.message)
    query = select(*columns).where(EventRow.job_id == job_id, EventRow.origin == "backend").order_by(EventRow.position)
    if (
        idle := job_idle_by_events((moment, type_, told) for moment, type_, told in session.execute(query))
    ) is not None:
        row.idle_seconds, row.idle_since = idle
    return reconcile_job_row(session, row) if row.job_status.terminal else found
