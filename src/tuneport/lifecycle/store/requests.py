"""Requests of clients to the gateway, until a job's row is made from each: exactly once, even if a process dies in
between."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from tuneport.errors import TuneportError
from tuneport.lifecycle.schema.records import RequestRecord
from tuneport.lifecycle.schema.scope import DEFAULT_PROJECT
from tuneport.lifecycle.schema.tables import JobRequestRow, JobRow
from tuneport.lifecycle.store.audit import add_audit_entry
from tuneport.lifecycle.store.outbox import announce_job_request_end, release_job_announcement
from tuneport.lifecycle.store.part import (
    RELEASED,
    LeasedPart,
    ScopedPart,
    query_one_store_record,
    query_store_records,
    select_store_records,
    store_row_to_record,
)
from tuneport.types import JobStatus, now

HELD_SECONDS = 120.0
"""Renewed while the dataset is read, judged and converted; afterwards another process takes the request up."""
NOBODY = "nobody"
"""The holder of a request that rests for a while."""
_MOST_WITHOUT_RESULTS = 1000  # jobs that one look takes up


@dataclass(frozen=True)
class JobRequestClaim:
    """A request that its holder is making a job from. `created_at` is when the client asked, in `project`."""

    job_id: str
    owner: str
    created_at: datetime
    project: str = DEFAULT_PROJECT


class ClaimLostError(TuneportError):
    """The request was cancelled, or is held by another process by now; no job was made of it."""


def mark_job_request_taken(session: Session, claim: JobRequestClaim) -> None:
    """Mark the request as taken within the transaction that adds the job's row. Raises ClaimLostError if it is no
    longer waiting."""
    changed = session.execute(
        update(JobRequestRow)
        .where(
            JobRequestRow.id == claim.job_id,
            JobRequestRow.state == "waiting",
            JobRequestRow.lease_owner == claim.owner,
        )
        .values(state="taken", **RELEASED)
    )
    if changed.rowcount != 1:  # type: ignore[attr-defined]
        raise ClaimLostError(f"{claim.job_id} was cancelled or taken over; nothing was started")


class JobRequestStore(ScopedPart, LeasedPart):
    leased, seconds = JobRequestRow, HELD_SECONDS

    def leasable_rows(self) -> ColumnElement[bool]:
        return JobRequestRow.state == "waiting"

    def add(
        self, job_id: str, body: dict[str, Any], *, backend: str | None, tuned_model: str, key: str | None
    ) -> RequestRecord:
        """Add the request. Returns the one that is there already if the client sent the same idempotency key before."""
        row = JobRequestRow(
            id=job_id,
            project=self.scope.own_project,
            body=body,
            backend=backend,
            tuned_model=tuned_model,
            idempotency_key=None if key is None else self.scope.stored_key(key),
            state="waiting",
            created_at=now(),
        )
        try:
            with self.transaction() as session:
                session.add(row)
                add_audit_entry(session, "job.create", job_id, project=row.project)
                session.flush()
                return store_row_to_record(RequestRecord, row)
        except IntegrityError:
            there = None if key is None else self.find_by_idempotency_key(key)
            if there is None:
                raise
            return there

    def find_by_idempotency_key(self, key: str) -> RequestRecord | None:
        with self.reading() as session:
            query = select_store_records(RequestRecord).where(
                JobRequestRow.idempotency_key == self.scope.stored_key(key)
            )
            return query_one_store_record(session, RequestRecord, query)

    def get(self, job_id: str) -> RequestRecord | None:
        with self.reading() as session:
            query = select_store_records(RequestRecord).where(
                self.visible_rows(JobRequestRow), JobRequestRow.id == job_id
            )
            return query_one_store_record(session, RequestRecord, query)

    def read_gateway_hops(self, job_id: str) -> tuple[str, ...]:
        """Return the gateways that a job's request came through; empty if it came through none."""
        with self.reading() as session:
            body = session.scalar(select(JobRequestRow.body).where(JobRequestRow.id == job_id))
        return () if body is None else tuple(body.get("hops", ()))

    def by_ids(self, job_ids: list[str]) -> dict[str, RequestRecord]:
        with self.transaction() as session:
            query = select_store_records(RequestRecord).where(
                self.visible_rows(JobRequestRow), JobRequestRow.id.in_(job_ids)
            )
            return {request.id: request for request in query_store_records(session, RequestRecord, query)}

    def claim_oldest(self, owner: str, *, gone: tuple[str, ...] = ()) -> RequestRecord | None:
        """Take the oldest free request; `owner` holds it from now on. `gone` names holders known to be dead."""
        moment = now()
        oldest = (
            select(JobRequestRow.id)
            .where(self.leasable_rows(), self.rows_without_holder(moment, gone=gone))
            .order_by(JobRequestRow.created_at, JobRequestRow.id)
            .limit(1)
        )
        with self.transaction() as session:
            if self.database.is_postgresql:
                oldest = oldest.with_for_update(skip_locked=True)
            job_id = session.scalar(oldest)
            if job_id is None:
                return None
            row = session.get(JobRequestRow, job_id)
            assert row is not None
            for name, value in self.holder_values(owner, moment).items():
                setattr(row, name, value)
            return store_row_to_record(RequestRecord, row)

    def defer(self, job_id: str, owner: str, *, seconds: float) -> None:
        """Release the request and put it off for so long. Others come first."""
        with self.transaction() as session:
            session.execute(
                update(JobRequestRow)
                .where(JobRequestRow.id == job_id, JobRequestRow.lease_owner == owner)
                .values(lease_owner=NOBODY, lease_expires_at=now() + timedelta(seconds=seconds))
            )

    def refuse(self, job_id: str, owner: str, error: dict[str, Any]) -> bool:
        """Record that the request will never be a job, and why. Returns False if `owner` no longer holds it."""
        return self._end_request(job_id, "failed", error, JobRequestRow.lease_owner == owner)

    def cancel(self, job_id: str) -> bool:
        """Return False if it is a job already, or has ended. A holder that is at it makes no job of it any more."""
        return self._end_request(job_id, "cancelled", None, self.visible_rows(JobRequestRow))

    def _end_request(self, job_id: str, state: str, error: dict[str, Any] | None, held: ColumnElement[bool]) -> bool:
        ended = {"state": state, "error": error, "finished_at": now(), **RELEASED}
        with self.transaction() as session:
            changed = session.execute(
                update(JobRequestRow)
                .where(JobRequestRow.id == job_id, JobRequestRow.state == "waiting", held)
                .values(**ended)
            )
            if changed.rowcount != 1:  # type: ignore[attr-defined]
                return False
            announce_job_request_end(session, job_id, state)
            row = session.get(JobRequestRow, job_id)
            assert row is not None
            action = "job.cancel" if state == "cancelled" else "job.refuse"
            add_audit_entry(session, action, job_id, project=row.project, automatic=state == "failed")
            return True

    def mark_results_settled(self, job_id: str, file_id: str | None) -> bool:
        """Record once whether a job has results. Returns False if that is recorded already."""
        with self.transaction() as session:
            changed = session.execute(
                update(JobRequestRow)
                .where(JobRequestRow.id == job_id, JobRequestRow.results_at.is_(None))
                .values(results_file=file_id, results_at=now())
            )
            release_job_announcement(session, job_id)
            return changed.rowcount == 1  # type: ignore[attr-defined, no-any-return]

    def list_jobs_without_results(self) -> list[str]:
        """Return succeeded jobs for which it is not recorded yet whether they have results, latest first."""
        query = (
            select(JobRequestRow.id)
            .join(JobRow, JobRow.id == JobRequestRow.id)
            .where(JobRequestRow.results_at.is_(None), JobRow.status == JobStatus.SUCCEEDED.value)
            .order_by(JobRow.finished_at.desc())
            .limit(_MOST_WITHOUT_RESULTS)
        )
        with self.reading() as session:
            return list(session.scalars(query))
