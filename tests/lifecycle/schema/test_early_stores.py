"""Stores of the first tuneports of versions 3 and 4, whose `jobs` had three columns fewer under the same number.

`early_stores/` holds what those tuneports wrote: three jobs at the fake backend, and the first events of each.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import create_engine, inspect

from tests.lifecycle.schema.test_migrations import differences, postgresql_store
from tuneport.cli.main import main
from tuneport.lifecycle.schema import store_admin
from tuneport.lifecycle.schema.migrations import SCHEMA_VERSION
from tuneport.lifecycle.store.store import Store

DUMPS = Path(__file__).parent / "early_stores"
LATER = {"usd_per_hour", "idle_seconds", "idle_since"}
KEPT = "SELECT id, status, tuned_model, budget_usd, cost_usd, actual FROM jobs ORDER BY id"


def early_store(folder: Path, version: int) -> Path:
    path = folder / "store.db"
    with sqlite3.connect(path) as connection:
        connection.executescript((DUMPS / f"version_{version}.sql").read_text(encoding="utf-8"))
    connection.close()
    return path


def rows(path: Path) -> tuple[set[str], list[tuple[object, ...]]]:
    """The columns of `jobs`, and what each version since 3 keeps of them; read without any code of tuneport's."""
    with sqlite3.connect(path) as connection:
        columns = {row[1] for row in connection.execute("PRAGMA table_info(jobs)")}
        kept = connection.execute(KEPT).fetchall()
    connection.close()
    return columns, kept


def complete(url: str) -> None:
    engine = create_engine(url)
    with engine.connect() as connection:
        assert differences(connection) == []
    engine.dispose()


@pytest.mark.parametrize("version", [3, 4])
def test_an_early_store_goes_up_down_and_up_with_its_jobs(
    tmp_path: Path, version: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = early_store(tmp_path, version)
    url = f"sqlite:///{path}"
    columns, before = rows(path)
    assert not LATER & columns and len(before) == 3, "the dump is of a store as it was then"
    monkeypatch.setenv("TUNEPORT_DATABASE_URL", url)
    done = next(row[0] for row in before if row[1] == "succeeded")
    for command in (["jobs"], ["show", str(done)], ["logs", str(done)], ["jobs", "--costs"]):
        assert main(command) == 0, capsys.readouterr().err
    assert "Created job" in capsys.readouterr().out
    complete(url)
    for to in (4, 3):
        store_admin.downgrade_store(url, to)
        assert rows(path)[1] == before and rows(path)[0] >= LATER
    Store(url).close()
    complete(url)
    assert {row.id: row.idle_seconds for row in Store(url).unscoped().jobs.all()} == {row[0]: 0.0 for row in before}


@pytest.mark.parametrize("to", [2, 3, 8])
def test_one_that_was_upgraded_without_them_is_mended_on_its_way(tmp_path: Path, to: int) -> None:
    """As the tuneports before this one left it: the newest number, and the columns missing."""
    path = early_store(tmp_path, 3)
    url = f"sqlite:///{path}"
    Store(url).close()
    with sqlite3.connect(path) as connection:
        for column in LATER:
            connection.execute(f"ALTER TABLE jobs DROP COLUMN {column}")
    connection.close()
    store_admin.downgrade_store(url, to)
    Store(url).close()
    complete(url)
    assert store_admin.inspect_store(url).version == SCHEMA_VERSION and store_admin.inspect_store(url).rows["jobs"] == 3


@pytest.mark.full
def test_postgresql_s_early_tables_are_completed(postgres: str) -> None:
    url = postgresql_store(postgres, "early")
    Store(url).close()
    store_admin.downgrade_store(url, 4)
    engine = create_engine(url)
    with engine.begin() as connection:
        for column in LATER:
            connection.exec_driver_sql(f"ALTER TABLE jobs DROP COLUMN {column}")
        connection.exec_driver_sql("ALTER TABLE remote_files ALTER COLUMN bytes TYPE INTEGER")
    Store(url).close()
    complete(url)
    store_admin.downgrade_store(url, 3)
    Store(url).close()
    complete(url)
    with engine.connect() as connection:
        assert {column["name"] for column in inspect(connection).get_columns("jobs")} >= LATER
    engine.dispose()
