"""Jobs in the store: finding and listing them, and the actions that are requested for them."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any, Unpack

from sqlalchemy import ColumnElement, func, or_, select, update

from tuneport.data.rows.reading_options import READING_FIELDS
from tuneport.errors import ConfigError
from tuneport.lifecycle.accounting.budgets import hold_monthly_budget
from tuneport.lifecycle.schema.database import split_for_store_statement
from tuneport.lifecycle.schema.estimates import JobEstimate
from tuneport.lifecycle.schema.records import UNFINISHED, JobRecord
from tuneport.lifecycle.schema.tables import JobRow, UtcDateTime
from tuneport.lifecycle.store.audit import add_audit_entry
from tuneport.lifecycle.store.part import (
    ScopedPart,
    UnknownJobError,
    query_one_store_record,
    query_store_records,
    select_store_records,
    store_row_to_record,
    store_rows_after,
)
from tuneport.lifecycle.store.reconcile import max_job_cost
from tuneport.lifecycle.store.requests import JobRequestClaim, mark_job_request_taken
from tuneport.lifecycle.submitting.options import JobOptions, OptionKeywords
from tuneport.types import JobStatus, PreparedData, Quote, TuneSpec, now


class JobStore(ScopedPart):
    def add(
        self,
        spec: TuneSpec,
        prepared: PreparedData,
        *,
        backend: str,
        model: str,
        quote: Quote | None,
        estimate: JobEstimate | None = None,
        options: JobOptions = JobOptions(),
        monthly_budget: float | None = None,
        claim: JobRequestClaim | None = None,
    ) -> JobRecord:
        """Add the row of a new job. `monthly_budget`: what all jobs of the calendar month may cost. `claim`: the
        request that the job is made from, in the same transaction.

        Raises BudgetError, and adds no row, if the job might bring the month above it; if two processes ask at once,
        one of them sees the other's job. Raises ClaimLostError, and adds no row, if another process has the request by
        now.
        """
        moment = now()
        row = JobRow(
            id=f"job-{secrets.token_hex(6)}" if claim is None else claim.job_id,
            token=secrets.token_hex(16),
            project=self.scope.own_project if claim is None else claim.project,
            backend=backend,
            model=model,
            spec=spec.model_dump(mode="json"),
            prepared=prepared.model_dump(mode="json"),
            quote=None if quote is None else quote.model_dump(mode="json"),
            estimate=None if estimate is None else estimate.model_dump(mode="json"),
            budget_usd=spec.budget,
            reserved_usd=max_job_cost(quote),
            usd_per_hour=None if estimate is None else estimate.usd_per_hour,
            status=JobStatus.PREPARING,
            created_at=moment if claim is None else claim.created_at,
            updated_at=moment,
            due_at=moment,
            **options.columns(),
        )
        with self.transaction() as session:
            if claim is not None:
                mark_job_request_taken(session, claim)
            if monthly_budget is not None:
                hold_monthly_budget(session, monthly_budget, row.reserved_usd, moment, backend=backend)
            session.add(row)
            if claim is None:
                add_audit_entry(session, "job.create", row.id, project=row.project)
            add_audit_entry(session, "job.reserve", row.id, project=row.project, usd=row.reserved_usd, automatic=True)
            session.flush()
            return store_row_to_record(JobRecord, row)

    def get(self, job_id: str) -> JobRecord:
        """Return the job with that id, or the one whose id (ours or the backend's) begins so, if it is the only one."""
        there = select_store_records(JobRecord).where(self.visible_rows(JobRow))
        with self.reading() as session:
            exact = query_one_store_record(
                session, JobRecord, there.where(or_(JobRow.id == job_id, JobRow.remote_id == job_id))
            )
            if exact is not None:
                return exact
            pattern = _escaped(job_id) + "%"
            if not job_id.startswith("job-"):
                pattern = "job-" + pattern
            rows = query_store_records(session, JobRecord, there.where(JobRow.id.like(pattern, escape="\\")).limit(3))
        if len(rows) == 1:
            return rows[0]
        if rows:
            listed = ", ".join(row.id for row in rows)
            raise ConfigError(f"{job_id!r} is the beginning of several jobs ({listed}); give more of the id")
        raise UnknownJobError(f"no job {job_id!r} here; `tuneport jobs` lists them")

    def find_repeated(self, spec: TuneSpec, prepared: PreparedData, *, backend: str, model: str) -> JobRecord | None:
        """Return the newest job on that backend with the same data and settings that has not failed, or None.

        `spec` has the numbers that are settled for the backend.
        """
        query = (
            select_store_records(JobRecord)
            .where(self.visible_rows(JobRow), JobRow.backend == backend, JobRow.model == model)
            .where(JobRow.status.not_in((JobStatus.FAILED, JobStatus.CANCELLED)))
            .where(JobRow.prepared["training"]["sha256"].as_string() == prepared.training.sha256)
            .order_by(JobRow.created_at.desc())
        )
        with self.reading() as session:
            rows = query_store_records(session, JobRecord, query)
        wanted = _trained(spec, prepared)
        return next((row for row in rows if _trained(_settled_spec(row), row.prepared_data) == wanted), None)

    def all(self, *, limit: int | None = None, unfinished: bool = False, backend: str | None = None) -> list[JobRecord]:
        """Return the jobs, newest first."""
        query = (
            select_store_records(JobRecord)
            .where(self.visible_rows(JobRow))
            .order_by(JobRow.created_at.desc(), JobRow.id)
            .limit(limit)
        )
        if unfinished:
            query = query.where(JobRow.status.in_(UNFINISHED))
        if backend is not None:
            query = query.where(JobRow.backend == backend)
        with self.reading() as session:
            return query_store_records(session, JobRecord, query)

    def page(
        self, *, limit: int, after: JobRecord | None, status: JobStatus | None = None, backend: str | None = None
    ) -> tuple[list[JobRecord], bool]:
        """Return so many jobs behind `after`, newest first, and whether there are more."""
        query = select_store_records(JobRecord).where(self.visible_rows(JobRow))
        if status is not None:
            query = query.where(JobRow.status == status.value)
        if backend is not None:
            query = query.where(JobRow.backend == backend)
        if after is not None:
            query = query.where(store_rows_after(JobRow, after.created_at, after.id, descending=True))
        query = query.order_by(JobRow.created_at.desc(), JobRow.id.desc()).limit(limit + 1)
        with self.transaction() as session:
            rows = query_store_records(session, JobRecord, query)
        return rows[:limit], len(rows) > limit

    def by_ids(self, job_ids: list[str]) -> dict[str, JobRecord]:
        with self.reading() as session:
            query = select_store_records(JobRecord).where(self.visible_rows(JobRow), JobRow.id.in_(job_ids))
            return {row.id: row for row in query_store_records(session, JobRecord, query)}

    def find_by_remote_id(self, backend: str, remote_id: str) -> JobRecord | None:
        """Return the job that the backend knows under that id."""
        query = select_store_records(JobRecord).where(
            self.visible_rows(JobRow), JobRow.remote_id == remote_id, JobRow.backend == backend
        )
        with self.reading() as session:
            return query_one_store_record(session, JobRecord, query)

    def list_known_remote_ids(
        self, backend: str, remote_ids: Sequence[str], *, besides: str | None = None
    ) -> dict[str, str]:
        """Return the ids of our jobs, of all projects, by the backend's ids; `besides` is left out."""
        known: dict[str, str] = {}
        with self.reading() as session:
            for some in split_for_store_statement(remote_ids):
                query = select(JobRow.remote_id, JobRow.id).where(JobRow.backend == backend, JobRow.remote_id.in_(some))
                known.update((str(remote_id), id) for remote_id, id in session.execute(query) if id != besides)
        return known

    def count_unfinished(self) -> int:
        with self.reading() as session:
            return session.scalar(select(func.count()).where(JobRow.status.in_(UNFINISHED))) or 0

    def request_cancel(self, job_id: str) -> None:
        """Record the request to cancel before the backend is asked, so that a crash does not lose it.

        The job is due at once, at every repetition, too; the time of the request stays that of the first.
        """
        moment = now()
        first = func.coalesce(JobRow.cancel_requested_at, moment, type_=UtcDateTime())
        self._record_request(
            "job.cancel", job_id, JobRow.status.in_(UNFINISHED), cancel_requested_at=first, due_at=moment
        )

    def request_action(self, job_id: str, requested_action: str) -> None:
        """Record the request to `pause` or `resume` before the backend is asked; a newer request replaces an older
        one."""
        self._record_request(
            f"job.{requested_action}",
            job_id,
            JobRow.status.in_(UNFINISHED),
            requested_action=requested_action,
            due_at=now(),
        )

    def request_deletion(self, job_id: str) -> None:
        """Record the request to delete the tuned model before the backend is asked."""
        self._record_request("model.delete", job_id, JobRow.delete_requested_at.is_(None), delete_requested_at=now())

    def set_options(self, job_id: str, **options: Unpack[OptionKeywords]) -> None:
        """Change options of a job that has not ended."""
        with self.transaction() as session:
            unfinished = (self.visible_rows(JobRow), JobRow.id == job_id, JobRow.status.in_(UNFINISHED))
            session.execute(update(JobRow).where(*unfinished).values(updated_at=now(), **options))

    def _record_request(self, action: str, job_id: str, possible: ColumnElement[bool], **values: Any) -> None:
        with self.transaction() as session:
            wished = session.execute(
                update(JobRow)
                .where(self.visible_rows(JobRow), JobRow.id == job_id, possible)
                .values(updated_at=now(), **values)
            )
            if wished.rowcount == 1:  # type: ignore[attr-defined]
                row = session.get_one(JobRow, job_id)
                add_audit_entry(session, action, job_id, project=row.project)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _trained(spec: TuneSpec, prepared: PreparedData) -> dict[str, Any]:
    """Return what decides the trained weights: paths, names and limits of money do not. The numbers in `spec` are those
    that were settled for the backend, by the user or by a rule."""
    held_out = None if prepared.validation is None else prepared.validation.sha256
    left_out = {
        "model",
        "dataset",
        "validation",
        "budget",
        "suffix",
        "metadata",
        "wandb",
        "provider_defaults",
        *READING_FIELDS,
    }
    return spec.model_dump(mode="json", exclude=left_out) | {"validation": held_out}


def _settled_spec(row: JobRecord) -> TuneSpec:
    training = None if row.job_estimate is None else row.job_estimate.training
    if training is None:
        return row.tune_spec
    return row.tune_spec.model_copy(update={"hyperparameters": training.hyperparameters})
