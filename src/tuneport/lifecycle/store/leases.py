"""Leases in the store: which worker drives a job right now, and what only that worker may write."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, update

from tuneport.errors import TuneportError
from tuneport.lifecycle.accounting.budgets import hold_monthly_budget, max_resume_cost
from tuneport.lifecycle.schema.database import StoreDatabase
from tuneport.lifecycle.schema.records import UNFINISHED, JobRecord
from tuneport.lifecycle.schema.tables import JobRow
from tuneport.lifecycle.store.audit import add_audit_entry
from tuneport.lifecycle.store.event_log import JobEventLog
from tuneport.lifecycle.store.part import LeasedPart, store_row_to_record
from tuneport.lifecycle.store.reconcile import JobFindings, max_job_cost, reconcile_job_row
from tuneport.types import JobStatus, Quote, now

LEASE_SECONDS = 120.0
"""Renewed every quarter of it while its holder works."""


class LeaseLostError(TuneportError):
    """Another process took the row over; whatever this one was doing must not be written."""


class JobLeases(LeasedPart):
    leased, seconds = JobRow, LEASE_SECONDS

    def __init__(self, database: StoreDatabase, events: JobEventLog) -> None:
        super().__init__(database)
        self._events = events

    def leasable_rows(self) -> ColumnElement[bool]:
        return JobRow.status.in_(UNFINISHED)

    def claim(
        self, job_id: str, owner: str, *, seconds: float | None = None, instead_of: str | None = None
    ) -> JobRecord | None:
        """Take the lease on a row and return the row, or None if another worker holds it.

        `owner` is new for each claim, so that two threads of one process keep each other out. `instead_of` names a
        holder that is known to be dead.
        """
        moment = now()
        free = self.rows_without_holder(moment, gone=() if instead_of is None else (instead_of,))
        with self.transaction() as session:
            taken = session.execute(
                update(JobRow).where(JobRow.id == job_id, free).values(**self.holder_values(owner, moment, seconds))
            )
            if taken.rowcount != 1:  # type: ignore[attr-defined]
                return None
            return store_row_to_record(JobRecord, session.get_one(JobRow, job_id))

    def write(self, job_id: str, owner: str, **values: Any) -> JobRecord:
        """Change a row under its lease. Raises LeaseLostError, and changes nothing, if another worker holds it by
        now."""
        if "status" in values and JobStatus(values["status"]).terminal:
            values.update(due_at=None, waits_since=None, requested_action=None)
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
            told = "state" in values or row.job_status.terminal
            found = reconcile_job_row(session, row) if told else JobFindings()
            session.flush()
            written = store_row_to_record(JobRecord, row)
        self._events.add_findings({job_id: found})
        return written

    def write_quote(self, job_id: str, owner: str, quote: Quote, *, monthly_budget: float | None = None) -> JobRecord:
        """Replace our quote by the provider's own, under the row's lease. Raises BudgetError, and changes nothing, if
        that brings the month above its budget, and LeaseLostError as `write` does."""
        with self.transaction() as session:
            row = session.get(JobRow, job_id, with_for_update=True)
            if row is None or row.lease_owner != owner:
                raise LeaseLostError(f"the lease on {job_id} was lost to another process; nothing was written")
            most = max_job_cost(quote)
            if monthly_budget is not None:
                hold_monthly_budget(session, monthly_budget, most, now(), backend=row.backend, without=job_id)
            row.quote, row.reserved_usd, row.updated_at = quote.model_dump(mode="json"), most, now()
            add_audit_entry(session, "job.reserve", job_id, project=row.project, usd=most, automatic=True)
            session.flush()
            return store_row_to_record(JobRecord, row)

    def reopen(self, job_id: str, owner: str, *, monthly_budget: float | None = None) -> JobRecord:
        """Make a job that has ended unfinished again, under its lease: it reserves what it cost already and the rest of
        its maximum. Raises BudgetError, and changes nothing, if that brings the month above its budget, and
        LeaseLostError as `write` does. The job is due, in case the process dies before it asks the backend."""
        with self.transaction() as session:
            row = session.get(JobRow, job_id, with_for_update=True)
            if row is None or row.lease_owner != owner:
                raise LeaseLostError(f"the lease on {job_id} was lost to another process; nothing was written")
            moment, most = now(), max_resume_cost(row)
            if monthly_budget is not None:
                hold_monthly_budget(session, monthly_budget, most, moment, backend=row.backend, without=job_id)
            row.status, row.finished_at, row.due_at, row.updated_at = JobStatus.QUEUED.value, None, moment, moment
            row.reserved_usd, row.actual, row.cost_usd = most, None, None
            add_audit_entry(session, "job.reopen", job_id, project=row.project)
            add_audit_entry(session, "job.reserve", job_id, project=row.project, usd=most, automatic=True)
            session.flush()
            return store_row_to_record(JobRecord, row)
