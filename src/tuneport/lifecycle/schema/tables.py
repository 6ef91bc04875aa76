"""The store's tables, as SQLAlchemy maps them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    DDL,
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    String,
    TypeDecorator,
    UniqueConstraint,
    event,
    false,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from tuneport.lifecycle.schema.records import JobColumns
from tuneport.lifecycle.schema.scope import DEFAULT_PROJECT, refuse_missing_project


class UtcDateTime(TypeDecorator[datetime]):
    """Aware in Python, UTC in the database (SQLite forgets time zones)."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.replace(tzinfo=UTC)


class Base(DeclarativeBase):
    type_annotation_map = {datetime: UtcDateTime, dict[str, Any]: JSON}


class ProjectColumns:
    """Columns of a row that belongs to a project: other projects do not see it. A new row names its project."""

    project: Mapped[str] = mapped_column(String(64), default=refuse_missing_project, server_default=DEFAULT_PROJECT)


class SchemaRow(Base):
    """One row: which version of tuneport's tables this database has."""

    __tablename__ = "schema_version"
    version: Mapped[int] = mapped_column(primary_key=True)


class JobRow(JobColumns, ProjectColumns, Base):
    """One job. Identity and intent are ours; `state` is what the backend last said.

    `prepared` is the dataset as it was when the job was submitted: what is uploaded, whatever happens to the original.
    """

    __tablename__ = "jobs"
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    token: Mapped[str] = mapped_column(String(40), unique=True)
    backend: Mapped[str] = mapped_column(String(80))
    model: Mapped[str]
    spec: Mapped[dict[str, Any]]
    prepared: Mapped[dict[str, Any]]
    quote: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    status: Mapped[str] = mapped_column(String(20), index=True)
    remote_id: Mapped[str | None] = mapped_column(index=True)
    state: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    error: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    note: Mapped[str | None]  # why nothing moves at present, for people
    submit_intent_at: Mapped[datetime | None]  # set, and committed, before the call that spends money
    submit_attempts: Mapped[int] = mapped_column(default=0)
    cancel_requested_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    finished_at: Mapped[datetime | None] = mapped_column(index=True)
    polled_at: Mapped[datetime | None]
    lease_owner: Mapped[str | None] = mapped_column(String(80))
    lease_expires_at: Mapped[datetime | None]
    # Since version 2. `due_at`: when it is polled next; None for good once it has ended.
    due_at: Mapped[datetime | None] = mapped_column(index=True)
    waits_since: Mapped[datetime | None]  # for a slot among the jobs that the account may have at once
    tuned_model: Mapped[str | None] = mapped_column(index=True)
    requested_action: Mapped[str | None] = mapped_column("wish", String(10), key="requested_action")
    """`pause`, `resume` or `stop`, written down before the backend is asked."""
    delete_files: Mapped[bool] = mapped_column(default=False, server_default=false())  # at the provider, once it ended
    delete_requested_at: Mapped[datetime | None]  # the request to delete the tuned model
    deleted_at: Mapped[datetime | None]  # when the tuned model was deleted
    events_due: Mapped[bool] = mapped_column(default=False, server_default=false())  # there are more over there
    # Since version 3: what was expected, and what it came to. The sums are columns of their own, so that a month's
    # can be added up by the database.
    estimate: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    actual: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    running_at: Mapped[datetime | None]  # when it began to train
    running_by: Mapped[str | None] = mapped_column(String(10))  # "backend" said so; or "seen", by us, later than it was
    budget_usd: Mapped[float | None] = mapped_column(Float)
    reserved_usd: Mapped[float | None] = mapped_column(Float)  # the most that it may cost; None: unknown
    cost_usd: Mapped[float | None] = mapped_column(Float)  # what it cost, once it has ended; None: unknown
    cancel_over_budget: Mapped[bool] = mapped_column(default=False, server_default=false())
    usd_per_hour: Mapped[float | None] = mapped_column(Float)  # of the estimate: such a job costs more as time goes by
    idle_seconds: Mapped[float] = mapped_column(Float, default=0.0, server_default=text("0"))  # see `training_time`
    idle_since: Mapped[datetime | None]
    # Since version 9: `curve` is the last verdict on its curve, of `curve_at`; of `stopped_early` see `stopping`.
    stop_on_overfit: Mapped[bool] = mapped_column(default=False, server_default=false())
    curve: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    curve_at: Mapped[datetime | None]
    stopped_early: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    # Since version 10: see `submission`. `recheck_at`: when to look for a second job that was started by mistake.
    submission: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    recheck_at: Mapped[datetime | None]
    announced_end: Mapped[datetime | None]  # the `finished_at` of the end of which those who wait for it are told


@event.listens_for(JobRow, "load")
def _refuse_bytes(row: JobRow, context: object) -> None:
    row.check_text()


class RemoteFileRow(Base):
    """A file that `prepare` yielded, recorded at once, so that a crash never uploads it twice or forgets it."""

    __tablename__ = "remote_files"
    id: Mapped[int] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    remote_id: Mapped[str]
    purpose: Mapped[str] = mapped_column(String(20))
    sha256: Mapped[str] = mapped_column(String(64))
    filename: Mapped[str]
    bytes: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime]
    # Since version 2. A deletion is written down before it is asked for; see `RemoteFileJournal.claim_deletion`.
    deleting_at: Mapped[datetime | None]
    deleted_at: Mapped[datetime | None]
    __table_args__ = (UniqueConstraint("job_id", "purpose"),)


class EventRow(Base):
    """One event of a job, each stored once: `(job_id, event_id)` is unique, `position` counts from 1."""

    __tablename__ = "job_events"
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    event_id: Mapped[str]
    origin: Mapped[str] = mapped_column(String(20))  # "tuneport" or "backend"
    created_at: Mapped[datetime]
    level: Mapped[str] = mapped_column(String(10))
    message: Mapped[str]
    type: Mapped[str] = mapped_column(String(40))
    data: Mapped[dict[str, Any]]
    __table_args__ = (UniqueConstraint("job_id", "event_id"),)


class ShownTermsRow(Base):
    """Terms that were shown: `subject` says whose, `digest` is of their text, so that changed ones are shown again."""

    __tablename__ = "shown_terms"
    subject: Mapped[str] = mapped_column(String(200), primary_key=True)
    digest: Mapped[str] = mapped_column(String(64))
    shown_at: Mapped[datetime]


class UploadedFileRow(ProjectColumns, Base):
    """A file as a client of the gateway knows it: one that it uploaded, or the results of its job.

    Its bytes lie in `Contents` under their hash, once for all equal files.
    """

    __tablename__ = "uploaded_files"
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64), index=True)
    filename: Mapped[str]
    purpose: Mapped[str] = mapped_column(String(30))
    bytes: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(index=True)
    expires_at: Mapped[datetime | None]


class UploadRow(ProjectColumns, Base):
    """A file that is uploaded in parts, until it is completed or cancelled, or has expired."""

    __tablename__ = "uploads"
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    filename: Mapped[str]
    purpose: Mapped[str] = mapped_column(String(30))
    bytes: Mapped[int] = mapped_column(BigInteger)
    status: Mapped[str] = mapped_column(String(10))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    file_seconds: Mapped[int | None]  # how long the file is kept, once it is one
    file_id: Mapped[str | None] = mapped_column(String(40))


class UploadPartRow(Base):
    __tablename__ = "upload_parts"
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    upload_id: Mapped[str] = mapped_column(ForeignKey("uploads.id", ondelete="CASCADE"), index=True)
    sha256: Mapped[str] = mapped_column(String(64), index=True)
    bytes: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime]


class JobRequestRow(ProjectColumns, Base):
    """A client's request to the gateway: the job of the same id is made from it in the background.

    `state`: `waiting` until the job's row is there, then `taken`; `failed` or `cancelled` if it never was.
    `tuned_model` is the name by which the client will ask for the model, once there is one.
    """

    __tablename__ = "job_requests"
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    body: Mapped[dict[str, Any]]
    backend: Mapped[str | None] = mapped_column(String(80))
    tuned_model: Mapped[str] = mapped_column(index=True)
    # Of projects other than the default one a hash of project and key: the same key of two projects is no clash.
    idempotency_key: Mapped[str | None] = mapped_column(String(255), unique=True)
    state: Mapped[str] = mapped_column(String(10), index=True)
    error: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    lease_owner: Mapped[str | None] = mapped_column(String(80))
    lease_expires_at: Mapped[datetime | None]
    results_file: Mapped[str | None] = mapped_column(String(40))
    results_at: Mapped[datetime | None]  # when it was settled whether there are any


class EndpointRow(Base):
    """An endpoint that is notified of ends of jobs, by its name in a gateway's configuration, which alone has addresses
    and secrets. A process that sees a job end finds here which endpoints to notify.

    `seen_at`: when a gateway that has it last said so.
    """

    __tablename__ = "endpoints"
    name: Mapped[str] = mapped_column(String(80), primary_key=True)
    kind: Mapped[str] = mapped_column(String(10))  # "webhook" or "notify"
    events: Mapped[list[str]] = mapped_column(JSON)
    seen_at: Mapped[datetime]


class DeliveryRow(Base):
    """A notification to one endpoint, written in the transaction in which the job ended, until it is delivered.

    `id` is the `webhook-id` of every attempt; `event_id` is the same for all endpoints. `state`: `waiting`,
    `delivered`, or `dead` after the last attempt; only waiting ones are due.
    """

    __tablename__ = "deliveries"
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    endpoint: Mapped[str] = mapped_column(String(80))
    kind: Mapped[str] = mapped_column(String(10))
    event_id: Mapped[str] = mapped_column(String(40))
    type: Mapped[str] = mapped_column(String(40))
    job_id: Mapped[str] = mapped_column(String(40), index=True)
    state: Mapped[str] = mapped_column(String(10))
    created_at: Mapped[datetime] = mapped_column(index=True)
    due_at: Mapped[datetime | None] = mapped_column(index=True)
    began_at: Mapped[datetime]  # start of the days after which it is given up
    attempts: Mapped[int] = mapped_column(default=0)
    last_status: Mapped[int | None]  # of HTTP
    last_error: Mapped[str | None]
    ended_at: Mapped[datetime | None]
    lease_owner: Mapped[str | None] = mapped_column(String(80))
    lease_expires_at: Mapped[datetime | None]


class TokenRow(Base):
    """A secret that identifies a client of the gateway; only its SHA-256 is kept.

    `project` None means all projects, which only a token with the scope admin has. Only `revoked_at` and `last_used_at`
    ever change, so that two counts tell whether anything did; see `TokenStore.count_tokens`.
    """

    __tablename__ = "tokens"
    id: Mapped[str] = mapped_column(String(12), primary_key=True)
    name: Mapped[str] = mapped_column(String(64))
    digest: Mapped[str] = mapped_column(String(64))
    scope: Mapped[str] = mapped_column(String(10))
    project: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]  # to the minute


class BrowserSessionRow(Base):
    """A browser that was let in with a token, and may what the token may, as long as that lives. `digest` is the
    SHA-256 of its cookie."""

    __tablename__ = "browser_sessions"
    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    token_id: Mapped[str] = mapped_column(ForeignKey("tokens.id", ondelete="CASCADE"))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)


class AuditRow(Base):
    """An entry of the audit log: only ever added, in the transaction of the action, or soon after for chats; the
    database refuses to change or remove one. It holds no secrets, no contents of files, and no text of a conversation.

    `usd`: for `job.reserve` the most that the job may cost, for `job.end` and `chat.answer` the cost.
    """

    __tablename__ = "audit_log"
    id: Mapped[int] = mapped_column(primary_key=True)
    created_at: Mapped[datetime] = mapped_column(index=True)
    project: Mapped[str] = mapped_column(String(64))
    name: Mapped[str] = mapped_column(String(64))
    token_id: Mapped[str | None] = mapped_column(String(12))
    address: Mapped[str | None] = mapped_column(String(64))
    request_id: Mapped[str | None] = mapped_column(String(40))
    action: Mapped[str] = mapped_column(String(40))
    subject: Mapped[str] = mapped_column(String(200))
    usd: Mapped[float | None] = mapped_column(Float)
    prompt_tokens: Mapped[int | None]  # since version 8, of chats
    completion_tokens: Mapped[int | None]


_LIVE = text("revoked_at IS NULL")
Index("tokens_by_name", TokenRow.name, unique=True, sqlite_where=_LIVE, postgresql_where=_LIVE)
Index("job_requests_by_project", JobRequestRow.project, JobRequestRow.created_at.desc(), JobRequestRow.id)
Index("uploaded_files_by_project", UploadedFileRow.project, UploadedFileRow.created_at.desc(), UploadedFileRow.id)
Index("jobs_by_project", JobRow.project, JobRow.created_at.desc(), JobRow.id)
Index("job_requests_by_age", JobRequestRow.created_at.desc(), JobRequestRow.id)
Index("remote_files_by_id", RemoteFileRow.remote_id)
Index("jobs_by_age", JobRow.created_at.desc(), JobRow.id)


def _keep_audit_log() -> None:
    """Create the triggers that protect the audit log: an account that can write to the store cannot rewrite entries. On
    PostgreSQL the tables' owner still can, after removing the triggers."""
    refuse = """CREATE TRIGGER audit_log_no_{verb} BEFORE {verb} ON audit_log
        BEGIN SELECT RAISE(ABORT, 'the audit log is only added to'); END"""
    function = """CREATE OR REPLACE FUNCTION audit_log_is_kept() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'the audit log is only added to'; END $$"""
    call = """CREATE TRIGGER audit_log_no_{verb} BEFORE {verb} ON audit_log
        FOR EACH STATEMENT EXECUTE FUNCTION audit_log_is_kept()"""
    statements = [("sqlite", refuse.format(verb=verb)) for verb in ("update", "delete")]
    statements += [("postgresql", function)]
    statements += [("postgresql", call.format(verb=verb)) for verb in ("update", "delete", "truncate")]
    for dialect, statement in statements:
        event.listen(AuditRow.__table__, "after_create", DDL(statement).execute_if(dialect=dialect))  # type: ignore[no-untyped-call]


_keep_audit_log()
