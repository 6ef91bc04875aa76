"""What clients asked the gateway for, until a job's row is made of it: each once, whoever dies in between."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from sqlalchemy import or_, select, update
from sqlalchemy.exc import IntegrityError

from tuneport.jobs.database import Database
from tuneport.jobs.tables import JobRequestRow, JobRow
from tuneport.jobs.uploaded import behind
from tuneport.types import JobStatus, now

HELD_SECONDS = 900.0
"""Reading, judging and converting a dataset takes less; afterwards another process takes the request up."""


class JobRequests(Database):
    def add_request(
        self, job_id: str, body: dict[str, Any], *, backend: str | None, tuned_model: str, key: str | None
    ) -> JobRequestRow:
        """The request that is there already, where the client sent the same idempotency key before."""
        row = JobRequestRow(
            id=job_id,
            body=body,
            backend=backend,
            tuned_model=tuned_model,
            idempotency_key=key,
            state="waiting",
            created_at=now(),
        )
        try:
            with self.transaction() as session:
                session.add(row)
            return row
        except IntegrityError:
            with self.transaction() as session:
                there = session.scalars(select(JobRequestRow).where(JobRequestRow.idempotency_key == key)).first()
                if key is None or there is None:
                    raise
                return there

    def job_request(self, job_id: str) -> JobRequestRow | None:
        with self.transaction() as session:
            return session.get(JobRequestRow, job_id)

    def request_of_model(self, tuned_model: str) -> JobRequestRow | None:
        with self.transaction() as session:
            return session.scalars(select(JobRequestRow).where(JobRequestRow.tuned_model == tuned_model)).first()

    def requests_page(
        self, *, limit: int, after: JobRequestRow | None, metadata: Mapping[str, str] | None
    ) -> tuple[list[JobRequestRow], bool]:
        """So many requests behind `after`, newest first, and whether there are more. `metadata`: what they must have;
        empty, that they have none."""
        query = select(JobRequestRow)
        if metadata is not None and not metadata:
            query = query.where(JobRequestRow.body["metadata"].as_string().is_(None))
        for name, value in (metadata or {}).items():
            query = query.where(JobRequestRow.body["metadata"][name].as_string() == value)
        if after is not None:
            query = query.where(behind(JobRequestRow, after.created_at, after.id, descending=True))
        query = query.order_by(JobRequestRow.created_at.desc(), JobRequestRow.id.desc()).limit(limit + 1)
        with self.transaction() as session:
            rows = list(session.scalars(query))
        return rows[:limit], len(rows) > limit

    def jobs_by_id(self, job_ids: list[str]) -> dict[str, JobRow]:
        with self.transaction() as session:
            return {row.id: row for row in session.scalars(select(JobRow).where(JobRow.id.in_(job_ids)))}

    def take_request(self, owner: str, *, gone: tuple[str, ...] = ()) -> JobRequestRow | None:
        """The oldest request that nobody is at, from now on held by `owner`. `gone` names holders known to be dead."""
        moment = now()
        free = or_(
            JobRequestRow.lease_owner.is_(None),
            JobRequestRow.lease_expires_at < moment,
            JobRequestRow.lease_owner.in_(gone),
        )
        oldest = (
            select(JobRequestRow.id)
            .where(JobRequestRow.state == "waiting", free)
            .order_by(JobRequestRow.created_at, JobRequestRow.id)
            .limit(1)
        )
        with self.transaction() as session:
            if self.engine.dialect.name == "postgresql":
                oldest = oldest.with_for_update(skip_locked=True)
            job_id = session.scalar(oldest)
            if job_id is None:
                return None
            row = session.get(JobRequestRow, job_id)
            assert row is not None
            row.lease_owner, row.lease_expires_at = owner, moment + timedelta(seconds=HELD_SECONDS)
            return row

    def request_holders(self) -> list[str]:
        query = select(JobRequestRow.lease_owner).where(
            JobRequestRow.state == "waiting", JobRequestRow.lease_owner.is_not(None)
        )
        with self.transaction() as session:
            return [str(owner) for owner in session.scalars(query.distinct())]

    def release_request(self, job_id: str, owner: str) -> None:
        """Nobody is at it any more; it is taken up again later."""
        with self.transaction() as session:
            session.execute(
                update(JobRequestRow)
                .where(JobRequestRow.id == job_id, JobRequestRow.lease_owner == owner)
                .values(lease_owner=None, lease_expires_at=None)
            )

    def settle_request(self, job_id: str, state: str, *, error: dict[str, Any] | None = None) -> bool:
        """From `waiting` to its last state; False where it had one already (a client cancelled it, say)."""
        values: dict[str, Any] = {"state": state, "error": error, "lease_owner": None, "lease_expires_at": None}
        if state != "taken":
            values["finished_at"] = now()
        with self.transaction() as session:
            changed = session.execute(
                update(JobRequestRow)
                .where(JobRequestRow.id == job_id, JobRequestRow.state == "waiting")
                .values(**values)
            )
            return changed.rowcount == 1  # type: ignore[attr-defined, no-any-return]

    def settle_results(self, job_id: str, file_id: str | None) -> bool:
        """Once for a job; False where somebody has settled it already."""
        with self.transaction() as session:
            changed = session.execute(
                update(JobRequestRow)
                .where(JobRequestRow.id == job_id, JobRequestRow.results_at.is_(None))
                .values(results_file=file_id, results_at=now())
            )
            return changed.rowcount == 1  # type: ignore[attr-defined, no-any-return]

    def jobs_with_models(self) -> list[tuple[JobRequestRow, JobRow]]:
        """Requested jobs whose tuned model is there, newest first."""
        query = (
            select(JobRequestRow, JobRow)
            .join(JobRow, JobRow.id == JobRequestRow.id)
            .where(
                JobRow.status == JobStatus.SUCCEEDED.value, JobRow.tuned_model.is_not(None), JobRow.deleted_at.is_(None)
            )
            .order_by(JobRow.created_at.desc())
        )
        with self.transaction() as session:
            return [(request, row) for request, row in session.execute(query)]

    def without_results(self, *, limit: int = 100) -> list[str]:
        """Succeeded jobs of which nobody has settled yet whether they have results."""
        query = (
            select(JobRequestRow.id)
            .join(JobRow, JobRow.id == JobRequestRow.id)
            .where(JobRequestRow.results_at.is_(None), JobRow.status == JobStatus.SUCCEEDED.value)
            .limit(limit)
        )
        with self.transaction() as session:
            return list(session.scalars(query))
