"""What clients asked the gateway for, until a job's row is made of it: each once, whoever dies in between."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, func, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from tuneport.errors import TuneportError
from tuneport.jobs.asking import DEFAULT_PROJECT
from tuneport.jobs.audit import note
from tuneport.jobs.database import Database
from tuneport.jobs.projects import if_visible, key_of, visible
from tuneport.jobs.tables import JobRequestRow, JobRow, UtcDateTime
from tuneport.jobs.uploaded import behind
from tuneport.jobs.webhooks.outbox import announce_request, results_settled
from tuneport.types import JobStatus, now

HELD_SECONDS = 120.0
"""Renewed while the dataset is read, judged and converted; afterwards another process takes the request up."""
NOBODY = "nobody"
"""Holds a request that is to rest for a while."""


@dataclass(frozen=True)
class Claim:
    """A request that is being made a job, by its holder. `created_at` is when the client asked, for his `project`."""

    job_id: str
    owner: str
    created_at: datetime
    project: str = DEFAULT_PROJECT


class ClaimLostError(TuneportError):
    """The request was cancelled, or is held by another process by now; no job was made of it."""


def take_in(session: Session, claim: Claim) -> None:
    """Within the transaction that adds the job's row: its request is no longer waiting. ClaimLostError otherwise."""
    changed = session.execute(
        update(JobRequestRow)
        .where(
            JobRequestRow.id == claim.job_id,
            JobRequestRow.state == "waiting",
            JobRequestRow.lease_owner == claim.owner,
        )
        .values(state="taken", lease_owner=None, lease_expires_at=None)
    )
    if changed.rowcount != 1:  # type: ignore[attr-defined]
        raise ClaimLostError(f"{claim.job_id} was cancelled or taken over; nothing was started")


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
            idempotency_key=None if key is None else key_of(key),
            state="waiting",
            created_at=now(),
        )
        try:
            with self.transaction() as session:
                session.add(row)
                note(session, "job.create", job_id)
            return row
        except IntegrityError:
            there = None if key is None else self.request_of_key(key)
            if there is None:
                raise
            return there

    def request_of_key(self, key: str) -> JobRequestRow | None:
        with self.reading() as session:
            return session.scalars(select(JobRequestRow).where(JobRequestRow.idempotency_key == key_of(key))).first()

    def job_request(self, job_id: str) -> JobRequestRow | None:
        with self.reading() as session:
            return if_visible(session.get(JobRequestRow, job_id))

    def hops_of(self, job_id: str) -> tuple[str, ...]:
        """The gateways through which a job's request came; none where nobody asked a gateway for it."""
        with self.reading() as session:
            body = session.scalar(select(JobRequestRow.body).where(JobRequestRow.id == job_id))
        return () if body is None else tuple(body.get("hops", ()))

    def requests_by_id(self, job_ids: list[str]) -> dict[str, JobRequestRow]:
        with self.transaction() as session:
            found = session.scalars(select(JobRequestRow).where(visible(JobRequestRow), JobRequestRow.id.in_(job_ids)))
            return {row.id: row for row in found}

    def request_of_model(self, tuned_model: str) -> JobRequestRow | None:
        with self.reading() as session:
            return session.scalars(
                select(JobRequestRow).where(visible(JobRequestRow), JobRequestRow.tuned_model == tuned_model)
            ).first()

    def projects_of_models(self, names: Collection[str]) -> set[str]:
        """Whose the tuned models of these names are, ours or the backend's; of all projects."""
        jobs = select(JobRow.project).where(JobRow.tuned_model.in_(names))
        asked = select(JobRequestRow.project).where(JobRequestRow.tuned_model.in_(names))
        with self.reading() as session:
            return set(session.scalars(jobs.union(asked)))

    def jobs_page(
        self, *, limit: int, after: JobRow | None, status: JobStatus | None = None, backend: str | None = None
    ) -> tuple[list[JobRow], bool]:
        """So many jobs behind `after`, newest first, and whether there are more."""
        query = select(JobRow).where(visible(JobRow))
        if status is not None:
            query = query.where(JobRow.status == status.value)
        if backend is not None:
            query = query.where(JobRow.backend == backend)
        if after is not None:
            query = query.where(behind(JobRow, after.created_at, after.id, descending=True))
        query = query.order_by(JobRow.created_at.desc(), JobRow.id.desc()).limit(limit + 1)
        with self.transaction() as session:
            rows = list(session.scalars(query))
        return rows[:limit], len(rows) > limit

    def jobs_by_id(self, job_ids: list[str]) -> dict[str, JobRow]:
        with self.reading() as session:
            found = session.scalars(select(JobRow).where(visible(JobRow), JobRow.id.in_(job_ids)))
            return {row.id: row for row in found}

    def request_and_job(self, job_id: str) -> tuple[JobRequestRow, JobRow | None] | None:
        """Both by one question: what clients ask most."""
        query = (
            select(JobRequestRow, JobRow).outerjoin(JobRow, JobRow.id == JobRequestRow.id).where(visible(JobRequestRow))
        )
        with self.reading() as session:
            found = session.execute(query.where(JobRequestRow.id == job_id)).first()
        return None if found is None else (found[0], found[1])

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
        with self.reading() as session:
            return [str(owner) for owner in session.scalars(query.distinct())]

    def renew_request(self, job_id: str, owner: str) -> bool:
        with self.transaction() as session:
            renewed = session.execute(
                update(JobRequestRow)
                .where(JobRequestRow.id == job_id, JobRequestRow.lease_owner == owner)
                .values(lease_expires_at=now() + timedelta(seconds=HELD_SECONDS))
            )
            return renewed.rowcount == 1  # type: ignore[attr-defined, no-any-return]

    def rest_request(self, job_id: str, owner: str, *, seconds: float) -> None:
        """Nobody is at it for so long; then it is taken up again. Others come first."""
        with self.transaction() as session:
            session.execute(
                update(JobRequestRow)
                .where(JobRequestRow.id == job_id, JobRequestRow.lease_owner == owner)
                .values(lease_owner=NOBODY, lease_expires_at=now() + timedelta(seconds=seconds))
            )

    def refuse_request(self, job_id: str, owner: str, error: dict[str, Any]) -> bool:
        """It will never be a job, and why; False where it is `owner`'s no longer."""
        return self._end_request(job_id, "failed", error, JobRequestRow.lease_owner == owner)

    def cancel_request(self, job_id: str) -> bool:
        """False where it is a job already, or has ended. A holder that is at it makes no job of it any more."""
        return self._end_request(job_id, "cancelled", None, visible(JobRequestRow))

    def _end_request(self, job_id: str, state: str, error: dict[str, Any] | None, held: ColumnElement[bool]) -> bool:
        ended = {"state": state, "error": error, "finished_at": now(), "lease_owner": None, "lease_expires_at": None}
        with self.transaction() as session:
            changed = session.execute(
                update(JobRequestRow)
                .where(JobRequestRow.id == job_id, JobRequestRow.state == "waiting", held)
                .values(**ended)
            )
            if changed.rowcount != 1:  # type: ignore[attr-defined]
                return False
            announce_request(session, job_id, state)
            row = session.get(JobRequestRow, job_id)
            assert row is not None
            action = "job.cancel" if state == "cancelled" else "job.refuse"
            note(session, action, job_id, project=row.project, automatic=state == "failed")
            return True

    def settle_results(self, job_id: str, file_id: str | None) -> bool:
        """Once for a job; False where somebody has settled it already."""
        with self.transaction() as session:
            changed = session.execute(
                update(JobRequestRow)
                .where(JobRequestRow.id == job_id, JobRequestRow.results_at.is_(None))
                .values(results_file=file_id, results_at=now())
            )
            results_settled(session, job_id)
            return changed.rowcount == 1  # type: ignore[attr-defined, no-any-return]

    def models_made(self) -> list[tuple[str | None, str, datetime]]:
        """Of each tuned model that is there, newest first: its name for the client who asked for it, if one did, its
        backend's, and when it was made. No more of a job is read: there may be ten thousand."""
        query = (
            select(
                JobRequestRow.tuned_model,
                JobRow.tuned_model,
                func.coalesce(JobRow.finished_at, JobRow.created_at, type_=UtcDateTime()),
            )
            .select_from(JobRow)
            .outerjoin(JobRequestRow, JobRow.id == JobRequestRow.id)
            .where(
                visible(JobRow),
                JobRow.status == JobStatus.SUCCEEDED.value,
                JobRow.tuned_model.is_not(None),
                JobRow.deleted_at.is_(None),
            )
            .order_by(JobRow.created_at.desc())
        )
        with self.reading() as session:
            return [(asked, name or "", made) for asked, name, made in session.execute(query)]

    def without_results(self, *, limit: int = 1000) -> list[str]:
        """Succeeded jobs of which nobody has settled yet whether they have results, latest first."""
        query = (
            select(JobRequestRow.id)
            .join(JobRow, JobRow.id == JobRequestRow.id)
            .where(JobRequestRow.results_at.is_(None), JobRow.status == JobStatus.SUCCEEDED.value)
            .order_by(JobRow.finished_at.desc())
            .limit(limit)
        )
        with self.reading() as session:
            return list(session.scalars(query))
