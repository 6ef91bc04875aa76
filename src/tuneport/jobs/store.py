"""The store: every job, the files that were uploaded for it, its events, and who is driving it right now.

A job's row exists before the first remote call. Rows are claimed by lease: a driver writes its name and an expiry into
the row, renews both while it works, and its results are applied only while the row still bears its name. SQLite by
default; any SQLAlchemy URL by `TUNEPORT_DATABASE_URL`.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import (
    JSON,
    DateTime,
    Dialect,
    Engine,
    ForeignKey,
    Index,
    String,
    TypeDecorator,
    UniqueConstraint,
    create_engine,
    delete,
    event,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import IntegrityError, OperationalError, SQLAlchemyError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from tuneport.errors import ConfigError, NotFoundError, TuneportError
from tuneport.types import JobError, JobEvent, JobState, JobStatus, Quote, RemoteFile, TuneSpec, now

LEASE_SECONDS = 120.0
"""Longer than the longest single remote call (60 s), so that a lease never runs out under a submit in flight."""

TERMINAL = [status.value for status in JobStatus if status.terminal]


class LeaseLostError(TuneportError):
    """Another process took the row over; whatever this one was doing must not be written."""


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


class JobRow(Base):
    """One job. Identity and intent are ours; `state` is what the backend last said."""

    __tablename__ = "jobs"
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    token: Mapped[str] = mapped_column(String(40), unique=True)
    backend: Mapped[str] = mapped_column(String(80))
    model: Mapped[str]
    spec: Mapped[dict[str, Any]]
    dataset_sha256: Mapped[str | None] = mapped_column(String(64))
    quote: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    status: Mapped[str] = mapped_column(String(20), index=True)
    remote_id: Mapped[str | None] = mapped_column(index=True)
    state: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    error: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    note: Mapped[str | None]  # why nothing moves at present, for people
    submit_intent_at: Mapped[datetime | None]  # set, and committed, before the call that spends money
    submit_attempts: Mapped[int] = mapped_column(default=0)
    absent_since: Mapped[datetime | None]  # when `find` first said ABSENT; lists lag, so it is asked twice
    cancel_requested_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    polled_at: Mapped[datetime | None]
    lease_owner: Mapped[str | None] = mapped_column(String(80))
    lease_expires_at: Mapped[datetime | None]

    @property
    def tune_spec(self) -> TuneSpec:
        return TuneSpec.model_validate(self.spec)

    @property
    def job_status(self) -> JobStatus:
        return JobStatus(self.status)

    @property
    def job_state(self) -> JobState | None:
        return None if self.state is None else JobState.model_validate(self.state)

    @property
    def job_error(self) -> JobError | None:
        return None if self.error is None else JobError.model_validate(self.error)


class RemoteFileRow(Base):
    """A file that `prepare` yielded, journalled at once, so that a crash never uploads or forgets it."""

    __tablename__ = "remote_files"
    id: Mapped[int] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    remote_id: Mapped[str]
    purpose: Mapped[str] = mapped_column(String(20))
    sha256: Mapped[str] = mapped_column(String(64))
    filename: Mapped[str]
    bytes: Mapped[int]
    created_at: Mapped[datetime]
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


Index("jobs_by_age", JobRow.created_at.desc(), JobRow.id)


class Store:
    """All reads and writes. Each method is one short transaction; no network call happens inside any of them.

    Raises ConfigError where the database cannot be opened or written.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = _open(url)
        with _explained(url):
            Base.metadata.create_all(self.engine)

    def close(self) -> None:
        self.engine.dispose()

    @contextmanager
    def _transaction(self) -> Iterator[Session]:
        with _explained(self.url), Session(self.engine, expire_on_commit=False) as session, session.begin():
            yield session

    # --- jobs -------------------------------------------------------------------------------------------------------

    def add_job(self, spec: TuneSpec, *, backend: str, model: str, quote: Quote | None) -> JobRow:
        moment = now()
        row = JobRow(
            id=f"job-{secrets.token_hex(6)}",
            token=secrets.token_hex(16),
            backend=backend,
            model=model,
            spec=spec.model_dump(mode="json"),
            quote=None if quote is None else quote.model_dump(mode="json"),
            status=JobStatus.PREPARING,
            created_at=moment,
            updated_at=moment,
        )
        with self._transaction() as session:
            session.add(row)
        return row

    def job(self, job_id: str) -> JobRow:
        """The job with that id, or the one whose id (ours or the backend's) begins so, if it is the only one."""
        with self._transaction() as session:
            exact = session.scalars(select(JobRow).where(or_(JobRow.id == job_id, JobRow.remote_id == job_id))).first()
            if exact is not None:
                return exact
            pattern = _escaped(job_id) + "%"
            if not job_id.startswith("job-"):
                pattern = "job-" + pattern
            rows = session.scalars(select(JobRow).where(JobRow.id.like(pattern, escape="\\")).limit(3)).all()
        if len(rows) == 1:
            return rows[0]
        if rows:
            listed = ", ".join(row.id for row in rows)
            raise ConfigError(f"{job_id!r} is the beginning of several jobs ({listed}); give more of the id")
        raise NotFoundError(f"no job {job_id!r} here; `tuneport jobs` lists them", provider="tuneport")

    def jobs(self, *, limit: int | None = None, unfinished: bool = False, backend: str | None = None) -> list[JobRow]:
        """Newest first."""
        query = select(JobRow).order_by(JobRow.created_at.desc(), JobRow.id).limit(limit)
        if unfinished:
            query = query.where(JobRow.status.not_in(TERMINAL))
        if backend is not None:
            query = query.where(JobRow.backend == backend)
        with self._transaction() as session:
            return list(session.scalars(query))

    def delete_job(self, job_id: str) -> None:
        with self._transaction() as session:
            session.execute(delete(JobRow).where(JobRow.id == job_id))

    def request_cancel(self, job_id: str) -> None:
        """Recorded before anything is asked of the backend, so that a crash does not forget the wish."""
        with self._transaction() as session:
            session.execute(
                update(JobRow)
                .where(JobRow.id == job_id, JobRow.cancel_requested_at.is_(None), JobRow.status.not_in(TERMINAL))
                .values(cancel_requested_at=now(), updated_at=now())
            )

    # --- leases -----------------------------------------------------------------------------------------------------

    def claim(self, job_id: str, owner: str, seconds: float = LEASE_SECONDS) -> JobRow | None:
        """Take (or renew) the lease on a row and return the row, or None where somebody else holds it."""
        moment = now()
        free = or_(
            JobRow.lease_owner.is_(None),
            JobRow.lease_owner == owner,
            JobRow.lease_expires_at < moment,
        )
        with self._transaction() as session:
            taken = session.execute(
                update(JobRow)
                .where(JobRow.id == job_id, free)
                .values(lease_owner=owner, lease_expires_at=moment + timedelta(seconds=seconds))
            )
            return session.get(JobRow, job_id) if taken.rowcount == 1 else None  # type: ignore[attr-defined]

    def release(self, job_id: str, owner: str) -> None:
        with self._transaction() as session:
            session.execute(
                update(JobRow)
                .where(JobRow.id == job_id, JobRow.lease_owner == owner)
                .values(lease_owner=None, lease_expires_at=None)
            )

    def write(self, job_id: str, owner: str, **values: Any) -> JobRow:
        """Change a row under its lease. LeaseLostError, and no change, where the lease is another's by now."""
        with self._transaction() as session:
            changed = session.execute(
                update(JobRow)
                .where(JobRow.id == job_id, JobRow.lease_owner == owner)
                .values(updated_at=now(), **values)
            )
            if changed.rowcount != 1:  # type: ignore[attr-defined]
                raise LeaseLostError(f"the lease on {job_id} was lost to another process; nothing was written")
            row = session.get(JobRow, job_id)
            assert row is not None
            return row

    # --- files and events -------------------------------------------------------------------------------------------

    def add_file(self, job_id: str, file: RemoteFile) -> None:
        """Journal a file; the same purpose again (after a crash) replaces the row."""
        with self._transaction() as session:
            session.execute(
                delete(RemoteFileRow).where(RemoteFileRow.job_id == job_id, RemoteFileRow.purpose == file.purpose)
            )
            session.add(
                RemoteFileRow(
                    job_id=job_id,
                    remote_id=file.id,
                    purpose=file.purpose,
                    sha256=file.sha256,
                    filename=file.filename,
                    bytes=file.bytes,
                    created_at=now(),
                )
            )

    def files(self, job_id: str) -> list[RemoteFile]:
        query = select(RemoteFileRow).where(RemoteFileRow.job_id == job_id).order_by(RemoteFileRow.id)
        with self._transaction() as session:
            return [
                RemoteFile.model_validate(
                    {
                        "id": row.remote_id,
                        "purpose": row.purpose,
                        "sha256": row.sha256,
                        "filename": row.filename,
                        "bytes": row.bytes,
                    }
                )
                for row in session.scalars(query)
            ]

    def add_events(self, job_id: str, events: Iterable[JobEvent], *, origin: str = "backend") -> int:
        """Append those that are not there yet, in the order given; return how many were new."""
        wanted = list(events)
        if not wanted:
            return 0
        for _ in range(5):
            try:
                return self._append_events(job_id, wanted, origin)
            except IntegrityError:  # another process appended in between: count again from what is there now
                continue
        raise ConfigError(f"the events of {job_id} could not be stored: too many writers at once; try again")

    def _append_events(self, job_id: str, events: list[JobEvent], origin: str) -> int:
        with _explained(self.url), Session(self.engine) as session, session.begin():
            known = set(session.scalars(select(EventRow.event_id).where(EventRow.job_id == job_id)))
            position = session.scalar(select(func.max(EventRow.position)).where(EventRow.job_id == job_id)) or 0
            added = 0
            for item in events:
                if item.id in known:
                    continue
                known.add(item.id)
                added += 1
                session.add(
                    EventRow(
                        job_id=job_id,
                        position=position + added,
                        event_id=item.id,
                        origin=origin,
                        created_at=item.created_at,
                        level=item.level,
                        message=item.message,
                        type=item.type,
                        data=item.data,
                    )
                )
            return added

    def events(self, job_id: str, *, after: int = 0) -> list[tuple[int, JobEvent]]:
        """The events from position `after` + 1 on, each with its position, in the order they were stored."""
        query = select(EventRow).where(EventRow.job_id == job_id, EventRow.position > after).order_by(EventRow.position)
        with self._transaction() as session:
            return [
                (
                    row.position,
                    JobEvent(
                        id=row.event_id,
                        created_at=row.created_at,
                        level=row.level,  # type: ignore[arg-type]
                        message=row.message,
                        type=row.type,
                        data=row.data,
                    ),
                )
                for row in session.scalars(query)
            ]

    def last_backend_event(self, job_id: str) -> str | None:
        """The id of the newest event that came from the backend: the cursor for the next call of `events`."""
        query = (
            select(EventRow.event_id)
            .where(EventRow.job_id == job_id, EventRow.origin == "backend")
            .order_by(EventRow.position.desc())
            .limit(1)
        )
        with self._transaction() as session:
            return session.scalar(query)


def _open(url: str) -> Engine:
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite" and parsed.database not in (None, "", ":memory:"):
            Path(str(parsed.database)).parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(parsed)
    except (SQLAlchemyError, OSError, ModuleNotFoundError) as error:
        raise ConfigError(f"the store {_masked(url)} cannot be opened: {error}; see TUNEPORT_DATABASE_URL") from error
    if engine.dialect.name == "sqlite":

        @event.listens_for(engine, "connect")
        def _pragmas(connection: Any, record: Any) -> None:
            # WAL: readers never wait for the writer, and a kill -9 leaves a whole database.
            cursor = connection.cursor()
            cursor.execute("PRAGMA journal_mode=WAL")
            cursor.execute("PRAGMA synchronous=FULL")
            cursor.execute("PRAGMA busy_timeout=15000")
            cursor.execute("PRAGMA foreign_keys=ON")
            cursor.close()
            # The driver's own transaction handling would begin late, after the first read.
            connection.isolation_level = None

        @event.listens_for(engine, "begin")
        def _begin(connection: Any) -> None:
            # IMMEDIATE: two processes that read, then write, queue up instead of failing with "database is locked".
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


@contextmanager
def _explained(url: str) -> Iterator[None]:
    try:
        yield
    except OperationalError as error:
        reason = " ".join(str(error.orig).split())
        raise ConfigError(
            f"the store {_masked(url)} does not work: {reason}; check the disk and TUNEPORT_DATABASE_URL"
        ) from error


def _masked(url: str) -> str:
    try:
        return make_url(url).render_as_string(hide_password=True)
    except SQLAlchemyError:
        return "named by TUNEPORT_DATABASE_URL"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
