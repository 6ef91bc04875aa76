"""A store of an older version is upgraded in place, with all that is in it, and goes back again."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, Integer, create_engine, inspect, text
from sqlalchemy.exc import DBAPIError

from tuneport.cli.main import main
from tuneport.errors import ConfigError
from tuneport.lifecycle.schema import migrations, store_admin
from tuneport.lifecycle.schema.database import StoreDatabase
from tuneport.lifecycle.schema.migrations import SCHEMA_VERSION
from tuneport.lifecycle.store.store import Store
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
    with sqlite3.connect(path) as connection:
        fill(connection, rows)
    connection.close()
    return f"sqlite:///{path}"


def fill(connection: sqlite3.Connection, rows: int = 3) -> None:
    file = DataFile(path=Path("f.jsonl"), sha256="a" * 64, format="openai", rows=1, bytes=2)
    names = ("provider_defaults", "format", "system", "template", "ignored_columns", "keep_unliked", "inline_images")
    later: Any = {**dict.fromkeys(names, True), "hyperparameters": {"packing"}}
    spec = TuneSpec(model="m", dataset=Path("t.jsonl"), budget=9.0).model_dump_json(exclude=later)
    prepared = PreparedData(training=file).model_dump_json()
    quote = Quote(backend="fake", model="m", expected=5.0, high=6.0).model_dump_json()
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


def test_nothing_is_lost_and_what_is_new_is_filled_in(tmp_path: Path) -> None:
    store = Store(old_store(tmp_path / "store.db")).unscoped()
    assert [row.status for row in reversed(store.jobs.all())] == ["preparing", "running", "succeeded"]
    done, runs = store.jobs.get("job-0"), store.jobs.get("job-1")
    assert done.tuned_model == "ft:0" and store.models.find_job("ft:0").id == "job-0"  # type: ignore[union-attr]
    assert done.due_at is None and runs.due_at == runs.created_at and not runs.delete_files
    assert (done.budget_usd, done.reserved_usd, done.cost_usd) == (9.0, 6.0, 4.5)
    assert (runs.budget_usd, runs.reserved_usd, runs.cost_usd) == (9.0, 6.0, None) and not runs.cancel_over_budget
    assert runs.job_estimate is None and done.job_actual is None, "nobody wrote them down then"
    assert [event.message for _, event in store.events.list_job_events("job-1")] == ["hello"]
    assert [file.id for file in store.files.list_job_files("job-1")] == ["file-1"]
    assert [job.id for job in store.schedule.take_due("fake", now(), hold=9, sweep_from=5, along=0.5)[0]] == ["job-1"]
    assert store.terms.first_showing("backend openai", ["text"]) and not store.terms.first_showing(
        "backend openai", ["text"]
    )
    store.events.add("job-1", [JobEvent(id="e2", created_at=now(), message="m")])
    store.files.add("job-1", RemoteFile(id="f", purpose="validation", sha256="b" * 64, filename="y", bytes=1))
    store.close()
    again = Store(store.url).unscoped()
    assert len(again.jobs.all()) == 3
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
    store = Store(url).unscoped()
    assert store.jobs.get("job-0").cost_usd == kept
    assert store.statistics.sum_month().spent == (6.0 if kept is None else kept), (
        "unknown counts as the most that it was to cost"
    )
    store.close()


# What the releases before Alembic did for each version: their stores are out there.
RELEASED = {
    2: """
ALTER TABLE jobs ADD COLUMN due_at TIMESTAMP;
ALTER TABLE jobs ADD COLUMN waits_since TIMESTAMP;
ALTER TABLE jobs ADD COLUMN tuned_model VARCHAR;
ALTER TABLE jobs ADD COLUMN wish VARCHAR(10);
ALTER TABLE jobs ADD COLUMN delete_files BOOLEAN DEFAULT false NOT NULL;
ALTER TABLE jobs ADD COLUMN delete_requested_at TIMESTAMP;
ALTER TABLE jobs ADD COLUMN deleted_at TIMESTAMP;
ALTER TABLE jobs ADD COLUMN events_due BOOLEAN DEFAULT false NOT NULL;
ALTER TABLE remote_files ADD COLUMN deleting_at TIMESTAMP;
ALTER TABLE remote_files ADD COLUMN deleted_at TIMESTAMP;
CREATE INDEX ix_jobs_due_at ON jobs (due_at);
CREATE INDEX ix_jobs_tuned_model ON jobs (tuned_model);
CREATE INDEX remote_files_by_id ON remote_files (remote_id);
CREATE TABLE shown_terms (subject VARCHAR(200) NOT NULL, digest VARCHAR(64) NOT NULL, shown_at TIMESTAMP NOT NULL,
  PRIMARY KEY (subject));
UPDATE jobs SET due_at = created_at WHERE status <> 'succeeded';
UPDATE schema_version SET version = 2;
""",
    3: """
ALTER TABLE jobs ADD COLUMN estimate JSON;
ALTER TABLE jobs ADD COLUMN actual JSON;
ALTER TABLE jobs ADD COLUMN running_at TIMESTAMP;
ALTER TABLE jobs ADD COLUMN running_by VARCHAR(10);
ALTER TABLE jobs ADD COLUMN budget_usd FLOAT;
ALTER TABLE jobs ADD COLUMN reserved_usd FLOAT;
ALTER TABLE jobs ADD COLUMN cost_usd FLOAT;
ALTER TABLE jobs ADD COLUMN cancel_over_budget BOOLEAN DEFAULT false NOT NULL;
ALTER TABLE jobs ADD COLUMN usd_per_hour FLOAT;
ALTER TABLE jobs ADD COLUMN idle_seconds FLOAT DEFAULT 0 NOT NULL;
ALTER TABLE jobs ADD COLUMN idle_since TIMESTAMP;
CREATE INDEX ix_jobs_finished_at ON jobs (finished_at);
UPDATE jobs SET cost_usd = 4.5 WHERE status = 'succeeded';
UPDATE schema_version SET version = 3;
""",
    4: """
CREATE TABLE uploaded_files (
  id VARCHAR(40) NOT NULL, sha256 VARCHAR(64) NOT NULL, filename VARCHAR NOT NULL, purpose VARCHAR(30) NOT NULL,
  bytes BIGINT NOT NULL, created_at TIMESTAMP NOT NULL, expires_at TIMESTAMP, PRIMARY KEY (id));
CREATE INDEX ix_uploaded_files_created_at ON uploaded_files (created_at);
CREATE INDEX ix_uploaded_files_sha256 ON uploaded_files (sha256);
CREATE TABLE uploads (
  id VARCHAR(40) NOT NULL, filename VARCHAR NOT NULL, purpose VARCHAR(30) NOT NULL, bytes BIGINT NOT NULL,
  status VARCHAR(10) NOT NULL, created_at TIMESTAMP NOT NULL, expires_at TIMESTAMP NOT NULL, file_seconds INTEGER,
  file_id VARCHAR(40), PRIMARY KEY (id));
CREATE TABLE upload_parts (
  id VARCHAR(40) NOT NULL, upload_id VARCHAR(40) NOT NULL, sha256 VARCHAR(64) NOT NULL, bytes BIGINT NOT NULL,
  created_at TIMESTAMP NOT NULL, PRIMARY KEY (id), FOREIGN KEY(upload_id) REFERENCES uploads (id) ON DELETE CASCADE);
CREATE INDEX ix_upload_parts_sha256 ON upload_parts (sha256);
CREATE INDEX ix_upload_parts_upload_id ON upload_parts (upload_id);
CREATE TABLE job_requests (
  id VARCHAR(40) NOT NULL, body JSON NOT NULL, backend VARCHAR(80), tuned_model VARCHAR NOT NULL,
  idempotency_key VARCHAR(255), state VARCHAR(10) NOT NULL, error JSON, created_at TIMESTAMP NOT NULL,
  finished_at TIMESTAMP, lease_owner VARCHAR(80), lease_expires_at TIMESTAMP, results_file VARCHAR(40),
  results_at TIMESTAMP, PRIMARY KEY (id), UNIQUE (idempotency_key));
CREATE INDEX ix_job_requests_state ON job_requests (state);
CREATE INDEX ix_job_requests_tuned_model ON job_requests (tuned_model);
CREATE INDEX job_requests_by_age ON job_requests (created_at DESC, id);
INSERT INTO uploaded_files VALUES ('file-1', 'aa', 'x', 'fine-tune', 9000000000, '2026-11-01 12:00:00', NULL);
UPDATE schema_version SET version = 4;
""",
}
KNOWN = {
    1: "SELECT id, token, status, spec, state, quote, created_at, remote_id FROM jobs ORDER BY id",
    2: "SELECT id, due_at, tuned_model, delete_files, events_due FROM jobs ORDER BY id",
    3: "SELECT id, cost_usd, idle_seconds FROM jobs ORDER BY id",
    4: "SELECT id, bytes, filename FROM uploaded_files",
}
"""What a version knows that the one before it does not."""
BELOW = range(1, SCHEMA_VERSION)


def differences(connection: Connection) -> list[object]:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from tuneport.lifecycle.schema.tables import Base

    def type_differs(context: Any, column: Any, mapped: Any, there: object, wanted: object) -> bool | None:
        alike = context.dialect.name == "sqlite" and isinstance(there, Integer) and isinstance(wanted, Integer)
        return False if alike else None  # SQLite's integers have one size, whatever a column calls it

    options = {"compare_type": type_differs, "compare_server_default": True}
    return compare_metadata(MigrationContext.configure(connection, opts=options), Base.metadata)


def as_released(engine: Engine, version: int) -> None:
    """From version 1 to that one, as the releases of then did."""
    with engine.begin() as connection:
        for number in range(2, version + 1):
            for statement in RELEASED[number].split(";"):
                if statement.strip():
                    connection.exec_driver_sql(statement)


def known(engine: Engine, version: int) -> dict[int, list[tuple[object, ...]]]:
    """All that a store of that version knows, with the rows that hang on its jobs."""
    with engine.connect() as connection:
        # What is JSON in PostgreSQL comes as objects, in SQLite as text.
        found = {
            number: [tuple(map(str, row)) for row in connection.execute(text(query))]
            for number, query in KNOWN.items() if number <= version
        }  # fmt: skip
        for table in ("job_events", "remote_files"):
            found[1] += [tuple(map(str, row)) for row in connection.execute(text(
                f"SELECT job_id, created_at FROM {table} ORDER BY job_id"))]  # fmt: skip
        return found


def there_and_back(url: str, version: int) -> None:
    """A released store of that version, upgraded and taken back to each version below and up again."""
    engine = create_engine(url)
    as_released(engine, min(version, 4))
    before = known(engine, version)
    assert len(before[1]) >= 3
    Store(url).close()
    assert known(engine, version) == before
    for to in reversed(BELOW):
        store_admin.downgrade_store(url, to)
        assert store_admin.inspect_store(url).version == to
        kept = min(to, version)
        assert known(engine, kept) == {number: before[number] for number in range(1, kept + 1)}
        with engine.connect() as connection:
            assert connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all() == [f"{to:04}"]
    Store(url).close()
    assert known(engine, 1) == {1: before[1]}
    with engine.connect() as connection:
        assert differences(connection) == []
    engine.dispose()


@pytest.mark.parametrize("version", range(1, 5))
def test_each_released_version_goes_up_and_down_with_its_data(tmp_path: Path, version: int) -> None:
    there_and_back(old_store(tmp_path / "store.db"), version)


def test_tables_that_were_made_are_those_that_were_migrated(tmp_path: Path) -> None:
    made = StoreDatabase(f"sqlite:///{tmp_path / 'new.db'}")
    empty = create_engine(f"sqlite:///{tmp_path / 'from-nothing.db'}")
    with empty.begin() as connection:
        migrations.migrate_schema(connection, 0, SCHEMA_VERSION)
    with sqlite3.connect(tmp_path / "other.db") as other:
        other.executescript("CREATE TABLE other (x INTEGER)")
    shapes = []
    for engine in (made.engine, empty):
        with engine.connect() as connection:
            assert differences(connection) == []
        found = inspect(engine)
        shapes.append({(table, index["name"], tuple(index["column_names"]))
                       for table in found.get_table_names() for index in found.get_indexes(table)})  # fmt: skip
    assert shapes[0] == shapes[1]
    with create_engine(f"sqlite:///{tmp_path / 'other.db'}").connect() as connection:
        assert differences(connection), "what differs is told"
    made.close()
    empty.dispose()


TRIGGERS = {
    "sqlite": "SELECT name FROM sqlite_master WHERE type = 'trigger'",
    "postgresql": "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal AND tgrelid = 'audit_log'::regclass",
}


def triggers(connection: Connection) -> set[str]:
    return set(connection.exec_driver_sql(TRIGGERS[connection.dialect.name]).scalars())


@pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgresql", marks=pytest.mark.full)])
def test_the_audit_log_is_kept_from_version_7_on(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    if kind == "postgresql":
        url = empty_schema(request.getfixturevalue("postgres"), "audited")
    store = Store(url).unscoped()
    assert store.tokens.add("me", scope="read")[0]
    entries = [migrated.id for migrated in store.audit.page(limit=10)[0]]
    with store.database.engine.connect() as connection:
        made = triggers(connection)
    store.close()
    assert entries and store_admin.downgrade_store(url, 6).version == 6
    engine = create_engine(url)
    with engine.begin() as connection:
        assert triggers(connection) == set()
        connection.exec_driver_sql("UPDATE audit_log SET name = 'changed'")
    assert store_admin.upgrade_store(url).version == SCHEMA_VERSION
    with engine.connect() as connection:
        assert triggers(connection) == made and len(made) >= 2
    with pytest.raises(DBAPIError, match="only added to"), engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM audit_log")
    store = Store(url).unscoped()
    assert [(kept.id, kept.name) for kept in store.audit.page(limit=10)[0]] == [(id_, "changed") for id_ in entries]
    store.close()
    engine.dispose()


def test_revisions_are_in_a_row_and_say_what_going_back_loses() -> None:
    from alembic.script import ScriptDirectory

    script = ScriptDirectory.from_config(migrations._config())
    found = [revision.revision for revision in reversed(list(script.walk_revisions()))]
    assert found == [f"{number:04}" for number in range(1, SCHEMA_VERSION + 1)]
    for revision in script.walk_revisions():
        assert revision.module.LOSES and isinstance(revision.module.DROPS, tuple)


def test_a_command_that_finds_its_tables_imports_no_alembic(tmp_path: Path) -> None:
    script = f"""
import sys
from tuneport.lifecycle.store.store import Store
for _ in range(2):  # made, then found
    Store("sqlite:///{tmp_path / "store.db"}").close()
print([name for name in sys.modules if name.split(".")[0] in ("alembic", "mako")])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_operators_see_the_store_and_go_back_only_on_purpose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def ask(*arguments: str) -> tuple[int, dict[str, object]]:
        code = main(["store", *arguments, "--json"])
        return code, json.loads(capsys.readouterr().out)

    path = tmp_path / "fresh" / "store.db"
    monkeypatch.setenv("TUNEPORT_DATABASE_URL", f"sqlite:///{path}")
    assert ask()[1]["version"] is None and not path.exists() and not path.parent.exists(), "looking makes nothing"
    assert ask("downgrade", "1", "--yes")[0] == 2 and not path.exists()
    assert ask("upgrade")[1]["version"] == SCHEMA_VERSION and path.exists()

    url = old_store(tmp_path / "old.db")
    monkeypatch.setenv("TUNEPORT_DATABASE_URL", url)
    assert ask()[1]["version"] == 1 and store_admin.inspect_store(url).rows["jobs"] == 3, "looking upgrades nothing"
    assert ask("upgrade")[1]["version"] == SCHEMA_VERSION
    code, refused = ask("downgrade", "2")
    assert code == 2 and "--yes" in refused["error"]["message"]  # type: ignore[index]
    assert store_admin.inspect_store(url).version == SCHEMA_VERSION
    for wrong in ("0", str(SCHEMA_VERSION), "99"):
        assert ask("downgrade", wrong, "--yes")[0] == 2
    store = Store(url).unscoped()
    assert store.leases.claim("job-1", "somebody") is not None
    assert "is being worked on" in ask("downgrade", "2", "--yes")[1]["error"]["message"]  # type: ignore[index]
    store.leases.release("job-1", "somebody")
    store.close()
    done = ask("downgrade", "2", "--yes")[1]
    assert done["version"] == 2 and len(done["lost"]) == SCHEMA_VERSION - 2  # type: ignore[arg-type]
    assert "uploaded_files 0" in done["lost"][-2], "how many rows go"  # type: ignore[index]
    assert main(["store"]) == 0
    shown = capsys.readouterr().out
    assert "version 2" in shown and max(map(len, shown.replace(str(tmp_path), "").splitlines())) <= 80


def test_a_newer_store_is_left_alone(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    Store(url).close()
    with sqlite3.connect(tmp_path / "store.db") as connection:
        connection.execute("UPDATE schema_version SET version = 99")
    connection.close()
    for refused in (
        lambda: Store(url).unscoped(),
        lambda: store_admin.downgrade_store(url, 1),
        lambda: store_admin.upgrade_store(url),
    ):
        with pytest.raises(ConfigError, match="version 99"):
            refused()
    assert store_admin.inspect_store(url).version == 99


@pytest.mark.full
@pytest.mark.parametrize("version", range(1, 5))
def test_postgresql_goes_up_and_down_with_its_data(postgres: str, version: int) -> None:
    url = postgresql_store(postgres, f"version_{version}")
    there_and_back(url, version)


@pytest.mark.full
def test_postgresql_s_tables_that_were_made_are_those_that_were_migrated(postgres: str) -> None:
    for name in ("made", "migrated"):
        url = empty_schema(postgres, name)
        if name == "made":
            StoreDatabase(url).close()
        engine = create_engine(url)
        with engine.begin() as connection:
            if name == "migrated":
                migrations.migrate_schema(connection, 0, SCHEMA_VERSION)
            assert differences(connection) == []
        engine.dispose()


@pytest.mark.full
def test_a_file_too_large_for_the_older_version_keeps_the_store_as_it_is(postgres: str) -> None:
    url = postgresql_store(postgres, "large")
    Store(url).close()
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE remote_files SET bytes = 9000000000 WHERE job_id = 'job-0'"))
    with pytest.raises(ConfigError, match="9,000,000,000 bytes"):
        store_admin.downgrade_store(url, 3)
    assert store_admin.inspect_store(url).version == SCHEMA_VERSION and "uploads" in store_admin.inspect_store(url).rows
    engine.dispose()


def empty_schema(postgres: str, name: str) -> str:
    engine = create_engine(postgres)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"CREATE SCHEMA {name}")
    engine.dispose()
    return f"{postgres}?options=-csearch_path%3D{name}"


def postgresql_store(postgres: str, name: str) -> str:
    """Version 1 there, with the rows that `old_store` has."""
    url = empty_schema(postgres, name)
    engine = create_engine(url)
    with sqlite3.connect(":memory:") as source, engine.begin() as connection:
        fill(source)
        source.row_factory = sqlite3.Row
        for statement in VERSION_1.replace("DATETIME", "TIMESTAMP").replace("id INTEGER", "id SERIAL").split(";"):
            if statement.strip():
                connection.exec_driver_sql(statement)
        for table in ("jobs", "remote_files", "job_events"):
            for row in map(dict, source.execute(f"SELECT * FROM {table}")):
                if table == "remote_files":
                    del row["id"]
                names = ", ".join(row)
                connection.execute(text(f"INSERT INTO {table} ({names}) VALUES (:{', :'.join(row)})"), row)
    engine.dispose()
    return url


@pytest.mark.full
def test_many_that_open_a_postgresql_store_at_once_upgrade_it_once(postgres: str) -> None:
    url = postgresql_store(postgres, "at_once")
    with ThreadPoolExecutor(4) as pool:
        stores = list(pool.map(lambda _: Store(url).unscoped(), range(4)))
    assert stores[0].jobs.get("job-0").tuned_model == "ft:0" and not stores[0].jobs.get("job-0").delete_files
    file = DataFile(path=Path("f.jsonl"), sha256="a" * 64, format="openai", rows=1, bytes=2)
    stores[0].jobs.add(
        TuneSpec(model="m", dataset=Path("t")), PreparedData(training=file), backend="b", model="m", quote=None
    )
    assert "b" in stores[0].schedule.due_backends()
    for store in stores:
        store.close()


def test_many_processes_that_open_it_at_once_upgrade_it_once(tmp_path: Path) -> None:
    url = old_store(tmp_path / "store.db", rows=300)
    with ThreadPoolExecutor(6) as pool:
        stores = list(pool.map(lambda _: Store(url).unscoped(), range(6)))
    assert all(len(store.jobs.all()) == 300 for store in stores)
    with stores[0].database.engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT version FROM schema_version").scalars().all() == [SCHEMA_VERSION]
    for store in stores:
        store.close()


def test_a_new_store_may_be_opened_by_many_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        for number in range(10):  # SQLite refuses some of those who change it to WAL together, but not every time
            url = f"sqlite:///{tmp_path / f'{number}.db'}"
            for store in list(pool.map(Store, [url] * 8)):
                assert store.unscoped().jobs.all() == []
                store.close()


def test_killed_in_the_middle_it_is_of_one_version_or_the_other(tmp_path: Path) -> None:
    url = old_store(tmp_path / "store.db")
    script = textwrap.dedent(f"""
        import os, signal
        from tuneport.lifecycle.schema import migrations
        from tuneport.lifecycle.store.store import Store

        noted = migrations.record_schema_version

        def dies(ctx, step, heads, run_args):
            noted(ctx, step, heads, run_args)
            if step.up_revision_id == "0002":
                os.kill(os.getpid(), signal.SIGKILL)

        migrations.record_schema_version = dies
        Store({url!r}).unscoped()
    """)
    assert subprocess.run([sys.executable, "-c", script], timeout=120).returncode == -9
    store = Store(url).unscoped()
    assert store.jobs.get("job-0").tuned_model == "ft:0" and len(store.jobs.all()) == 3
    store.close()


def test_ends_of_before_there_were_webhooks_are_told_to_nobody(tmp_path: Path) -> None:
    url = old_store(tmp_path / "store.db", rows=1)
    engine = create_engine(url)
    as_released(engine, 4)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE jobs SET finished_at = '{MOMENT}'")
    engine.dispose()
    store = Store(url).unscoped()
    store.webhooks.register_endpoints({"ours": ("webhook", ("succeeded",))})
    assert store.leases.claim("job-0", "me") is not None
    store.leases.write("job-0", "me", deleted_at=now())
    assert store.webhooks.list_deliveries() == []
    store.leases.write("job-0", "me", finished_at=now())
    assert len(store.webhooks.list_deliveries()) == 1, "an end of now is told"
    store.close()
