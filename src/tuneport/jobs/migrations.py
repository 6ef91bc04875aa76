"""From older tables to these, in place: for each version, what turns the one before it into it.

Each step runs within the transaction that writes the new version, so a store is of one version or the other, never
between. Statements are plain SQL that SQLite and PostgreSQL both take.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from tuneport.jobs.actuals import PLAUSIBLE, within
from tuneport.jobs.tables import (
    JobRequestRow,
    JobRow,
    SchemaRow,
    ShownTermsRow,
    UploadedFileRow,
    UploadPartRow,
    UploadRow,
)
from tuneport.types import JobStatus

SCHEMA_VERSION = 4

_TO_2 = (
    "ALTER TABLE jobs ADD COLUMN due_at TIMESTAMP",
    "ALTER TABLE jobs ADD COLUMN waits_since TIMESTAMP",
    "ALTER TABLE jobs ADD COLUMN tuned_model VARCHAR",
    "ALTER TABLE jobs ADD COLUMN wish VARCHAR(10)",
    "ALTER TABLE jobs ADD COLUMN delete_files BOOLEAN DEFAULT false NOT NULL",
    "ALTER TABLE jobs ADD COLUMN delete_requested_at TIMESTAMP",
    "ALTER TABLE jobs ADD COLUMN deleted_at TIMESTAMP",
    "ALTER TABLE jobs ADD COLUMN events_due BOOLEAN DEFAULT false NOT NULL",
    "ALTER TABLE remote_files ADD COLUMN deleting_at TIMESTAMP",
    "ALTER TABLE remote_files ADD COLUMN deleted_at TIMESTAMP",
    "CREATE INDEX ix_jobs_due_at ON jobs (due_at)",
    "CREATE INDEX ix_jobs_tuned_model ON jobs (tuned_model)",
    "CREATE INDEX remote_files_by_id ON remote_files (remote_id)",
)


def _to_2(session: Session) -> None:
    """When a job is due, whose tuned model a name is, wishes, files to delete and terms shown."""
    connection = session.connection()
    for statement in _TO_2:
        connection.exec_driver_sql(statement)
    ShownTermsRow.__table__.create(connection)  # type: ignore[attr-defined]
    unfinished = [status.value for status in JobStatus if not status.terminal]
    session.execute(update(JobRow).where(JobRow.status.in_(unfinished)).values(due_at=JobRow.created_at))
    states = session.execute(select(JobRow.id, JobRow.state).where(JobRow.status == JobStatus.SUCCEEDED.value)).all()
    named = [
        {"id": job_id, "tuned_model": state["tuned_model"]}
        for job_id, state in states
        if state and state.get("tuned_model")
    ]
    if named:
        session.execute(update(JobRow), named)


_TO_3 = (
    "ALTER TABLE jobs ADD COLUMN estimate JSON",
    "ALTER TABLE jobs ADD COLUMN actual JSON",
    "ALTER TABLE jobs ADD COLUMN running_at TIMESTAMP",
    "ALTER TABLE jobs ADD COLUMN running_by VARCHAR(10)",
    "ALTER TABLE jobs ADD COLUMN budget_usd FLOAT",
    "ALTER TABLE jobs ADD COLUMN reserved_usd FLOAT",
    "ALTER TABLE jobs ADD COLUMN cost_usd FLOAT",
    "ALTER TABLE jobs ADD COLUMN cancel_over_budget BOOLEAN DEFAULT false NOT NULL",
    "ALTER TABLE jobs ADD COLUMN usd_per_hour FLOAT",
    "ALTER TABLE jobs ADD COLUMN idle_seconds FLOAT DEFAULT 0 NOT NULL",
    "ALTER TABLE jobs ADD COLUMN idle_since TIMESTAMP",
    "CREATE INDEX ix_jobs_finished_at ON jobs (finished_at)",
)


def _to_3(session: Session) -> None:
    """Estimates beside actuals. Of jobs that are there: what their budget, quote and end say."""
    connection = session.connection()
    for statement in _TO_3:
        connection.exec_driver_sql(statement)
    columns = (JobRow.id, JobRow.spec, JobRow.quote, JobRow.status, JobRow.remote_id, JobRow.state, JobRow.backend)
    filled = []
    for job_id, spec, quote, status, remote_id, state, backend in session.execute(select(*columns)).all():
        quote = quote or {}
        cost = None
        if JobStatus(status).terminal:
            cost = 0.0 if remote_id is None else (state or {}).get("cost")
            if backend == "together" and remote_id is not None and not _believable(cost, status, quote):
                cost = None
        most = quote.get("high") if quote.get("high") is not None else quote.get("expected")
        filled.append({"id": job_id, "budget_usd": spec.get("budget"), "reserved_usd": most, "cost_usd": cost})
    if filled:
        session.execute(update(JobRow), filled)


def _believable(cost: float | None, status: str, quote: Mapping[str, Any]) -> bool:
    """Whether what an older version read in Together's `total_price`, which is in a unit that nobody documents and zero
    as long as there is none, is a sum: of a failed job, which is refunded, or near its quote."""
    if not cost:
        return status == JobStatus.FAILED.value
    return bool(quote.get("expected")) and within(cost, quote["expected"], PLAUSIBLE)


def _to_4(session: Session) -> None:
    """The gateway: files that its clients upload, of 8 GB and more, and the jobs that they ask for."""
    if session.get_bind().dialect.name == "postgresql":  # SQLite's integers have no size
        session.connection().exec_driver_sql("ALTER TABLE remote_files ALTER COLUMN bytes TYPE BIGINT")
    for table in (UploadedFileRow, UploadRow, UploadPartRow, JobRequestRow):
        table.__table__.create(session.connection())  # type: ignore[attr-defined]


STEPS: dict[int, Callable[[Session], None]] = {2: _to_2, 3: _to_3, 4: _to_4}


def upgrade(session: Session, version: int) -> None:
    """From `version` to SCHEMA_VERSION, within the session's transaction."""
    for number in range(version + 1, SCHEMA_VERSION + 1):
        STEPS[number](session)
    session.execute(update(SchemaRow).values(version=SCHEMA_VERSION))
