"""The store: every job, the files that were uploaded for it, its events, and who is driving it right now.

A job's row exists before the first remote call. Rows are claimed by lease: a driver writes its name and an expiry into
the row, renews both while it works, and its results are applied only while the row still bears its name. SQLite by
default; any SQLAlchemy URL by `TUNEPORT_DATABASE_URL`.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, delete, event, func, or_, select, update
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DatabaseError, IntegrityError, SQLAlchemyError
from sqlalchemy.orm import Session

from tuneport.errors import ConfigError, TuneportError
from tuneport.jobs.tables import Base, EventRow, JobRow, RemoteFileRow, SchemaRow
from tuneport.types import JobEvent, JobStatus, PreparedData, Quote, RemoteFile, TuneSpec, now

SCHEMA_VERSION = 1
LEASE_SECONDS = 120.0
"""Renewed every quarter of it while its holder works. A holder that was suspended for longer has lost it."""

TERMINAL = [status.value for status in JobStatus if status.terminal]


class UnknownJobError(ConfigError):
    """The store has no such job."""


class LeaseLostError(TuneportError):
    """Another process took the row over; whatever this one was doing must not be written."""


class Store:
    """All reads and writes. Each method is one short transaction; no network call happens inside any of them.

    Raises ConfigError where the database cannot be opened or written.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = _open(url)
        with _explained(url):
            Base.metadata.create_all(self.engine)
        self._check_version()

    def close(self) -> None:
        self.engine.dispose()

    @contextmanager
    def _transaction(self) -> Iterator[Session]:
        with _explained(self.url), Session(self.engine, expire_on_commit=False) as session, session.begin():
            yield session

    def _check_version(self) -> None:
        with self._transaction() as session:
            version = session.scalar(select(func.max(SchemaRow.version)))
            if version is None:
                session.add(SchemaRow(version=SCHEMA_VERSION))
            elif version != SCHEMA_VERSION:
                raise ConfigError(
                    f"the store {_masked(self.url)} has tables of version {version} and this tuneport knows "
                    f"{SCHEMA_VERSION}; use the tuneport that made it, or name another store in TUNEPORT_DATABASE_URL"
                )

    # --- jobs -------------------------------------------------------------------------------------------------------

    def add_job(
        self, spec: TuneSpec, prepared: PreparedData, *, backend: str, model: str, quote: Quote | None
    ) -> JobRow:
        moment = now()
        row = JobRow(
            id=f"job-{secrets.token_hex(6)}",
            token=secrets.token_hex(16),
            backend=backend,
            model=model,
            spec=spec.model_dump(mode="json"),
            prepared=prepared.model_dump(mode="json"),
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
        raise UnknownJobError(f"no job {job_id!r} here; `tuneport jobs` lists them")

    def jobs(self, *, limit: int | None = None, unfinished: bool = False, backend: str | None = None) -> list[JobRow]:
        """Newest first."""
        query = select(JobRow).order_by(JobRow.created_at.desc(), JobRow.id).limit(limit)
        if unfinished:
            query = query.where(JobRow.status.not_in(TERMINAL))
        if backend is not None:
            query = query.where(JobRow.backend == backend)
        with self._transaction() as session:
            return list(session.scalars(query))

    def request_cancel(self, job_id: str) -> None:
        """Recorded before anything is asked of the backend, so that a crash does not forget the wish."""
        with self._transaction() as session:
            session.execute(
                update(JobRow)
                .where(JobRow.id == job_id, JobRow.cancel_requested_at.is_(None), JobRow.status.not_in(TERMINAL))
                .values(cancel_requested_at=now(), updated_at=now())
            )

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
        with self._transaction() as session:
            taken = session.execute(
                update(JobRow)
                .where(JobRow.id == job_id, free)
                .values(lease_owner=owner, lease_expires_at=moment + timedelta(seconds=seconds))
            )
            return session.get(JobRow, job_id) if taken.rowcount == 1 else None  # type: ignore[attr-defined]

    def renew(self, job_id: str, owner: str, seconds: float = LEASE_SECONDS) -> bool:
        """Prolong a lease that is still held; False where it was lost. Never takes one."""
        with self._transaction() as session:
            renewed = session.execute(
                update(JobRow)
                .where(JobRow.id == job_id, JobRow.lease_owner == owner)
                .values(lease_expires_at=now() + timedelta(seconds=seconds))
            )
            return renewed.rowcount == 1  # type: ignore[attr-defined, no-any-return]

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
    except IntegrityError:
        raise  # whoever broke a constraint knows what it means
    except DatabaseError as error:
        reason = " ".join(str(error.orig).split())
        raise ConfigError(
            f"the store {_masked(url)} does not work: {reason}; check the disk and TUNEPORT_DATABASE_URL, or move a "
            "damaged file aside"
        ) from error


def _masked(url: str) -> str:
    try:
        return make_url(url).render_as_string(hide_password=True)
    except SQLAlchemyError:
        return "named by TUNEPORT_DATABASE_URL"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
