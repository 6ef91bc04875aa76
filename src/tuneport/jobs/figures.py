"""How much there is in the store, for whoever watches a gateway."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import func, select

from tuneport.jobs.asking import everything
from tuneport.jobs.database import Database
from tuneport.jobs.tables import EventRow, JobRequestRow, JobRow, UploadedFileRow
from tuneport.types import now

OVERDUE_SECONDS = 60.0


@dataclass(frozen=True)
class Figures:
    """`jobs`: by backend and status. Of all projects together."""

    jobs: dict[tuple[str, str], int]
    waiting: int
    due: int
    overdue: int
    leases: int
    events: int
    files: int
    file_bytes: int


class StoredFigures(Database):
    def figures(self) -> Figures:
        moment = now()
        with everything(), self.transaction() as session:

            def count(*conditions: object) -> int:
                return int(session.scalar(select(func.count()).select_from(JobRow).where(*conditions)) or 0)  # type: ignore[arg-type]

            by_state = select(JobRow.backend, JobRow.status, func.count()).group_by(JobRow.backend, JobRow.status)
            waiting = select(func.count()).select_from(JobRequestRow).where(JobRequestRow.state == "waiting")
            files = select(func.count(), func.coalesce(func.sum(UploadedFileRow.bytes), 0))
            number, size = session.execute(files.select_from(UploadedFileRow)).one()
            return Figures(
                jobs={(backend, status): total for backend, status, total in session.execute(by_state)},
                waiting=int(session.scalar(waiting) or 0),
                due=count(JobRow.due_at <= moment),
                overdue=count(JobRow.due_at <= moment - timedelta(seconds=OVERDUE_SECONDS)),
                leases=count(JobRow.lease_expires_at > moment),
                events=int(session.scalar(select(func.count()).select_from(EventRow)) or 0),
                files=number,
                file_bytes=int(size),
            )
