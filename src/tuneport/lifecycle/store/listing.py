"""Every job of the store on pages, newest first: those of the command line, of clients, and what is still a request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields

from sqlalchemy import false

from tuneport.lifecycle.job_view import JobView
from tuneport.lifecycle.schema.records import JobRecord, RequestRecord, request_record_status
from tuneport.lifecycle.schema.tables import JobRequestRow, JobRow
from tuneport.lifecycle.store.part import (
    ScopedPart,
    build_store_record,
    query_one_store_record,
    query_store_records,
    select_store_records,
    store_rows_after,
)
from tuneport.types import JobStatus

_SHOWN = ("waiting", "failed", "cancelled")
"""The states of requests that are shown themselves: for taken ones, the job is shown."""


class JobListStore(ScopedPart):
    def page(
        self,
        *,
        limit: int,
        after: str | None = None,
        statuses: Sequence[JobStatus] | None = None,
        backend: str | None = None,
        metadata: Mapping[str, str] | None = None,
        with_model: bool = False,
    ) -> tuple[list[JobView], bool]:
        """Return so many jobs behind the one with the id `after`, and whether there are more.

        Each page is two look-ups in indexes, however many jobs there are. An `after` that is unknown gives the first
        page. `metadata`: what they must have; empty, that they have none. `with_model`: only those whose tuned model is
        there."""
        cursor = None if after is None else self.get(after)
        jobs = select_store_records(JobRecord).where(self.visible_rows(JobRow))
        requests = select_store_records(RequestRecord).where(
            self.visible_rows(JobRequestRow), JobRequestRow.state.in_(_SHOWN)
        )
        if statuses is not None:
            words = [status.value for status in statuses]
            jobs = jobs.where(JobRow.status.in_(words))
            requests = requests.where(
                JobRequestRow.state.in_([state for state in _SHOWN if request_record_status(state) in statuses])
            )
        if backend is not None:
            jobs, requests = jobs.where(JobRow.backend == backend), requests.where(JobRequestRow.backend == backend)
        if with_model:
            jobs = jobs.where(JobRow.tuned_model.is_not(None), JobRow.deleted_at.is_(None))
            requests = requests.where(false())
        for name, value in (metadata or {}).items():
            jobs = jobs.where(JobRow.spec["metadata"][name].as_string() == value)
            requests = requests.where(JobRequestRow.body["metadata"][name].as_string() == value)
        if metadata is not None and not metadata:
            jobs = jobs.where(JobRow.spec["metadata"].as_string() == "{}")
            requests = requests.where(JobRequestRow.body["metadata"].as_string().is_(None))
        if cursor is not None:
            jobs = jobs.where(store_rows_after(JobRow, cursor.created_at, cursor.id, descending=True))
            requests = requests.where(store_rows_after(JobRequestRow, cursor.created_at, cursor.id, descending=True))
        jobs = jobs.order_by(JobRow.created_at.desc(), JobRow.id.desc()).limit(limit + 1)
        requests = requests.order_by(JobRequestRow.created_at.desc(), JobRequestRow.id.desc()).limit(limit + 1)
        with self.reading() as session:
            # Requests first: one that becomes a job before the second look-up is in both, and never in neither.
            waiting = query_store_records(session, RequestRecord, requests)
            rows = query_store_records(session, JobRecord, jobs)
            asked = select_store_records(RequestRecord).where(JobRequestRow.id.in_([row.id for row in rows]))
            by_id = {request.id: request for request in query_store_records(session, RequestRecord, asked)}
        there = {row.id for row in rows}
        found = [JobView(row, by_id.get(row.id)) for row in rows]
        found += [JobView(None, request) for request in waiting if request.id not in there]
        found.sort(key=lambda each: (each.created_at, each.id), reverse=True)
        return found[:limit], len(found) > limit

    def get(self, job_id: str) -> JobView | None:
        """Return the job with exactly that id. One query reads the job and its request, because clients ask for this
        most."""
        both = select_store_records(RequestRecord, JobRecord).outerjoin_from(
            JobRequestRow, JobRow, JobRow.id == JobRequestRow.id
        )
        with self.reading() as session:
            found = session.execute(both.where(self.visible_rows(JobRequestRow), JobRequestRow.id == job_id)).first()
            if found is None:
                query = select_store_records(JobRecord).where(self.visible_rows(JobRow), JobRow.id == job_id)
                record = query_one_store_record(session, JobRecord, query)
                return None if record is None else JobView(record, None)
        columns = len(fields(RequestRecord))
        asked, of_job = found[:columns], found[columns:]
        return JobView(
            None if of_job[0] is None else build_store_record(JobRecord, of_job),
            build_store_record(RequestRecord, asked),
        )
