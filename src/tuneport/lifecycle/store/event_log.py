"""The events of each job in the store: each once, in the order of arrival."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError

from tuneport.errors import ConfigError
from tuneport.lifecycle.schema.database import split_for_store_statement
from tuneport.lifecycle.schema.tables import EventRow, JobRow
from tuneport.lifecycle.store.part import ScopedPart
from tuneport.lifecycle.store.reconcile import (
    JobFindings,
    apply_job_events,
    job_event_progress,
    job_over_budget_event,
    job_steps_event,
    reconcile_job_row,
)
from tuneport.types import JobEvent, Progress


class JobEventLog(ScopedPart):
    on_over_budget: Callable[[str, str], None] = staticmethod(lambda job_id, message: None)
    """Called once for each job that is on its way above its budget, by the process that noticed it."""

    def add(self, job_id: str, events: Iterable[JobEvent], *, origin: str = "backend") -> int:
        """Append the events that are not there yet, in the order given; return how many were new."""
        wanted = list({item.id: item for item in events}.values())
        if not wanted:
            return 0
        for _ in range(5):
            try:
                new, found = self._append_events(job_id, wanted, origin)
            except IntegrityError:  # another process appended in between: count again from what is there now
                continue
            self.add_findings({job_id: found})
            return new
        raise ConfigError(f"the events of {job_id} could not be stored: too many writers at once; try again")

    def _append_events(self, job_id: str, events: list[JobEvent], origin: str) -> tuple[int, JobFindings]:
        with self.transaction() as session:
            self.require_job(session, job_id)
            known: set[str] = set()
            for some in split_for_store_statement(events):
                ids = [item.id for item in some]
                query = select(EventRow.event_id).where(EventRow.job_id == job_id, EventRow.event_id.in_(ids))
                known.update(session.scalars(query))
            position = session.scalar(select(func.max(EventRow.position)).where(EventRow.job_id == job_id)) or 0
            new = [item for item in events if item.id not in known]
            for number, item in enumerate(new, start=position + 1):
                session.add(
                    EventRow(
                        job_id=job_id,
                        position=number,
                        event_id=item.id,
                        origin=origin,
                        created_at=item.created_at,
                        level=item.level,
                        message=item.message,
                        type=item.type,
                        data=item.data,
                    )
                )
            found = apply_job_events(session, job_id, new) if origin == "backend" else JobFindings()
            return len(new), found

    def add_findings(self, found: Mapping[str, JobFindings]) -> None:
        """Add an event for each finding of a job, the first time that it is found."""
        for job_id, findings in found.items():
            if findings.steps is not None:
                self.add(job_id, [job_steps_event(findings.steps)], origin="tuneport")
            projected = findings.over_budget
            if projected is None:
                continue
            with self.transaction() as session:
                cancels = session.scalar(select(JobRow.cancel_over_budget).where(JobRow.id == job_id))
            event = job_over_budget_event(projected, cancels=bool(cancels))
            if self.add(job_id, [event], origin="tuneport"):
                self.on_over_budget(job_id, event.message)

    def read_job_progress(self, job_id: str) -> Progress:
        """Return the progress of a job by its newest metrics: some providers report it only in events."""
        query = select(EventRow.data).where(
            EventRow.job_id == job_id, self.sees_job(job_id), EventRow.type == "metrics"
        )
        with self.reading() as session:
            return job_event_progress(session.scalar(query.order_by(EventRow.position.desc()).limit(1)) or {})

    def list_newest_events(self, job_id: str, *, before: int | None, limit: int) -> list[tuple[int, JobEvent]]:
        """Return so many events before the position `before`, or the last ones, newest first, each with its
        position."""
        query = select(EventRow).where(EventRow.job_id == job_id, self.sees_job(job_id))
        if before is not None:
            query = query.where(EventRow.position < before)
        query = query.order_by(EventRow.position.desc()).limit(limit)
        with self.reading() as session:
            return [(row.position, _event_of(row)) for row in session.scalars(query)]

    def list_job_events(self, job_id: str, *, after: int = 0, limit: int | None = None) -> list[tuple[int, JobEvent]]:
        """Return the events from position `after` + 1 on, each with its position, in the order they were stored."""
        query = select(EventRow).where(EventRow.job_id == job_id, self.sees_job(job_id), EventRow.position > after)
        query = query.order_by(EventRow.position).limit(limit)
        with self.reading() as session:
            return [(row.position, _event_of(row)) for row in session.scalars(query)]

    def last_backend_id(self, job_id: str) -> str | None:
        """Return the id of the newest event that came from the backend: the cursor for the next call of `events`."""
        query = (
            select(EventRow.event_id)
            .where(EventRow.job_id == job_id, self.sees_job(job_id), EventRow.origin == "backend")
            .order_by(EventRow.position.desc())
            .limit(1)
        )
        with self.reading() as session:
            return session.scalar(query)

    def list_due_jobs(self, backend: str, *, limit: int = 100) -> list[tuple[str, str]]:
        """Return the jobs (id, remote id) with events at the backend that are not stored yet, latest ended first."""
        self.require_all_projects()
        query = (
            select(JobRow.id, JobRow.remote_id)
            .where(JobRow.events_due, JobRow.backend == backend, JobRow.remote_id.is_not(None))
            .order_by(JobRow.updated_at.desc())
            .limit(limit)
        )
        with self.transaction() as session:
            return [(job_id, str(remote_id)) for job_id, remote_id in session.execute(query)]

    def mark_stored(self, job_id: str) -> None:
        """Record that all events are stored. The cost of a job that has ended may have waited for them."""
        found = JobFindings()
        with self.transaction() as session:
            self.require_job(session, job_id)
            row = session.get(JobRow, job_id, with_for_update=True)
            if row is not None and row.events_due:
                row.events_due = False
                if row.job_status.terminal:
                    found = reconcile_job_row(session, row)
        self.add_findings({job_id: found})


def _event_of(row: EventRow) -> JobEvent:
    return JobEvent(
        id=row.event_id,
        created_at=row.created_at,
        level=row.level,  # type: ignore[arg-type]
        message=row.message,
        type=row.type,
        data=row.data,
    )
