"""The store: every job, the files that were uploaded for it, its events, and who is driving it right now.

A job's row exists before the first remote call. Rows are claimed by lease: a driver writes its name and an expiry into
the row, renews both while it works, and its results are applied only while the row still bears its name. SQLite by
default; any SQLAlchemy URL by `TUNEPORT_DATABASE_URL`.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, func, or_, select, update

from tuneport.errors import ConfigError, TuneportError
from tuneport.estimate.learning import History
from tuneport.jobs.accuracy import EstimatedAndActual
from tuneport.jobs.asking import own_project
from tuneport.jobs.audit import AuditLog, note
from tuneport.jobs.budgets import Month, hold_month, month_of, rest_of
from tuneport.jobs.estimates import JobEstimate
from tuneport.jobs.figures import StoredFigures
from tuneport.jobs.file_journal import UNFINISHED, FileJournal
from tuneport.jobs.history import LEARNT_FROM, history_of
from tuneport.jobs.migrations import SCHEMA_VERSION
from tuneport.jobs.projects import if_visible, visible
from tuneport.jobs.requests import Claim, JobRequests, take_in
from tuneport.jobs.schedule import Schedule
from tuneport.jobs.settling import most_of, settle_in
from tuneport.jobs.tables import JobRow, ShownTermsRow, UtcDateTime
from tuneport.jobs.tokens import Tokens
from tuneport.jobs.uploaded import UploadedFiles
from tuneport.jobs.watching import Watching
from tuneport.jobs.webhooks.outbox import Outbox
from tuneport.types import JobStatus, PreparedData, Quote, TuneSpec, now

__all__ = ["LEASE_SECONDS", "SCHEMA_VERSION", "LeaseLostError", "Store", "UnknownJobError"]

LEASE_SECONDS = 120.0
"""Renewed every quarter of it while its holder works. A holder that was suspended for longer has lost it."""


class UnknownJobError(ConfigError):
    """The store has no such job."""


class LeaseLostError(TuneportError):
    """Another process took the row over; whatever this one was doing must not be written."""


class Store(Schedule, FileJournal, UploadedFiles, JobRequests, Watching, Outbox, StoredFigures, Tokens, AuditLog):
    """All reads and writes. Each method is one short transaction; no network call happens inside any of them.

    Raises ConfigError where the database cannot be opened or written.
    """

    # --- jobs -------------------------------------------------------------------------------------------------------

    def add_job(
        self,
        spec: TuneSpec,
        prepared: PreparedData,
        *,
        backend: str,
        model: str,
        quote: Quote | None,
        estimate: JobEstimate | None = None,
        delete_files: bool = False,
        cancel_over_budget: bool = False,
        stop_on_overfit: bool = False,
        monthly_budget: float | None = None,
        claim: Claim | None = None,
    ) -> JobRow:
        """`monthly_budget`: what all jobs of the calendar month may cost. BudgetError, and no row, where this one might
        bring them above it; of two processes that ask at once, one is told of the other's job. `claim`: the request
        of which the job is made, in the same transaction; ClaimLostError, and no row, where that is no longer ours."""
        moment = now()
        row = JobRow(
            id=f"job-{secrets.token_hex(6)}" if claim is None else claim.job_id,
            token=secrets.token_hex(16),
            project=own_project() if claim is None else claim.project,
            backend=backend,
            model=model,
            spec=spec.model_dump(mode="json"),
            prepared=prepared.model_dump(mode="json"),
            quote=None if quote is None else quote.model_dump(mode="json"),
            estimate=None if estimate is None else estimate.model_dump(mode="json"),
            budget_usd=spec.budget,
            reserved_usd=most_of(quote),
            usd_per_hour=None if estimate is None else estimate.usd_per_hour,
            status=JobStatus.PREPARING,
            created_at=moment if claim is None else claim.created_at,
            updated_at=moment,
            due_at=moment,
            delete_files=delete_files,
            cancel_over_budget=cancel_over_budget,
            stop_on_overfit=stop_on_overfit,
        )
        with self.transaction() as session:
            if claim is not None:
                take_in(session, claim)
            if monthly_budget is not None:
                hold_month(session, monthly_budget, row.reserved_usd, moment, backend=backend)
            session.add(row)
            if claim is None:
                note(session, "job.create", row.id, project=row.project)
            note(session, "job.reserve", row.id, project=row.project, usd=row.reserved_usd, automatic=True)
        return row

    def write_quote(self, job_id: str, owner: str, quote: Quote, *, monthly_budget: float | None = None) -> JobRow:
        """The provider's own quote, under the row's lease, in place of ours. BudgetError, and no change, where that
        brings the month above its budget; LeaseLostError as for `write`."""
        with self.transaction() as session:
            row = session.get(JobRow, job_id, with_for_update=True)
            if row is None or row.lease_owner != owner:
                raise LeaseLostError(f"the lease on {job_id} was lost to another process; nothing was written")
            most = most_of(quote)
            if monthly_budget is not None:
                hold_month(session, monthly_budget, most, now(), backend=row.backend, without=job_id)
            row.quote, row.reserved_usd, row.updated_at = quote.model_dump(mode="json"), most, now()
            note(session, "job.reserve", job_id, project=row.project, usd=most, automatic=True)
            return row

    def reopen(self, job_id: str, owner: str, *, monthly_budget: float | None = None) -> JobRow:
        """Under its lease a job that has ended is unfinished again, and reserves what it cost already and the rest of
        what it was to. BudgetError, and no change, where that brings the month above its budget; LeaseLostError as for
        `write`. What its backend says of it comes next; should nobody live to ask, it is due."""
        with self.transaction() as session:
            row = session.get(JobRow, job_id, with_for_update=True)
            if row is None or row.lease_owner != owner:
                raise LeaseLostError(f"the lease on {job_id} was lost to another process; nothing was written")
            moment, most = now(), rest_of(row)
            if monthly_budget is not None:
                hold_month(session, monthly_budget, most, moment, backend=row.backend, without=job_id)
            row.status, row.finished_at, row.due_at, row.updated_at = JobStatus.QUEUED.value, None, moment, moment
            row.reserved_usd, row.actual, row.cost_usd = most, None, None
            note(session, "job.reopen", job_id, project=row.project)
            note(session, "job.reserve", job_id, project=row.project, usd=most, automatic=True)
            return row

    def month(self) -> Month:
        """What the jobs of this calendar month (UTC) came to, and what the unfinished ones may still cost."""
        with self.transaction() as session:
            return month_of(session, now())

    def job(self, job_id: str) -> JobRow:
        """The job with that id, or the one whose id (ours or the backend's) begins so, if it is the only one."""
        with self.reading() as session:
            exact = session.scalars(
                select(JobRow).where(visible(JobRow), or_(JobRow.id == job_id, JobRow.remote_id == job_id))
            ).first()
            if exact is not None:
                return exact
            pattern = _escaped(job_id) + "%"
            if not job_id.startswith("job-"):
                pattern = "job-" + pattern
            rows = session.scalars(
                select(JobRow).where(visible(JobRow), JobRow.id.like(pattern, escape="\\")).limit(3)
            ).all()
        if len(rows) == 1:
            return rows[0]
        if rows:
            listed = ", ".join(row.id for row in rows)
            raise ConfigError(f"{job_id!r} is the beginning of several jobs ({listed}); give more of the id")
        raise UnknownJobError(f"no job {job_id!r} here; `tuneport jobs` lists them")

    def jobs(self, *, limit: int | None = None, unfinished: bool = False, backend: str | None = None) -> list[JobRow]:
        """Newest first."""
        query = select(JobRow).where(visible(JobRow)).order_by(JobRow.created_at.desc(), JobRow.id).limit(limit)
        if unfinished:
            query = query.where(JobRow.status.in_(UNFINISHED))
        if backend is not None:
            query = query.where(JobRow.backend == backend)
        with self.reading() as session:
            return list(session.scalars(query))

    def history(self) -> History:
        """The newest jobs that succeeded and were not interrupted: what the next estimate of a duration learns from."""
        columns = (JobRow.backend, JobRow.model, JobRow.estimate, JobRow.actual)
        # No bare column: SQLite would read and sort all that succeeded, by the index of states.
        succeeded = JobRow.status.concat("") == JobStatus.SUCCEEDED.value
        query = select(*columns).where(succeeded, JobRow.actual.is_not(None))
        with self.reading() as session:
            found = session.execute(query.order_by(JobRow.finished_at.desc()).limit(LEARNT_FROM)).all()
        return history_of((row.backend, row.model, row.estimate, row.actual) for row in found)

    def estimated_and_actual(self) -> list[EstimatedAndActual]:
        """Of every job that has ended and reached its backend, what was expected and what it came to."""
        columns = (JobRow.backend, JobRow.model, JobRow.status, JobRow.quote, JobRow.estimate, JobRow.actual)
        query = select(*columns).where(JobRow.actual.is_not(None), JobRow.remote_id.is_not(None))
        with self.transaction() as session:
            return [EstimatedAndActual.of(*found) for found in session.execute(query.order_by(JobRow.finished_at))]

    def count_unfinished(self) -> int:
        with self.reading() as session:
            return session.scalar(select(func.count()).where(JobRow.status.in_(UNFINISHED))) or 0

    def job_of_model(self, tuned_model: str) -> JobRow | None:
        """The newest job that made the tuned model of that name."""
        # Few have one name: sorted here, since for "the newest" databases go through all jobs by age until one fits.
        query = select(JobRow).where(JobRow.tuned_model == tuned_model)
        with self.reading() as session:
            found = [row for row in session.scalars(query) if if_visible(row) is not None]
        return max(found, key=lambda row: row.created_at, default=None)

    def job_behind(self, backend: str, remote_id: str) -> JobRow | None:
        """The job that the backend knows under that id."""
        with self.reading() as session:
            return session.scalars(
                select(JobRow).where(JobRow.remote_id == remote_id, JobRow.backend == backend)
            ).first()

    def request_cancel(self, job_id: str) -> None:
        """Recorded before anything is asked of the backend, so that a crash does not forget the wish.

        The job is due at once, at every repetition, too; the time of the wish stays that of the first.
        """
        moment = now()
        first = func.coalesce(JobRow.cancel_requested_at, moment, type_=UtcDateTime())
        self._wish("job.cancel", job_id, JobRow.status.in_(UNFINISHED), cancel_requested_at=first, due_at=moment)

    def request_wish(self, job_id: str, wish: str) -> None:
        """`pause` or `resume`, recorded before it is asked; the newer wish replaces the older one."""
        self._wish(f"job.{wish}", job_id, JobRow.status.in_(UNFINISHED), wish=wish, due_at=now())

    def request_stop_on_overfit(self, job_id: str) -> None:
        """From now on whoever looks after the job stops it once it surely overfits."""
        with self.transaction() as session:
            unfinished = (JobRow.id == job_id, JobRow.status.in_(UNFINISHED))
            session.execute(update(JobRow).where(*unfinished).values(stop_on_overfit=True, updated_at=now()))

    def request_deletion(self, job_id: str) -> None:
        """The wish to delete the tuned model, recorded before it is asked."""
        self._wish("model.delete", job_id, JobRow.delete_requested_at.is_(None), delete_requested_at=now())

    def _wish(self, action: str, job_id: str, possible: ColumnElement[bool], **values: Any) -> None:
        with self.transaction() as session:
            wished = session.execute(
                update(JobRow).where(JobRow.id == job_id, possible).values(updated_at=now(), **values)
            )
            if wished.rowcount == 1:  # type: ignore[attr-defined]
                row = session.get_one(JobRow, job_id)
                note(session, action, job_id, project=row.project)

    # --- leases -----------------------------------------------------------------------------------------------------

    def claim(
        self, job_id: str, owner: str, *, seconds: float = LEASE_SECONDS, instead_of: str | None = None
    ) -> JobRow | None:
        """Take the lease on a row and return the row, or None where somebody holds it.

        `owner` is new for each claim, so that two threads of one process keep each other out. `instead_of` names a
        holder that is known to be dead.
        """
        moment = now()
        free = or_(JobRow.lease_owner.is_(None), JobRow.lease_expires_at < moment)
        if instead_of is not None:
            free = or_(free, JobRow.lease_owner == instead_of)
        with self.transaction() as session:
            taken = session.execute(
                update(JobRow)
                .where(JobRow.id == job_id, free)
                .values(lease_owner=owner, lease_expires_at=moment + timedelta(seconds=seconds))
            )
            return session.get(JobRow, job_id) if taken.rowcount == 1 else None  # type: ignore[attr-defined]

    def renew(self, job_id: str, owner: str, seconds: float = LEASE_SECONDS) -> bool:
        """Prolong a lease that is still held; False where it was lost. Never takes one."""
        with self.transaction() as session:
            renewed = session.execute(
                update(JobRow)
                .where(JobRow.id == job_id, JobRow.lease_owner == owner)
                .values(lease_expires_at=now() + timedelta(seconds=seconds))
            )
            return renewed.rowcount == 1  # type: ignore[attr-defined, no-any-return]

    def release(self, job_id: str, owner: str) -> None:
        with self.transaction() as session:
            session.execute(
                update(JobRow)
                .where(JobRow.id == job_id, JobRow.lease_owner == owner)
                .values(lease_owner=None, lease_expires_at=None)
            )

    def write(self, job_id: str, owner: str, **values: Any) -> JobRow:
        """Change a row under its lease. LeaseLostError, and no change, where the lease is another's by now."""
        if "status" in values and JobStatus(values["status"]).terminal:
            values.update(due_at=None, waits_since=None, wish=None)
        with self.transaction() as session:
            changed = session.execute(
                update(JobRow)
                .where(JobRow.id == job_id, JobRow.lease_owner == owner)
                .values(updated_at=now(), **values)
            )
            if changed.rowcount != 1:  # type: ignore[attr-defined]
                raise LeaseLostError(f"the lease on {job_id} was lost to another process; nothing was written")
            row = session.get(JobRow, job_id)
            assert row is not None
            over = settle_in(session, row) if "state" in values or row.job_status.terminal else None
        if over is not None:
            self.tell_over_budget({job_id: over})
        return row

    # --- terms ------------------------------------------------------------------------------------------------------

    def first_showing(self, subject: str, texts: Sequence[str]) -> bool:
        """Whether these terms of `subject` have not been shown before; from now on they have."""
        digest = hashlib.sha256("\n".join(texts).encode()).hexdigest()
        with self.transaction() as session:
            row = session.get(ShownTermsRow, subject)
            if row is not None and row.digest == digest:
                return False
            session.merge(ShownTermsRow(subject=subject, digest=digest, shown_at=now()))
            return True


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
