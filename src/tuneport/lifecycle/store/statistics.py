"""Statistics of the store: how much there is in it, for monitoring."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from tuneport.lifecycle.accounting.budgets import MonthlyJobCosts, sum_monthly_job_costs
from tuneport.lifecycle.schema.tables import EventRow, JobRequestRow, JobRow, UploadedFileRow
from tuneport.lifecycle.store.part import StorePart
from tuneport.types import JobStatus, now

if TYPE_CHECKING:
    from tuneport.estimate.learning import DurationHistory
    from tuneport.lifecycle.accounting.accuracy import EstimatedAndActualJob

OVERDUE_SECONDS = 60.0


@dataclass(frozen=True)
class StoreStatistics:
    """Counts of all projects together. `jobs`: by backend and status."""

    jobs: dict[tuple[str, str], int]
    waiting: int
    due: int
    overdue: int
    leases: int
    events: int
    files: int
    file_bytes: int


class StatisticsStore(StorePart):
    def count_totals(self) -> StoreStatistics:
        moment = now()
        with self.transaction() as session:

            def count(*conditions: object) -> int:
                return int(session.scalar(select(func.count()).select_from(JobRow).where(*conditions)) or 0)  # type: ignore[arg-type]

            by_state = select(JobRow.backend, JobRow.status, func.count()).group_by(JobRow.backend, JobRow.status)
            waiting = select(func.count()).select_from(JobRequestRow).where(JobRequestRow.state == "waiting")
            files = select(func.count(), func.coalesce(func.sum(UploadedFileRow.bytes), 0))
            number, size = session.execute(files.select_from(UploadedFileRow)).one()
            return StoreStatistics(
                jobs={(backend, status): total for backend, status, total in session.execute(by_state)},
                waiting=int(session.scalar(waiting) or 0),
                due=count(JobRow.due_at <= moment),
                overdue=count(JobRow.due_at <= moment - timedelta(seconds=OVERDUE_SECONDS)),
                leases=count(JobRow.lease_expires_at > moment),
                events=int(session.scalar(select(func.count()).select_from(EventRow)) or 0),
                files=number,
                file_bytes=int(size),
            )

    def sum_month(self) -> MonthlyJobCosts:
        """Return what the jobs of this calendar month (UTC) came to, and what the unfinished ones may still cost."""
        with self.transaction() as session:
            return sum_monthly_job_costs(session, now())

    def read_job_history(self) -> DurationHistory:
        """Return the newest jobs that succeeded and were not interrupted: what the next estimate of a duration learns
        from."""
        from tuneport.lifecycle.accounting.history import LEARNT_FROM, job_history

        columns = (JobRow.backend, JobRow.model, JobRow.estimate, JobRow.actual)
        # No bare column: SQLite would read and sort all that succeeded, by the index of states.
        succeeded = JobRow.status.concat("") == JobStatus.SUCCEEDED.value
        query = select(*columns).where(succeeded, JobRow.actual.is_not(None))
        with self.reading() as session:
            found = session.execute(query.order_by(JobRow.finished_at.desc()).limit(LEARNT_FROM)).all()
        return job_history((row.backend, row.model, row.estimate, row.actual) for row in found)

    def list_estimated_and_actual(self) -> list[EstimatedAndActualJob]:
        """Return the estimate and the actual of every job that has ended and reached its backend."""
        from tuneport.lifecycle.accounting.accuracy import EstimatedAndActualJob

        columns = (JobRow.backend, JobRow.model, JobRow.status, JobRow.quote, JobRow.estimate, JobRow.actual)
        query = select(*columns).where(JobRow.actual.is_not(None), JobRow.remote_id.is_not(None))
        with self.transaction() as session:
            return [
                EstimatedAndActualJob.from_row(*found) for found in session.execute(query.order_by(JobRow.finished_at))
            ]
