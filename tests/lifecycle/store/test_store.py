"""The store's promises, on SQLite always and on a real PostgreSQL in `make test-full`."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy

from tests.support.folders import CHECKOUT
from tuneport.errors import ConfigError
from tuneport.lifecycle.accounting.history import LEARNT_FROM
from tuneport.lifecycle.planning.past_jobs import _NEWEST
from tuneport.lifecycle.schema.database import StoreUnavailableError
from tuneport.lifecycle.schema.tables import Base, JobRow
from tuneport.lifecycle.store.store import LeaseLostError, Store, UnknownJobError
from tuneport.lifecycle.submitting.options import JobOptions
from tuneport.types import DataFile, JobEvent, JobStatus, PreparedData, RemoteFile, TuneSpec, now

SPEC = TuneSpec(model="m", dataset=Path("train.jsonl"))
FILE = DataFile(path=Path("files/0.jsonl"), sha256="0" * 64, format="openai", rows=1, bytes=2)
DATA = PreparedData(training=FILE)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.full)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'store.db'}"
    else:
        url = request.getfixturevalue("postgres")
    opened = Store(url).unscoped()
    yield opened
    Base.metadata.drop_all(opened.database.engine)
    opened.close()


@pytest.fixture
def row(store: Store) -> JobRow:
    return store.jobs.add(SPEC, DATA, backend="fake", model="m-1", quote=None)


def event(name: str) -> JobEvent:
    return JobEvent(id=name, created_at=now(), message=name)


def test_a_job_is_found_by_its_ids_and_by_their_beginning(store: Store, row: JobRow) -> None:
    store.leases.claim(row.id, "a")
    store.leases.write(row.id, "a", remote_id="ftjob-1")
    assert (
        store.jobs.get(row.id).id
        == store.jobs.get(row.id[:9]).id
        == store.jobs.get(row.id[4:9]).id
        == store.jobs.get("ftjob-1").id
    )
    with pytest.raises(UnknownJobError, match="no job 'job-zzz' here; `tuneport jobs` lists them"):
        store.jobs.get("job-zzz")
    with pytest.raises(UnknownJobError):
        store.jobs.get("%")
    store.jobs.add(SPEC, DATA, backend="fake", model="m-1", quote=None)
    with pytest.raises(ConfigError, match="beginning of several jobs"):
        store.jobs.get("job-")


def test_times_come_back_aware_and_equal(store: Store, row: JobRow) -> None:
    assert store.jobs.get(row.id).created_at == row.created_at
    assert store.jobs.get(row.id).created_at.utcoffset() == timedelta(0)


def test_a_lease_keeps_others_out_until_it_runs_out(store: Store, row: JobRow) -> None:
    assert store.leases.claim(row.id, "a") is not None
    assert store.leases.claim(row.id, "b") is None
    assert store.leases.claim(row.id, "a") is None  # names are used once; a holder renews
    assert store.leases.renew(row.id, "a") and not store.leases.renew(row.id, "b")
    store.leases.release(row.id, "b")
    assert store.leases.claim(row.id, "b") is None
    store.leases.release(row.id, "a")
    assert store.leases.claim(row.id, "b", seconds=-1) is not None
    assert store.leases.claim(row.id, "c") is not None
    assert not store.leases.renew(row.id, "b"), "a lost lease is not taken back by renewing it"
    assert store.leases.claim(row.id, "d", instead_of="somebody") is None
    assert store.leases.claim(row.id, "d", instead_of="c") is not None


def test_nothing_is_written_without_the_lease(store: Store, row: JobRow) -> None:
    store.leases.claim(row.id, "a", seconds=-1)
    store.leases.claim(row.id, "b")
    with pytest.raises(LeaseLostError):
        store.leases.write(row.id, "a", status=JobStatus.FAILED)
    assert store.jobs.get(row.id).status == "preparing"


def test_one_of_many_claimers_wins(store: Store, row: JobRow) -> None:
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda name: store.leases.claim(row.id, f"w{name}") is not None, range(16)))
    assert won.count(True) == 1


def test_events_are_stored_once_and_in_order_by_many_writers(store: Store, row: JobRow) -> None:
    batches = [[event(str(number)) for number in range(start, start + 5)] for start in (0, 2, 4, 0)]
    with ThreadPoolExecutor(4) as pool:
        added = sum(pool.map(lambda batch: store.events.add(row.id, batch), batches))
    stored = store.events.list_job_events(row.id)
    assert added == 9
    assert [position for position, _ in stored] == list(range(1, 10))
    assert sorted(item.id for _, item in stored) == [str(number) for number in range(9)]
    assert [item.id for _, item in store.events.list_job_events(row.id, after=8)] == [stored[8][1].id]


def test_the_cursor_is_the_newest_event_of_the_backend(store: Store, row: JobRow) -> None:
    store.events.add(row.id, [event("b1"), event("b2")])
    store.events.add(row.id, [event("t1")], origin="tuneport")
    assert store.events.last_backend_id(row.id) == "b2"


def test_a_file_is_journalled_once_a_purpose(store: Store, row: JobRow) -> None:
    first = RemoteFile(id="f1", purpose="training", sha256="0" * 64, filename="a.jsonl", bytes=3)
    store.files.add(row.id, first)
    store.files.add(row.id, first.model_copy(update={"id": "f2"}))
    store.files.add(row.id, first.model_copy(update={"purpose": "validation"}))
    assert [(file.id, file.purpose) for file in store.files.list_job_files(row.id)] == [
        ("f2", "training"),
        ("f1", "validation"),
    ]


def test_a_wish_to_cancel_is_kept_and_a_finished_job_has_none(store: Store, row: JobRow) -> None:
    store.jobs.request_cancel(row.id)
    asked = store.jobs.get(row.id).cancel_requested_at
    store.jobs.request_cancel(row.id)
    assert asked is not None and store.jobs.get(row.id).cancel_requested_at == asked
    done = store.jobs.add(SPEC, DATA, backend="fake", model="m-1", quote=None)
    store.leases.claim(done.id, "a")
    store.leases.write(done.id, "a", status=JobStatus.SUCCEEDED)
    store.jobs.request_cancel(done.id)
    assert store.jobs.get(done.id).cancel_requested_at is None


def test_jobs_are_listed_newest_first_and_filtered(store: Store, row: JobRow) -> None:
    second = store.jobs.add(SPEC, DATA, backend="local", model="m-1", quote=None)
    store.leases.claim(second.id, "a")
    store.leases.write(second.id, "a", status=JobStatus.FAILED)
    assert [found.id for found in store.jobs.all()] == [second.id, row.id]
    assert [found.id for found in store.jobs.all(unfinished=True)] == [row.id]
    assert [found.id for found in store.jobs.all(backend="local", limit=1)] == [second.id]


def over_there(store: Store, remote_id: str, **values: object) -> JobRow:
    row = store.jobs.add(SPEC, DATA, backend="fake", model="m-1", quote=None)
    assert store.schedule.record_many({row.id: {"remote_id": remote_id, "status": "running", **values}}) == [row.id]
    return store.jobs.get(row.id)


def test_what_is_due_is_taken_once_and_what_is_soon_due_comes_along(store: Store) -> None:
    moment = now()
    polled = {"polled_at": moment - timedelta(seconds=90)}
    due = [over_there(store, f"due{number}", due_at=moment, **polled).id for number in range(5)]
    soon = over_there(store, "soon", due_at=moment + timedelta(seconds=10), **polled).id
    late = over_there(store, "late", due_at=moment + timedelta(seconds=900), **polled)
    taken, _ = store.schedule.take_due("fake", moment, hold=60, sweep_from=6, along=0.5)
    assert sorted(job.id for job in taken) == sorted(due), "too few for a list: nothing comes along"
    store.schedule.postpone(due, moment)
    taken, next_due = store.schedule.take_due("fake", moment, hold=60, sweep_from=5, along=0.5)
    assert sorted(job.id for job in taken) == sorted([*due, soon])
    assert next_due is not None and moment < next_due <= late.due_at  # type: ignore[operator]
    assert store.schedule.take_due("fake", moment, hold=60, sweep_from=5, along=0.5)[0] == []
    assert store.schedule.take_due("other", moment + timedelta(days=1), hold=60, sweep_from=5, along=0.5)[0] == []


def test_many_changes_are_one_write_and_ended_rows_keep_theirs(store: Store) -> None:
    rows = [over_there(store, f"r{number}", due_at=now()) for number in range(3)]
    store.leases.claim(rows[0].id, "somebody")
    store.schedule.record_many({rows[1].id: {"status": "succeeded", "tuned_model": "ft:1", "due_at": None}})
    assert store.schedule.record_many({row.id: {"status": "failed"} for row in rows}) == [rows[2].id]
    assert [store.jobs.get(row.id).status for row in rows] == ["running", "succeeded", "failed"]
    assert store.models.find_job("ft:1").id == rows[1].id  # type: ignore[union-attr]
    assert store.schedule.due_backends() == ["fake"] and store.jobs.count_unfinished() == 1


def test_a_model_is_found_by_its_name_not_by_going_through_all_jobs(tmp_path: Path) -> None:
    store, asked = Store(f"sqlite:///{tmp_path / 'store.db'}").scoped("default"), []
    sqlalchemy.event.listen(store.database.engine, "before_cursor_execute", lambda *call: asked.append(call[2:4]))
    assert store.models.find_job("ft:1") is None
    statement, values = next(call for call in asked if "SELECT" in call[0])
    with store.database.engine.connect() as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values).all()
    store.close()
    assert "tuned_model=?" in str(plan), plan


def test_what_is_learnt_is_read_by_age_not_sorted_out_of_all_jobs(tmp_path: Path) -> None:
    store, asked = Store(f"sqlite:///{tmp_path / 'store.db'}").unscoped(), []
    sqlalchemy.event.listen(store.database.engine, "before_cursor_execute", lambda *call: asked.append(call[2:4]))
    store.statistics.read_job_history()
    statements = [next(call for call in asked if "SELECT" in call[0]), (_NEWEST, ("succeeded", LEARNT_FROM))]
    with store.database.engine.connect() as connection:
        for statement, values in statements:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values).all()
            assert "ix_jobs_finished_at" in str(plan) and "TEMP B-TREE" not in str(plan), plan
    store.close()


def test_places_are_counted_in_one_transaction(store: Store) -> None:
    ids = [store.jobs.add(SPEC, DATA, backend="fake", model="m-1", quote=None).id for _ in range(8)]

    def take(job_id: str) -> bool:
        store.leases.claim(job_id, job_id)
        return store.schedule.acquire_slot(job_id, job_id, limit=3, submit_intent_at=now())[0] is not None

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(take, ids)) == 3
    assert store.schedule.acquire_slot(ids[0], "not the holder", limit=3) == (None, [])


def test_a_file_is_claimed_for_deletion_only_when_no_unfinished_job_means_to_use_it(store: Store, row: JobRow) -> None:
    store.files.add(row.id, RemoteFile(id="f1", purpose="training", sha256="0" * 64, filename="a.jsonl", bytes=3))
    assert store.files.claim_deletion("fake", "f1") == [row.id]
    other = store.jobs.add(
        SPEC, DATA, backend="fake", model="m-1", quote=None, options=JobOptions(delete_files=True)
    )  # of the same content
    store.leases.claim(row.id, "a")
    store.leases.write(row.id, "a", status=JobStatus.SUCCEEDED, delete_files=True)
    assert store.files.list_files_to_delete("fake") == ["f1"]
    assert store.files.claim_deletion("fake", "f1") == [other.id]
    assert store.files.claim_deletion("fake", "unknown", f"tuneport-{'0' * 32}.jsonl") == [other.id]
    store.leases.claim(other.id, "a")
    store.leases.write(other.id, "a", status=JobStatus.SUCCEEDED)
    assert store.files.claim_deletion("fake", "f1") == [] and store.files.is_being_deleted("fake", "f1")
    store.files.mark_not_deleted("fake", "f1")
    assert store.files.list_files_to_delete("fake") == ["f1"] and not store.files.is_being_deleted("fake", "f1")
    store.files.mark_deleted("fake", "f1")
    assert store.files.list_files_to_delete("fake") == [] and store.files.list_all_files()[0].deleted_at is not None


def test_terms_are_shown_anew_only_when_they_change(store: Store) -> None:
    assert [store.terms.first_showing("b", texts) for texts in (["x"], ["x"], ["x", "y"], ["x", "y"])] == [
        True,
        False,
        True,
        False,
    ]


def test_a_killed_writer_leaves_a_whole_store(tmp_path: Path) -> None:
    """kill -9 in the middle of a stream of commits: every acknowledged job is there, and the file opens."""
    url = f"sqlite:///{tmp_path / 'store.db'}"
    script = textwrap.dedent(f"""
        from pathlib import Path
        from tuneport.lifecycle.store.store import Store
        from tests.lifecycle.store.test_store import DATA, SPEC
        store = Store({url!r}).unscoped()
        while True:
            row = store.jobs.add(SPEC, DATA, backend="b", model="m", quote=None)
            print(row.id, flush=True)
    """)
    root = CHECKOUT
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=root)
    assert process.stdout is not None
    acknowledged = {process.stdout.readline().strip() for _ in range(25)}
    process.kill()
    acknowledged |= set(process.stdout.read().split("\n")[:-1])
    process.wait()
    store = Store(url).unscoped()
    assert acknowledged <= {row.id for row in store.jobs.all()}
    store.close()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (lambda path: "nonsense", "the store named by TUNEPORT_DATABASE_URL cannot be opened"),
        (lambda path: "postgresql+psycopg://me:secret@127.0.0.1:9/x", r"me:\*\*\*@127.0.0.1:9/x does not work"),
        (lambda path: f"sqlite:///{path}", "does not work: unable to open database file"),
    ],
)
def test_a_store_that_cannot_be_opened_is_one_line(tmp_path: Path, url: Callable[[Path], str], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        Store(url(tmp_path)).unscoped()
    assert "\n" not in str(caught.value) and "secret" not in str(caught.value)


def test_a_damaged_file_and_another_version_are_one_line(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.db"
    damaged.write_bytes(b"this is no database, whatever its name says" * 100)
    with pytest.raises(ConfigError, match="not a database.*move a damaged file aside") as caught:
        Store(f"sqlite:///{damaged}").unscoped()
    assert "\n" not in str(caught.value)
    url = f"sqlite:///{tmp_path / 'other.db'}"
    store = Store(url).unscoped()
    with store.database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE schema_version SET version = 99")
    store.close()
    with pytest.raises(ConfigError, match="tables of version 99"):
        Store(url).unscoped()


@pytest.mark.full
def test_a_value_that_postgresql_does_not_take_is_refused_and_no_store_is_called_down(postgres: str) -> None:
    store = Store(postgres).unscoped()
    with pytest.raises(ConfigError, match="takes no such value: .*NUL") as caught:
        store.uploaded.get("file-\0")
    assert not isinstance(caught.value, StoreUnavailableError) and "\n" not in str(caught.value)
    Base.metadata.drop_all(store.database.engine)
    store.close()


def test_the_audit_log_is_only_added_to(store: Store, row: JobRow) -> None:
    (before, _) = store.audit.page(limit=10)
    assert before, "the job's creation"
    statements = ["UPDATE audit_log SET name = 'nobody'", "DELETE FROM audit_log"]
    if store.database.engine.dialect.name == "postgresql":
        statements += ["TRUNCATE audit_log"]
    for statement in statements:
        with pytest.raises(sqlalchemy.exc.DBAPIError), store.database.engine.begin() as connection:
            connection.exec_driver_sql(statement)
    with pytest.raises(sqlalchemy.exc.DBAPIError, match="only added to"), store.database.engine.begin() as connection:
        connection.exec_driver_sql(statements[0])
    assert [entry.name for entry in store.audit.page(limit=10)[0]] == [entry.name for entry in before]
    store.jobs.request_cancel(row.id)
    assert len(store.audit.page(limit=10)[0]) == len(before) + 1
