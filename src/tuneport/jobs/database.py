"""The database behind the store: how it is opened, what one transaction is, and errors in one line."""

from __future__ import annotations

import fcntl
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DatabaseError, DataError, IntegrityError, SQLAlchemyError
from sqlalchemy.orm import Session

from tuneport.errors import ConfigError, StorageError
from tuneport.jobs.migrations import SCHEMA_VERSION, create, migrate, version_of

_LOCK = 0x74756E65
_ALONE = _LOCK + 1
"""For PostgreSQL's advisory locks: any numbers that nobody else uses in this database."""
_BUSY_SECONDS = 15  # for others who write to an SQLite file


class StoreUnavailableError(ConfigError, StorageError):
    """The database does not answer, or not now: locked, full, restarting, damaged. No job is at fault."""


class Database:
    """Opens the tables, making or upgrading them. ConfigError where that cannot be done."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = open_engine(url)
        self._reading = self.engine.execution_options(reading=True)
        self._thread_alone = threading.Lock()
        with explained(url):
            self._make_or_upgrade()

    def close(self) -> None:
        self.engine.dispose()

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        with explained(self.url), Session(self.engine, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """For what writes nothing: at SQLite it waits for no writer and holds none up."""
        with explained(self.url), Session(self._reading, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def alone(self) -> Iterator[None]:
        """One at a time, of all threads and processes on this store, on whichever machine. Not a transaction: those
        go on within and beside it."""
        with self._thread_alone:  # of one process one waits at most, and leaves the others their connections
            if self.engine.dialect.name == "postgresql":
                with explained(self.url), self.engine.begin() as connection:
                    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_ALONE})")
                    yield
            else:
                with self._lock_beside() as file:
                    fcntl.flock(file, fcntl.LOCK_EX)
                    yield

    def _lock_beside(self) -> TextIO:
        """A file beside SQLite's own: whoever has the one has the other."""
        path = f"{self.engine.url.database}.lock"
        try:
            return open(path, "w")
        except OSError as error:
            raise StoreUnavailableError(f"{path} cannot be written: {error.strerror}; mend that, or move it") from error

    def _make_or_upgrade(self) -> None:
        """New tables are made as they now are; older ones are altered, all or nothing, whoever comes first."""
        with self.transaction() as session:
            connection = session.connection()
            keep_others_out(connection)
            version = version_of(connection)
            if version is None:
                create(connection)
            elif version < SCHEMA_VERSION:
                migrate(connection, version, SCHEMA_VERSION)
            elif version > SCHEMA_VERSION:
                raise ConfigError(
                    f"the store {masked(self.url)} has tables of version {version} and this tuneport knows "
                    f"{SCHEMA_VERSION}; use the tuneport that made it, or name another store in TUNEPORT_DATABASE_URL"
                )


def keep_others_out(connection: Connection) -> None:
    """Until the transaction ends, nobody else makes or alters tables. SQLite's transactions queue up by themselves."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")


def _write_ahead(cursor: sqlite3.Cursor) -> None:
    """WAL: readers never wait for the writer, and a kill -9 leaves a whole database.

    Where several change a new database to it at once, SQLite refuses some without heeding `busy_timeout`.
    """
    patience = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > patience:
                raise
            time.sleep(0.02)


def open_engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite" and parsed.database not in (None, "", ":memory:"):
            Path(str(parsed.database)).parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(parsed)
    except (SQLAlchemyError, OSError, ModuleNotFoundError) as error:
        raise ConfigError(f"the store {masked(url)} cannot be opened: {error}; see TUNEPORT_DATABASE_URL") from error
    if engine.dialect.name == "sqlite":

        @event.listens_for(engine, "connect")
        def _pragmas(connection: Any, record: Any) -> None:
            cursor = connection.cursor()
            cursor.execute(f"PRAGMA busy_timeout={_BUSY_SECONDS * 1000}")
            _write_ahead(cursor)
            cursor.execute("PRAGMA synchronous=FULL")
            cursor.execute("PRAGMA foreign_keys=ON")
            cursor.close()
            # The driver's own transaction handling would begin late, after the first read.
            connection.isolation_level = None

        @event.listens_for(engine, "begin")
        def _begin(connection: Any) -> None:
            # IMMEDIATE: two processes that read, then write, queue up instead of failing with "database is locked".
            reading = connection.get_execution_options().get("reading", False)
            connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")

    return engine


@contextmanager
def explained(url: str) -> Iterator[None]:
    try:
        yield
    except IntegrityError:
        raise  # whoever broke a constraint knows what it means
    except DataError as error:  # what was asked is at fault, and no store gets better by waiting
        reason = str(error.orig).partition("\n")[0]
        raise ConfigError(f"the store takes no such value: {reason}") from error
    except DatabaseError as error:
        reason = " ".join(str(error.orig).split())
        raise StoreUnavailableError(
            f"the store {masked(url)} does not work: {reason}; check the disk and TUNEPORT_DATABASE_URL, or move a "
            "damaged file aside"
        ) from error


def masked(url: str) -> str:
    try:
        return make_url(url).render_as_string(hide_password=True)
    except SQLAlchemyError:
        return "named by TUNEPORT_DATABASE_URL"
