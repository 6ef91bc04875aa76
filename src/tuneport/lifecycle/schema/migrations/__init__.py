"""Migrations of the tables, up and down, in place: Alembic revisions in `versions/`, a file each.

A revision's id is the number of the store's version in four digits. To add one: `versions/vN_what.py` with `upgrade`,
`downgrade`, and a text that says what a downgrade loses (`LOSES`, and `DROPS`, tables whose rows are counted); then
SCHEMA_VERSION, and the tables in `lifecycle/schema/tables.py`. Revisions know no models: those change, and a revision
does not.

`schema_version` says which version a store has, and every tuneport so far reads it, also those that were released
before Alembic. Alembic's own table follows it. Alembic is imported only if there is something to change.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Column, Connection, MetaData, String, Table, delete, func, insert, inspect, select, text

from tuneport.lifecycle.schema.tables import Base, SchemaRow

SCHEMA_VERSION = 11

ALEMBIC = Table("alembic_version", MetaData(), Column("version_num", String(32), nullable=False))
"""Alembic's own table, but for the key's name."""
_ONE_AT_A_TIME = threading.Lock()  # Alembic's `op` is one for the whole process


def schema_revision(version: int) -> str:
    return f"{version:04}"


def read_schema_version(connection: Connection) -> int | None:
    """Return the store's version, or None for an empty database."""
    if not inspect(connection).has_table(SchemaRow.__tablename__):
        return None
    return connection.scalar(select(func.max(SchemaRow.version)))


def create_schema(connection: Connection) -> None:
    """Create all tables as they now are in an empty database."""
    Base.metadata.create_all(connection)
    connection.execute(insert(SchemaRow).values(version=SCHEMA_VERSION))
    _stamp(connection, SCHEMA_VERSION)


def migrate_schema(connection: Connection, version: int, to: int) -> None:
    """Migrate from `version`, which the store has (0: nothing), up or down to another, in the connection's
    transaction."""
    from alembic import command

    with _environment(connection) as config:
        if version:
            _stamp(connection, version)  # of a store from before Alembic; or of one that its tuneport changed since
            _complete(connection, version)
        (command.upgrade if to > version else command.downgrade)(config, schema_revision(to))


def _complete(connection: Connection, version: int) -> None:
    """Bring a store to what its version now means: the tables of versions 3 and 4 grew while they had these numbers.

    The columns that are there decide, not the number, so that a store is repaired whatever upgraded it since.
    """
    from alembic.operations import Operations
    from alembic.runtime.migration import MigrationContext

    from tuneport.lifecycle.schema.migrations.versions import v3_actuals, v4_gateway

    with Operations.context(MigrationContext.configure(connection)):
        for number, revision in ((3, v3_actuals), (4, v4_gateway)):
            if version >= number:
                revision.complete_schema(connection)


def list_schema_migration_losses(connection: Connection, version: int, to: int) -> list[str]:
    """Return what a downgrade loses, newest first: a line for each step, with the number of rows."""
    from alembic.script import ScriptDirectory

    told = []
    script = ScriptDirectory.from_config(_config())
    for number in range(version, to, -1):
        module = script.get_revision(schema_revision(number)).module
        counts = [(table, connection.scalar(text(f"SELECT count(*) FROM {table}"))) for table in module.DROPS]
        rows = ", ".join(f"{table} {count:,}" for table, count in counts)
        told.append(f"{number}: {module.LOSES}" + (f" (rows: {rows})" if rows else ""))
    return told


def record_schema_version(ctx: Any, step: Any, heads: Any, run_args: Any) -> None:
    """Record the number that every tuneport reads, after each revision and in its transaction."""
    reached = [step.up_revision_id] if step.is_upgrade else step.down_revision_ids
    if reached:  # below the first there is no such table
        ctx.connection.execute(delete(SchemaRow))
        ctx.connection.execute(insert(SchemaRow).values(version=int(reached[0])))


def _stamp(connection: Connection, version: int) -> None:
    ALEMBIC.create(connection, checkfirst=True)
    connection.execute(delete(ALEMBIC))
    connection.execute(insert(ALEMBIC).values(version_num=schema_revision(version)))


def _config() -> Any:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return config


@contextmanager
def _environment(connection: Connection) -> Iterator[Any]:
    with _ONE_AT_A_TIME:
        config = _config()
        config.attributes["connection"] = connection
        yield config
