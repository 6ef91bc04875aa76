"""Snapshots of jobs, to see in one query what has changed since the last look: for live views."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, func, or_, select

from tuneport.lifecycle.schema.database import split_for_store_statement
from tuneport.lifecycle.schema.records import UNFINISHED, request_record_status
from tuneport.lifecycle.schema.tables import EventRow, JobRequestRow, JobRow
from tuneport.lifecycle.store.part import ScopedPart
from tuneport.types import JobStatus


@dataclass(frozen=True, slots=True)
class JobSnapshot:
    """A snapshot of a job at one moment. `head` is the position of its newest event. `version` differs if anything else
    does.

    For a request that is no job yet (or never was one) the status is `preparing` (or its end), and `backend` is None.
    """

    id: str
    status: JobStatus
    version: str
    backend: str | None = None
    polled_at: datetime | None = None
    head: int = 0
    events_due: bool = False

    @property
    def events_complete(self) -> bool:
        """Return whether it has ended and all its events are in the store."""
        return self.status.terminal and not self.events_due


class JobSnapshotStore(ScopedPart):
    def read_snapshots(self, job_ids: Iterable[str]) -> dict[str, JobSnapshot]:
        """Return snapshots of the given jobs and requests; unknown ids are omitted."""
        wanted = list(job_ids)
        found: dict[str, JobSnapshot] = {}
        with self.transaction() as session:
            for ids in split_for_store_statement(wanted):
                found |= {row.id: row for row in map(_job, session.execute(self._jobs(JobRow.id.in_(ids))))}
                missing = [job_id for job_id in ids if job_id not in found]
                if missing:
                    requests = session.execute(self._requests(JobRequestRow.id.in_(missing)))
                    found |= {row.id: row for row in map(_request, requests)}
        return found

    def active_snapshots(self, *, ended_since: datetime) -> dict[str, JobSnapshot]:
        """Return all jobs and requests that have not ended, and the jobs that ended since then."""
        with self.transaction() as session:
            jobs = session.execute(self._jobs(or_(JobRow.status.in_(UNFINISHED), JobRow.finished_at >= ended_since)))
            found = {row.id: row for row in map(_job, jobs)}
            requests = session.execute(self._requests(JobRequestRow.state == "waiting"))
            return {row.id: row for row in map(_request, requests)} | found

    def ended_since(self, moment: datetime) -> list[str]:
        """Return jobs that have ended and were written since then, whatever time their provider gives for the end."""
        query = select(JobRow.id).where(
            self.visible_rows(JobRow), JobRow.status.not_in(UNFINISHED), JobRow.updated_at >= moment
        )
        with self.transaction() as session:
            return list(session.scalars(query.order_by(JobRow.updated_at)))

    def _jobs(self, which: ColumnElement[bool]):  # type: ignore[no-untyped-def]
        # One statement, so that the head is of the same moment as the status: what came before an end is told before.
        head = select(func.max(EventRow.position)).where(EventRow.job_id == JobRow.id).scalar_subquery()
        columns = (JobRow.id, JobRow.status, JobRow.updated_at, JobRow.deleted_at, JobRow.backend, JobRow.polled_at)
        return select(*columns, JobRow.events_due, func.coalesce(head, 0).label("head")).where(
            self.visible_rows(JobRow), which
        )

    def _requests(self, which: ColumnElement[bool]):  # type: ignore[no-untyped-def]
        return select(JobRequestRow.id, JobRequestRow.state, JobRequestRow.finished_at).where(
            self.visible_rows(JobRequestRow), which
        )


def _job(row) -> JobSnapshot:  # type: ignore[no-untyped-def]
    version = f"{row.status} {row.updated_at} {row.deleted_at}"
    status = JobStatus(row.status)
    return JobSnapshot(row.id, status, version, row.backend, row.polled_at, row.head, row.events_due)


def _request(row) -> JobSnapshot:  # type: ignore[no-untyped-def]
    return JobSnapshot(row.id, request_record_status(row.state), f"request {row.state}")
