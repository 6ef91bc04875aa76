"""The database behind the store: how it is opened, what one transaction is, and errors in one line."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import tenacity
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DatabaseError, DataError, IntegrityError, SQLAlchemyError
from sqlalchemy.orm import Session

from tuneport import private
from tuneport.errors import ConfigError, StorageError
from tuneport.files import hold_file_lock
from tuneport.lifecycle.schema.damage import store_damaged_error
from tuneport.lifecycle.schema.migrations import SCHEMA_VERSION, create_schema, migrate_schema, read_schema_version
from tuneport.lifecycle.schema.read_only import is_store_read_only, open_read_only_store

T = TypeVar("T")

_LOCK = 0x74756E65
_ALONE = _LOCK + 1
"""Keys of PostgreSQL's advisory locks: any numbers that no other program uses in this database."""
_BUSY_SECONDS = 15  # for others who write to an SQLite file


_IDS_AT_ONCE = 500  # in one statement; SQLite takes 999 parameters in its oldest builds


def split_for_store_statement(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """Yield the items in parts, each small enough for one statement of any database."""
    for start in range(0, len(items), _IDS_AT_ONCE):
        yield items[start : start + _IDS_AT_ONCE]


class StoreUnavailableError(ConfigError, StorageError):
    """The database does not answer, or not now: locked, full, restarting, damaged. No job is at fault."""


class StoreDatabase:
    """An open database. Opening it makes or upgrades the tables; raises ConfigError if that fails."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = open_store_engine(url)
        self.read_only: bool = self.engine.get_execution_options().get("read_only", False)
        self._reading = self.engine.execution_options(reading=True)
        self._thread_alone = threading.Lock()
        with explain_database_errors(url):
            self._make_or_upgrade()

    @property
    def is_postgresql(self) -> bool:
        return self.engine.dialect.name == "postgresql"

    def close(self) -> None:
        self.engine.dispose()

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        with (
            explain_database_errors(self.url),
            Session(self.engine, expire_on_commit=False) as session,
            session.begin(),
        ):
            yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Provide a session that writes nothing: with SQLite it waits for no writer and blocks none."""
        with (
            explain_database_errors(self.url),
            Session(self._reading, expire_on_commit=False) as session,
            session.begin(),
        ):
            yield session

    @contextmanager
    def hold_store_lock(self) -> Iterator[None]:
        """Hold the one lock of all threads and processes on this store, on any machine. It is no transaction:
        transactions run within and beside it."""
        with self._thread_alone:  # of one process one waits at most, and leaves the others their connections
            if self.is_postgresql:
                with explain_database_errors(self.url), self.engine.begin() as connection:
                    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_ALONE})")
                    yield
            else:
                with hold_file_lock(self._lock_beside()):
                    yield

    def _lock_beside(self) -> Path:
        """Return the lock file beside SQLite's own file: a process that can open the one has the other."""
        path = Path(f"{self.engine.url.database}.lock")
        try:
            private.make_private_file(path)
            return path
        except OSError as error:
            raise StoreUnavailableError(
                f"{path} cannot be written: {error.strerror}; correct that, or move it"
            ) from error

    def _make_or_upgrade(self) -> None:
        """Create missing tables as they now are and migrate older ones, all or nothing, in whichever process comes
        first."""
        with self.transaction() as session:
            connection = session.connection()
            lock_store_tables(connection)
            version = read_schema_version(connection)
            if self.read_only and version != SCHEMA_VERSION:
                raise ConfigError(
                    f"the store {mask_store_url(self.url)} is read-only and has version {version}, but this "
                    f"tuneport reads version {SCHEMA_VERSION}; upgrade it in a place that can be written, or copy it"
                )
            if version is None:
                create_schema(connection)
            elif version < SCHEMA_VERSION:
                migrate_schema(connection, version, SCHEMA_VERSION)
            elif version > SCHEMA_VERSION:
                raise ConfigError(
                    f"the store {mask_store_url(self.url)} has tables of version {version} and this tuneport knows "
                    f"{SCHEMA_VERSION}; use the tuneport that made it, or name another store in TUNEPORT_DATABASE_URL"
                )


def lock_store_tables(connection: Connection) -> None:
    """Keep other processes from making or altering tables until the transaction ends. SQLite's transactions queue up by
    themselves."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")


def _write_ahead(cursor: sqlite3.Cursor) -> None:
    """Switch SQLite to WAL: readers never wait for the writer, and a kill -9 leaves a whole database.

    If several processes change a new database to it at once, SQLite refuses some without waiting for `busy_timeout`.
    """
    tenacity.Retrying(
        retry=tenacity.retry_if_exception(
            lambda error: isinstance(error, sqlite3.OperationalError) and "locked" in str(error)
        ),
        stop=tenacity.stop_after_delay(_BUSY_SECONDS),
        wait=tenacity.wait_fixed(0.02),
        reraise=True,
    )(cursor.execute, "PRAGMA journal_mode=WAL")


def open_store_engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite" and parsed.database not in (None, "", ":memory:"):
            if is_store_read_only(Path(str(parsed.database))):
                return open_read_only_store(parsed)
            _make_privately(Path(str(parsed.database)))
        engine = create_engine(parsed)
    except (SQLAlchemyError, OSError, ModuleNotFoundError) as error:
        raise ConfigError(
            f"the store {mask_store_url(url)} cannot be opened: {error}; see TUNEPORT_DATABASE_URL"
        ) from error
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


def _make_privately(path: Path) -> None:
    """Create the file with owner-only mode. SQLite gives that mode to the files beside it, and would by itself let
    others read it."""
    private.make_private_folder(path.parent)
    with suppress(OSError):  # SQLite says it in its own words
        private.make_private_file(path)
    private.make_files_private(path.with_name(path.name + end) for end in ("", "-wal", "-shm", "-journal", ".lock"))


@contextmanager
def explain_database_errors(url: str) -> Iterator[None]:
    try:
        yield
    except IntegrityError:
        raise  # the caller that broke a constraint knows what it means
    except DataError as error:  # what was asked is at fault, and no store gets better by waiting
        reason = str(error.orig).partition("\n")[0]
        raise ConfigError(f"the store takes no such value: {reason}") from error
    except DatabaseError as error:
        reason = " ".join(str(error.orig).split())
        if "readonly database" in reason:
            raise StoreUnavailableError(
                f"the store {mask_store_url(url)} is read-only, and this would change it; set TUNEPORT_HOME to a "
                "folder that can be written"
            ) from error
        raise StoreUnavailableError(
            f"the store {mask_store_url(url)} does not work: {reason}; check the disk and TUNEPORT_DATABASE_URL, or "
            "move a damaged file aside"
        ) from error
    except (ValueError, TypeError, ArithmeticError, LookupError, RecursionError) as error:
        if not _arose_in_reading(error):
            raise  # a mistake of ours
        raise store_damaged_error(f"the store {mask_store_url(url)}", error) from error


def _arose_in_reading(error: Exception) -> bool:
    """Return whether the error arose while SQLAlchemy turned stored data into values: text, dates, JSON, names of
    columns."""
    frame = error.__traceback__
    while frame is not None:
        if "/sqlalchemy/" in frame.tb_frame.f_code.co_filename.replace("\\", "/"):
            return True
        frame = frame.tb_next
    return False


def mask_store_url(url: str) -> str:
    try:
        return make_url(url).render_as_string(hide_password=True)
    except SQLAlchemyError:
        return "named by TUNEPORT_DATABASE_URL"
