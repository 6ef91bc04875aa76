"""Operator's commands for the store: where it is, its version and size, and migration to another version."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, func, inspect, select, text
from sqlalchemy.engine import make_url

from tuneport.errors import ConfigError
from tuneport.lifecycle.schema.database import (
    StoreDatabase,
    explain_database_errors,
    lock_store_tables,
    mask_store_url,
    open_store_engine,
)
from tuneport.lifecycle.schema.migrations import (
    SCHEMA_VERSION,
    list_schema_migration_losses,
    migrate_schema,
    read_schema_version,
)
from tuneport.lifecycle.schema.tables import Base, JobRow, SchemaRow
from tuneport.types import now


@dataclass(frozen=True)
class StoreSchemaReport:
    """A report on the store. `version` is None if there is no store yet; `rows` has the tables of this tuneport that
    exist."""

    url: str
    version: int | None
    known_version: int = SCHEMA_VERSION
    bytes: int = 0
    rows: dict[str, int] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def inspect_store(url: str) -> StoreSchemaReport:
    """Read the store's location, version and size. Nothing is made or upgraded. Raises ConfigError if the database
    cannot be opened."""
    if _absent(url):
        return StoreSchemaReport(mask_store_url(url), None)
    with _connected(url) as connection:
        version = read_schema_version(connection)
        if version is None:
            return StoreSchemaReport(mask_store_url(url), None, bytes=_bytes(connection, url))
        there = set(inspect(connection).get_table_names())
        own = [name for name in Base.metadata.tables if name in there and name != SchemaRow.__tablename__]
        rows = {name: connection.scalar(text(f"SELECT count(*) FROM {name}")) or 0 for name in own}
        return StoreSchemaReport(mask_store_url(url), version, bytes=_bytes(connection, url), rows=rows)


def upgrade_store(url: str) -> StoreSchemaReport:
    """Make the store, or migrate it to this tuneport's version. Raises ConfigError if it is newer."""
    StoreDatabase(url).close()
    return inspect_store(url)


def list_downgrade_losses(url: str, to: int) -> list[str]:
    """Return what a downgrade to that version loses, in lines. Raises ConfigError if there is no downgrade to it."""
    _refuse_absent(url)
    with _connected(url) as connection:
        return list_schema_migration_losses(connection, _downgradable(connection, url, to), to)


def downgrade_store(url: str, to: int) -> StoreSchemaReport:
    """Migrate the store down to that version, all steps or none. Raises ConfigError if there is no such step, or if a
    process works on the store's jobs."""
    _refuse_absent(url)
    with _connected(url) as connection:
        lock_store_tables(connection)
        version = _downgradable(connection, url, to)
        held = select(func.count()).where(JobRow.lease_owner.is_not(None), JobRow.lease_expires_at > now())
        if busy := connection.scalar(held):
            raise ConfigError(
                f"{busy} job{'s are' if busy > 1 else ' is'} being worked on in {mask_store_url(url)}; stop every "
                "gateway and command that uses it, wait two minutes if one was killed, and try again"
            )
        migrate_schema(connection, version, to)
    return inspect_store(url)


def _downgradable(connection: Connection, url: str, to: int) -> int:
    version = read_schema_version(connection)
    if version is None or version > SCHEMA_VERSION:
        has = "no tables yet" if version is None else f"tables of version {version}, which this tuneport does not know"
        raise ConfigError(f"the store {mask_store_url(url)} has {has}; there is nothing that can be downgraded")
    if not 1 <= to < version:
        below = f"1 to {version - 1}" if version > 2 else "1" if version == 2 else "none"
        raise ConfigError(
            f"the store {mask_store_url(url)} is of version {version}; versions below it are {below}, not {to}"
        )
    return version


@contextmanager
def _connected(url: str) -> Iterator[Connection]:
    """Provide one transaction, which leaves the store as it is if anything fails."""
    engine = open_store_engine(url)
    try:
        with explain_database_errors(url), engine.begin() as connection:
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
        raise ConfigError(f"there is no store at {mask_store_url(url)} yet; the first command that needs one makes it")


def _bytes(connection: Connection, url: str) -> int:
    if (file := _file(url)) is not None:
        parts = (file, file.with_name(file.name + "-wal"))
        return sum(part.stat().st_size for part in parts if part.exists())
    if connection.dialect.name == "postgresql":
        return connection.scalar(text("SELECT pg_database_size(current_database())")) or 0
    return 0
