"""What has changed since somebody last looked, of many jobs by one question: for whoever watches them live."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, func, or_, select

from tuneport.jobs.database import Database
from tuneport.jobs.file_journal import UNFINISHED
from tuneport.jobs.projects import visible
from tuneport.jobs.tables import EventRow, JobRequestRow, JobRow
from tuneport.types import JobStatus

_ASKED_AT_ONCE = 500  # ids in one question; SQLite takes 999 in its oldest builds


@dataclass(frozen=True, slots=True)
class Seen:
    """A job at one moment. `head` is the position of its newest event. `version` differs where anything else does.

    Of a request that is no job yet (or never was one) the status is `preparing` (or how it ended), and `backend` None.
    """

    id: str
    status: JobStatus
    version: str
    backend: str | None = None
    polled_at: datetime | None = None
    head: int = 0
    events_due: bool = False

    @property
    def told(self) -> bool:
        """It has ended, and all its events are in the store."""
        return self.status.terminal and not self.events_due


class Watching(Database):
    def look_at(self, job_ids: Iterable[str]) -> dict[str, Seen]:
        """Those jobs and requests as they are now; without those that there are not."""
        wanted = list(job_ids)
        found: dict[str, Seen] = {}
        with self.transaction() as session:
            for start in range(0, len(wanted), _ASKED_AT_ONCE):
                ids = wanted[start : start + _ASKED_AT_ONCE]
                found |= {row.id: row for row in map(_job, session.execute(_jobs(JobRow.id.in_(ids))))}
                missing = [job_id for job_id in ids if job_id not in found]
                if missing:
                    requests = session.execute(_requests(JobRequestRow.id.in_(missing)))
                    found |= {row.id: row for row in map(_request, requests)}
        return found

    def look_around(self, *, ended_since: datetime) -> dict[str, Seen]:
        """All jobs and requests that have not ended, and the jobs that ended since then."""
        with self.transaction() as session:
            jobs = session.execute(_jobs(or_(JobRow.status.in_(UNFINISHED), JobRow.finished_at >= ended_since)))
            found = {row.id: row for row in map(_job, jobs)}
            requests = session.execute(_requests(JobRequestRow.state == "waiting"))
            return {row.id: row for row in map(_request, requests)} | found

    def ended_since(self, moment: datetime) -> list[str]:
        """Jobs that have ended, and were written since then, whenever their provider says that it was."""
        query = select(JobRow.id).where(visible(JobRow), JobRow.status.not_in(UNFINISHED), JobRow.updated_at >= moment)
        with self.transaction() as session:
            return list(session.scalars(query.order_by(JobRow.updated_at)))


def _jobs(which: ColumnElement[bool]):  # type: ignore[no-untyped-def]
    # One statement, so that the head is of the same moment as the status: what came before an end is told before it.
    head = select(func.max(EventRow.position)).where(EventRow.job_id == JobRow.id).scalar_subquery()
    columns = (JobRow.id, JobRow.status, JobRow.updated_at, JobRow.deleted_at, JobRow.backend, JobRow.polled_at)
    return select(*columns, JobRow.events_due, func.coalesce(head, 0).label("head")).where(visible(JobRow), which)


def _requests(which: ColumnElement[bool]):  # type: ignore[no-untyped-def]
    return select(JobRequestRow.id, JobRequestRow.state, JobRequestRow.finished_at).where(visible(JobRequestRow), which)


def _job(row) -> Seen:  # type: ignore[no-untyped-def]
    version = f"{row.status} {row.updated_at} {row.deleted_at}"
    status = JobStatus(row.status)
    return Seen(row.id, status, version, row.backend, row.polled_at, row.head, row.events_due)


_REQUEST_STATES = {"failed": JobStatus.FAILED, "cancelled": JobStatus.CANCELLED}


def _request(row) -> Seen:  # type: ignore[no-untyped-def]
    return Seen(row.id, _REQUEST_STATES.get(row.state, JobStatus.PREPARING), f"request {row.state}")
