"""What an operator asks of the store: where it is, of which version, how large; and up or down to another version."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, func, inspect, select, text
from sqlalchemy.engine import make_url

from tuneport.errors import ConfigError
from tuneport.jobs.database import Database, explained, keep_others_out, masked, open_engine
from tuneport.jobs.migrations import SCHEMA_VERSION, losses, migrate, version_of
from tuneport.jobs.tables import Base, JobRow, SchemaRow
from tuneport.types import now


@dataclass(frozen=True)
class StoreReport:
    """`version` is None where there is no store yet; `rows` has the tables of this tuneport that are there."""

    url: str
    version: int | None
    known_version: int = SCHEMA_VERSION
    bytes: int = 0
    rows: dict[str, int] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def look(url: str) -> StoreReport:
    """Read only: nothing is made or upgraded. ConfigError where the database cannot be opened."""
    if _absent(url):
        return StoreReport(masked(url), None)
    with _connected(url) as connection:
        version = version_of(connection)
        if version is None:
            return StoreReport(masked(url), None, bytes=_bytes(connection, url))
        there = set(inspect(connection).get_table_names())
        own = [name for name in Base.metadata.tables if name in there and name != SchemaRow.__tablename__]
        rows = {name: connection.scalar(text(f"SELECT count(*) FROM {name}")) or 0 for name in own}
        return StoreReport(masked(url), version, bytes=_bytes(connection, url), rows=rows)


def upgrade(url: str) -> StoreReport:
    """Make the store, or bring it to this tuneport's version. ConfigError where it is newer."""
    Database(url).close()
    return look(url)


def what_is_lost(url: str, to: int) -> list[str]:
    """By a downgrade to that version, in lines. ConfigError where there is none to that version."""
    _refuse_absent(url)
    with _connected(url) as connection:
        return losses(connection, _downgradable(connection, url, to), to)


def downgrade(url: str, to: int) -> StoreReport:
    """All steps or none. ConfigError where there is no such step, or where something works on the store's jobs."""
    _refuse_absent(url)
    with _connected(url) as connection:
        keep_others_out(connection)
        version = _downgradable(connection, url, to)
        held = select(func.count()).where(JobRow.lease_owner.is_not(None), JobRow.lease_expires_at > now())
        if busy := connection.scalar(held):
            raise ConfigError(
                f"{busy} job{'s are' if busy > 1 else ' is'} being worked on in {masked(url)}; stop every gateway and "
                "command that uses it, wait two minutes if one was killed, and try again"
            )
        migrate(connection, version, to)
    return look(url)


def _downgradable(connection: Connection, url: str, to: int) -> int:
    version = version_of(connection)
    if version is None or version > SCHEMA_VERSION:
        has = "no tables yet" if version is None else f"tables of version {version}, which this tuneport does not know"
        raise ConfigError(f"the store {masked(url)} has {has}; there is nothing that can be downgraded")
    if not 1 <= to < version:
        below = f"1 to {version - 1}" if version > 2 else "1" if version == 2 else "none"
        raise ConfigError(f"the store {masked(url)} is of version {version}; versions below it are {below}, not {to}")
    return version


@contextmanager
def _connected(url: str) -> Iterator[Connection]:
    """One transaction, which leaves the store as it is where anything fails."""
    engine = open_engine(url)
    try:
        with explained(url), engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


def _file(url: str) -> Path | None:
    parsed = make_url(url)
    in_file = parsed.get_backend_name() == "sqlite" and parsed.database not in (None, "", ":memory:")
    return Path(str(parsed.database)) if in_file else None


def _absent(url: str) -> bool:
    file = _file(url)
    return file is not None and not file.exists()


def _refuse_absent(url: str) -> None:
    if _absent(url):
        raise ConfigError(f"there is no store at {masked(url)} yet; the first command that needs one makes it")


def _bytes(connection: Connection, url: str) -> int:
    if (file := _file(url)) is not None:
        parts = (file, file.with_name(file.name + "-wal"))
        return sum(part.stat().st_size for part in parts if part.exists())
    if connection.dialect.name == "postgresql":
        return connection.scalar(text("SELECT pg_database_size(current_database())")) or 0
    return 0
