"""A store of an older version is upgraded in place, with all that is in it."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import create_engine, inspect

from tuneport.jobs.database import Database
from tuneport.jobs.migrations import SCHEMA_VERSION
from tuneport.jobs.store import Store
from tuneport.types import DataFile, JobEvent, JobState, JobStatus, PreparedData, Quote, RemoteFile, TuneSpec, now

# The tables as version 1 made them.
VERSION_1 = """
CREATE TABLE schema_version (version INTEGER NOT NULL, PRIMARY KEY (version));
INSERT INTO schema_version VALUES (1);
CREATE TABLE jobs (
  id VARCHAR(40) NOT NULL, token VARCHAR(40) NOT NULL, backend VARCHAR(80) NOT NULL, model VARCHAR NOT NULL,
  spec JSON NOT NULL, prepared JSON NOT NULL, quote JSON, status VARCHAR(20) NOT NULL, remote_id VARCHAR, state JSON,
  error JSON, note VARCHAR, submit_intent_at DATETIME, submit_attempts INTEGER NOT NULL, absent_since DATETIME,
  cancel_requested_at DATETIME, created_at DATETIME NOT NULL, updated_at DATETIME NOT NULL, finished_at DATETIME,
  polled_at DATETIME, lease_owner VARCHAR(80), lease_expires_at DATETIME, PRIMARY KEY (id), UNIQUE (token));
CREATE INDEX ix_jobs_remote_id ON jobs (remote_id);
CREATE INDEX ix_jobs_status ON jobs (status);
CREATE INDEX jobs_by_age ON jobs (created_at DESC, id);
CREATE TABLE remote_files (
  id INTEGER NOT NULL, job_id VARCHAR(40) NOT NULL, remote_id VARCHAR NOT NULL, purpose VARCHAR(20) NOT NULL,
  sha256 VARCHAR(64) NOT NULL, filename VARCHAR NOT NULL, bytes INTEGER NOT NULL, created_at DATETIME NOT NULL,
  PRIMARY KEY (id), UNIQUE (job_id, purpose), FOREIGN KEY(job_id) REFERENCES jobs (id) ON DELETE CASCADE);
CREATE TABLE job_events (
  job_id VARCHAR(40) NOT NULL, position INTEGER NOT NULL, event_id VARCHAR NOT NULL, origin VARCHAR(20) NOT NULL,
  created_at DATETIME NOT NULL, level VARCHAR(10) NOT NULL, message VARCHAR NOT NULL, type VARCHAR(40) NOT NULL,
  data JSON NOT NULL, PRIMARY KEY (job_id, position), UNIQUE (job_id, event_id),
  FOREIGN KEY(job_id) REFERENCES jobs (id) ON DELETE CASCADE);
"""
MOMENT = "2026-11-01 12:00:00.000000"


def old_store(path: Path, rows: int = 3) -> str:
    """Version 1 with a succeeded, a running and a preparing job, in turn."""
    file = DataFile(path=Path("f.jsonl"), sha256="a" * 64, format="openai", rows=1, bytes=2)
    spec = TuneSpec(model="m", dataset=Path("t.jsonl"), budget=9.0).model_dump_json()
    prepared = PreparedData(training=file).model_dump_json()
    quote = Quote(backend="fake", model="m", expected=5.0, high=6.0).model_dump_json()
    with sqlite3.connect(path) as connection:
        connection.executescript(VERSION_1)
        for number in range(rows):
            status = (JobStatus.SUCCEEDED, JobStatus.RUNNING, JobStatus.PREPARING)[number % 3]
            tuned = f"ft:{number}" if status is JobStatus.SUCCEEDED else None
            remote = None if status is JobStatus.PREPARING else f"r{number}"
            state = JobState(
                remote_id=f"r{number}", status=status, raw_status="x", model="m", tuned_model=tuned, cost=tuned and 4.5
            )
            connection.execute(
                "INSERT INTO jobs (id, token, backend, model, spec, prepared, status, remote_id, state,"
                " quote, submit_attempts, created_at, updated_at)"
                " VALUES (?, ?, 'fake', 'm', ?, ?, ?, ?, ?, ?, 1, ?, ?)",
                (f"job-{number}", f"t{number}", spec, prepared, status.value, remote,
                 state.model_dump_json() if remote else None, quote, MOMENT, MOMENT),
            )  # fmt: skip
            connection.execute(
                "INSERT INTO remote_files (job_id, remote_id, purpose, sha256, filename, bytes, created_at)"
                " VALUES (?, 'file-1', 'training', ?, 'x', 2, ?)", (f"job-{number}", "a" * 64, MOMENT),
            )  # fmt: skip
            connection.execute(
                "INSERT INTO job_events VALUES (?, 1, 'e1', 'backend', ?, 'info', 'hello', 'message', ?)",
                (f"job-{number}", MOMENT, json.dumps({})),
            )
    connection.close()
    return f"sqlite:///{path}"


def test_nothing_is_lost_and_what_is_new_is_filled_in(tmp_path: Path) -> None:
    store = Store(old_store(tmp_path / "store.db"))
    assert [row.status for row in reversed(store.jobs())] == ["preparing", "running", "succeeded"]
    done, runs = store.job("job-0"), store.job("job-1")
    assert done.tuned_model == "ft:0" and store.job_of_model("ft:0").id == "job-0"  # type: ignore[union-attr]
    assert done.due_at is None and runs.due_at == runs.created_at and not runs.delete_files
    assert (done.budget_usd, done.reserved_usd, done.cost_usd) == (9.0, 6.0, 4.5)
    assert (runs.budget_usd, runs.reserved_usd, runs.cost_usd) == (9.0, 6.0, None) and not runs.cancel_over_budget
    assert runs.job_estimate is None and done.job_actual is None, "nobody wrote them down then"
    assert [event.message for _, event in store.events("job-1")] == ["hello"]
    assert [file.id for file in store.files("job-1")] == ["file-1"]
    assert [job.id for job in store.take_due("fake", now(), hold=9, sweep_from=5, along=0.5)[0]] == ["job-1"]
    assert store.first_showing("backend openai", ["text"]) and not store.first_showing("backend openai", ["text"])
    store.add_events("job-1", [JobEvent(id="e2", created_at=now(), message="m")])
    store.add_file("job-1", RemoteFile(id="f", purpose="validation", sha256="b" * 64, filename="y", bytes=1))
    store.close()
    again = Store(store.url)
    assert len(again.jobs()) == 3
    again.close()


@pytest.mark.parametrize(
    ("status", "cost", "kept"),
    [("succeeded", 0.0, None), ("succeeded", 7.0, 7.0), ("succeeded", 7e9, None), ("succeeded", None, None),
     ("cancelled", 0.0, None), ("failed", 0.0, 0.0)],
)  # fmt: skip
def test_a_sum_of_together_s_in_an_unknown_unit_is_kept_only_near_its_quote(
    tmp_path: Path, status: str, cost: float | None, kept: float | None
) -> None:
    url = old_store(tmp_path / "store.db", rows=1)
    state = JobState(remote_id="r0", status=JobStatus(status), raw_status="x", model="m", cost=cost)
    with sqlite3.connect(tmp_path / "store.db") as connection:
        connection.execute(
            "UPDATE jobs SET backend = 'together', status = ?, state = ?, finished_at = ?",
            (status, state.model_dump_json(), f"{now():%Y-%m-%d %H:%M:%S}.000000"),
        )
    connection.close()
    store = Store(url)
    assert store.job("job-0").cost_usd == kept
    assert store.month().spent == (6.0 if kept is None else kept), "unknown counts as the most that it was to cost"
    store.close()


def _type(type_: object) -> str:
    return str(type_).replace("TIMESTAMP", "DATETIME").replace("BIGINT", "INTEGER")


def test_an_upgraded_store_has_the_tables_of_a_new_one(tmp_path: Path) -> None:
    def tables(url: str) -> dict[str, object]:
        database = Database(url)
        found = inspect(database.engine)
        shape: dict[str, object] = {}
        for name in sorted(found.get_table_names()):
            # SQLite's integers have one size, whatever a column calls it.
            columns = {(column["name"], _type(column["type"]), column["nullable"])
                       for column in found.get_columns(name)}  # fmt: skip
            shape[name] = (
                columns,
                {(index["name"], tuple(index["column_names"])) for index in found.get_indexes(name)},
            )
        database.close()
        return shape

    assert tables(old_store(tmp_path / "old.db")) == tables(f"sqlite:///{tmp_path / 'new.db'}")


@pytest.mark.full
def test_postgresql_is_upgraded_the_same_way(postgres: str) -> None:
    engine = create_engine(postgres)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE SCHEMA migration")
        connection.exec_driver_sql("SET search_path TO migration")
        for statement in VERSION_1.replace("DATETIME", "TIMESTAMP").split(";"):
            if statement.strip():
                connection.exec_driver_sql(statement)
        file = DataFile(path=Path("f.jsonl"), sha256="a" * 64, format="openai", rows=1, bytes=2)
        state = JobState(remote_id="r", status=JobStatus.SUCCEEDED, raw_status="x", model="m", tuned_model="ft:0")
        connection.exec_driver_sql(
            "INSERT INTO jobs (id, token, backend, model, spec, prepared, status, remote_id, state, submit_attempts,"
            " created_at, updated_at) VALUES ('job-0', 't', 'fake', 'm', %s, %s, 'succeeded', 'r', %s, 1, %s, %s)",
            (
                TuneSpec(model="m", dataset=Path("t.jsonl")).model_dump_json(),
                PreparedData(training=file).model_dump_json(),
                state.model_dump_json(),
                MOMENT,
                MOMENT,
            ),
        )
    engine.dispose()
    url = f"{postgres}?options=-csearch_path%3Dmigration"
    with ThreadPoolExecutor(4) as pool:
        stores = list(pool.map(lambda _: Store(url), range(4)))
    assert stores[0].job("job-0").tuned_model == "ft:0" and not stores[0].job("job-0").delete_files
    stores[0].add_job(
        TuneSpec(model="m", dataset=Path("t")), PreparedData(training=file), backend="b", model="m", quote=None
    )
    assert stores[0].due_backends() == ["b"]
    for store in stores:
        store.close()


def test_many_processes_that_open_it_at_once_upgrade_it_once(tmp_path: Path) -> None:
    url = old_store(tmp_path / "store.db", rows=300)
    with ThreadPoolExecutor(6) as pool:
        stores = list(pool.map(lambda _: Store(url), range(6)))
    assert all(len(store.jobs()) == 300 for store in stores)
    with stores[0].engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT version FROM schema_version").scalars().all() == [SCHEMA_VERSION]
    for store in stores:
        store.close()


def test_a_new_store_may_be_opened_by_many_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        for number in range(10):  # SQLite refuses some of those who change it to WAL together, but not every time
            url = f"sqlite:///{tmp_path / f'{number}.db'}"
            for store in list(pool.map(Store, [url] * 8)):
                assert store.jobs() == []
                store.close()


def test_killed_in_the_middle_it_is_of_one_version_or_the_other(tmp_path: Path) -> None:
    url = old_store(tmp_path / "store.db")
    script = textwrap.dedent(f"""
        import os, signal
        from tuneport.jobs import migrations
        from tuneport.jobs.store import Store

        original = migrations.STEPS[2]

        def dies(session):
            original(session)
            os.kill(os.getpid(), signal.SIGKILL)

        migrations.STEPS[2] = dies
        Store({url!r})
    """)
    assert subprocess.run([sys.executable, "-c", script], timeout=120).returncode == -9
    store = Store(url)
    assert store.job("job-0").tuned_model == "ft:0" and len(store.jobs()) == 3
    store.close()
