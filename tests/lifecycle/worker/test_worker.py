"""The worker's promises: a job's row tells the truth, nothing is started twice, and nothing is lost."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tuneport.errors import ConfigError, DatasetError, UnavailableError
from tuneport.lifecycle.schema.tables import JobRow
from tuneport.lifecycle.service import JobService, describe_job
from tuneport.testing.fake.backend import ArmedFault, FakeBackend
from tuneport.types import JobState, JobStatus, RemoteFile, TuneSpec

Start = Callable[..., str]


def drive(workspace: JobService, job_id: str, **options: object) -> JobRow:
    return workspace.drive(job_id, poll_seconds=0.01, **options)  # type: ignore[arg-type]


def remote_jobs(fake: FakeBackend) -> int:
    return len(list(fake.list_jobs()))


def test_a_job_goes_from_its_row_to_its_model(workspace: JobService, fake: FakeBackend, start: Start) -> None:
    seen: list[str] = []
    job_id = start(suffix="bot")
    assert workspace.job(job_id).status == "preparing"
    row = drive(workspace, job_id, on_change=lambda row: seen.append(row.status))
    assert row.status == "succeeded"
    assert list(dict.fromkeys(seen)) == [
        "submitting",
        "validating",
        "queued",
        "running",
        "finalizing",
        "succeeded",
    ]
    document = describe_job(row)
    assert document["tuned_model"] == row.job_state.tuned_model  # type: ignore[union-attr]
    assert len(document["dataset"]["sha256"]) == 64
    messages = [event.message for _, event in workspace.events(job_id)]
    backend_messages = [event.message for event in fake.events(str(row.remote_id))]
    assert [message for message in messages if message in backend_messages] == backend_messages
    assert remote_jobs(fake) == 1


def test_a_lost_reply_is_settled_by_asking(workspace: JobService, fake: FakeBackend, start: Start) -> None:
    fake.arm(ArmedFault(on="submit", kind="lost_reply"))
    row = drive(workspace, start())
    assert row.status == "succeeded"
    assert remote_jobs(fake) == 1
    assert any("interrupted submit had started" in event.message for _, event in workspace.events(row.id))


def test_a_submit_that_never_arrived_is_sent_again(workspace: JobService, fake: FakeBackend, start: Start) -> None:
    fake.arm(ArmedFault(on="submit", kind="unavailable"))
    row = drive(workspace, start())
    assert row.status == "succeeded"
    assert remote_jobs(fake) == 1
    assert row.submit_attempts == 2


def test_submits_that_never_arrive_end_after_three(workspace: JobService, fake: FakeBackend, start: Start) -> None:
    fake.arm(ArmedFault(on="submit", kind="unavailable", times=99))
    row = drive(workspace, start())
    assert (row.status, remote_jobs(fake)) == ("failed", 0)
    assert row.job_error is not None and "took none of 3 submits" in row.job_error.message
    assert row.job_error.retryable


def test_while_nobody_knows_nothing_is_started(workspace: JobService, fake: FakeBackend, start: Start) -> None:
    job_id = start()
    fake.arm(ArmedFault(on="submit", kind="lost_reply"))
    drive(workspace, job_id, until=lambda row: row.submit_intent_at is not None)
    fake.arm(ArmedFault(on="find", kind="unavailable", times=3))
    for _ in range(3):
        row = workspace.worker.step(job_id)
        assert row.status == "submitting" and "it is not known whether fake has the job" in str(row.note)
    assert drive(workspace, job_id).status == "succeeded"
    assert remote_jobs(fake) == 1


@pytest.mark.parametrize("kind", ["no_quota", "rejected"])
def test_a_refused_submit_fails_the_job_in_one_line(
    workspace: JobService, fake: FakeBackend, start: Start, kind: str
) -> None:
    fake.arm(ArmedFault(on="submit", kind=kind))
    row = drive(workspace, start())
    assert (row.status, row.remote_id, remote_jobs(fake)) == ("failed", None, 0)
    assert row.job_error is not None and "\n" not in row.job_error.message


def test_a_rate_limit_waits_and_goes_on(workspace: JobService, fake: FakeBackend, start: Start) -> None:
    fake.arm(ArmedFault(on="submit", kind="rate_limited"))
    row = drive(workspace, start())
    assert row.status == "succeeded" and remote_jobs(fake) == 1


def test_a_backend_that_is_down_is_noted_raised_and_survived(
    workspace: JobService, fake: FakeBackend, start: Start
) -> None:
    job_id = start()
    fake.arm(ArmedFault(on="prepare", kind="unavailable", times=2))
    with pytest.raises(UnavailableError):
        drive(workspace, job_id, patience=0.0)
    row = workspace.job(job_id)
    assert row.status == "preparing" and row.note
    assert drive(workspace, job_id).status == "succeeded"


def test_a_failing_fetch_changes_nothing(workspace: JobService, fake: FakeBackend, start: Start) -> None:
    job_id = start()
    before = drive(workspace, job_id, until=lambda row: row.status == "running")
    fake.arm(ArmedFault(on="fetch", kind="unavailable"))
    with pytest.raises(UnavailableError):
        workspace.refresh(job_id)
    after = workspace.job(job_id)
    assert (after.status, after.state) == (before.status, before.state)
    rows, trouble = workspace.refresh_all()
    assert trouble == {} and rows[0].note is None


def test_an_unknown_status_is_running_and_the_word_is_kept(
    workspace: JobService, fake: FakeBackend, start: Start
) -> None:
    fake.arm(ArmedFault(on="submit", kind="unknown_status"))
    seen: list[tuple[str, str]] = []
    row = drive(
        workspace,
        start(),
        on_change=lambda row: seen.append((row.status, row.job_state.raw_status)) if row.job_state else None,
    )
    assert row.status == "succeeded"
    known = set(FakeBackend.statuses)
    assert [status for status, word in seen if word not in known] and all(
        status == "running" for status, word in seen if word not in known
    )


def test_a_job_that_fails_there_fails_here_with_its_reason(
    workspace: JobService, fake: FakeBackend, start: Start
) -> None:
    fake.arm(ArmedFault(on="submit", kind="fail_job"))
    row = drive(workspace, start())
    assert row.status == "failed" and row.job_error is not None and row.finished_at is not None


def test_cancelling_before_anything_started_asks_nobody(workspace: JobService, fake: FakeBackend, start: Start) -> None:
    row = workspace.cancel(start())
    assert (row.status, remote_jobs(fake)) == ("cancelled", 0)


def test_cancelling_a_running_job_and_a_finished_one(workspace: JobService, fake: FakeBackend, start: Start) -> None:
    job_id = start()
    drive(workspace, job_id, until=lambda row: row.status == "running")
    workspace.cancel(job_id)
    assert drive(workspace, job_id).status == "cancelled"
    assert workspace.cancel(job_id).status == "cancelled"
    assert remote_jobs(fake) == 1


def test_a_wish_to_cancel_survives_a_lost_reply(workspace: JobService, fake: FakeBackend, start: Start) -> None:
    job_id = start()
    fake.arm(ArmedFault(on="submit", kind="lost_reply"))
    drive(workspace, job_id, until=lambda row: row.submit_intent_at is not None)
    workspace.cancel(job_id)
    assert drive(workspace, job_id).status == "cancelled"
    states = [state.status for state in fake.list_jobs()]
    assert states == [JobStatus.CANCELLED]


def test_a_bad_record_is_told_with_its_place_and_makes_no_job(
    workspace: JobService, start: Start, dataset: Path
) -> None:
    lines = dataset.read_text().splitlines()
    lines[6] = '{"messages": [{"role": "user", "content": "and no answer"}]}'
    dataset.write_text("\n".join(lines) + "\n")
    with pytest.raises(DatasetError, match="train.jsonl:7"):
        start()
    assert workspace.store.jobs.all() == []


def test_what_is_trained_on_is_what_was_submitted(
    workspace: JobService, fake: FakeBackend, start: Start, dataset: Path
) -> None:
    """Whatever happens to the file in between: quote, budget and personal-data check were about the one at submit."""
    content = dataset.read_bytes()
    job_id = start()
    dataset.write_text('{"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "4111"}]}\n')
    row = drive(workspace, job_id)
    assert row.status == "succeeded"
    (file,) = workspace.store.files.list_job_files(job_id)
    assert fake.read_file(file.id).count(b"\n") == content.count(b"\n") == 12


def test_a_cleaned_copy_is_made_again_unless_the_source_has_changed(
    workspace: JobService, fake: FakeBackend, start: Start, dataset: Path
) -> None:
    job_id = start()
    workspace.job(job_id).prepared_data.training.path.unlink()
    assert drive(workspace, job_id).status == "succeeded"
    job_id = start()
    workspace.job(job_id).prepared_data.training.path.unlink()
    dataset.write_text(dataset.read_text().replace("Answer 3.", "Another."))
    row = drive(workspace, job_id)
    assert row.status == "failed" and row.job_error is not None
    assert f"has changed since {job_id} was submitted" in row.job_error.message


def test_another_process_at_the_job_is_waited_for(workspace: JobService, fake: FakeBackend, start: Start) -> None:
    job_id = start()
    workspace.store.leases.claim(job_id, "somebody else")
    row = workspace.worker.step(job_id)
    assert row.status == "preparing" and row.note == "another process drives this job; there is nothing to do here"
    with pytest.raises(UnavailableError, match=f"another process drives {job_id} just now; try again in a moment"):
        workspace.worker.resolve(job_id, started=None)
    workspace.store.leases.release(job_id, "somebody else")
    assert drive(workspace, job_id).status == "succeeded"


SUBMIT_SLOWLY = textwrap.dedent("""
    import os, signal, sys
    from pathlib import Path
    from tuneport.testing.fake.backend import FakeBackend
    from tuneport.lifecycle.service import JobService
    from tuneport.types import TuneSpec

    where = sys.argv[2]
    original = getattr(FakeBackend, where.split(":")[1])

    def dies(self, *arguments, **options):
        # Killed as by `kill -9`, just before or just after the call has been carried out.
        if where.startswith("after"):
            result = original(self, *arguments, **options)
            if hasattr(result, "__next__"):
                list(result)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(FakeBackend, where.split(":")[1], dies)
    workspace = JobService()
    row = workspace.submit(TuneSpec(model="base", dataset=Path(sys.argv[1])), backend="fake")
    workspace.drive(row.id, poll_seconds=0.01)
""")


@pytest.mark.parametrize(
    "where", ["before:prepare", "after:prepare", "before:submit", "after:submit", "before:fetch", "after:events"]
)
def test_killed_anywhere_the_job_survives_and_is_started_once(
    workspace: JobService, fake: FakeBackend, dataset: Path, where: str
) -> None:
    done = subprocess.run([sys.executable, "-c", SUBMIT_SLOWLY, str(dataset), where], timeout=300)
    assert done.returncode == -9
    rows = workspace.store.jobs.all()
    assert len(rows) == 1 and not rows[0].job_status.terminal
    assert drive(workspace, rows[0].id).status == "succeeded"
    assert remote_jobs(fake) == 1
    events = [event.id for _, event in workspace.events(rows[0].id)]
    assert len(events) == len(set(events))


def test_threads_of_one_workspace_start_a_job_once(
    workspace: JobService, fake: FakeBackend, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = FakeBackend.submit
    both = threading.Barrier(2, timeout=1)

    def slowly(self: FakeBackend, *arguments: Any, **options: Any) -> JobState:
        with contextlib.suppress(threading.BrokenBarrierError):
            both.wait()  # a second thread that got here, too, would start the job twice
        return original(self, *arguments, **options)

    monkeypatch.setattr(FakeBackend, "submit", slowly)
    job_id = start()
    with ThreadPoolExecutor(4) as pool:
        rows = list(pool.map(lambda _: drive(workspace, job_id), range(4)))
    assert {row.status for row in rows} == {"succeeded"}
    assert remote_jobs(fake) == 1


def test_a_driver_that_was_suspended_writes_nothing_over_its_successor(
    workspace: JobService, fake: FakeBackend, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A laptop sleeps in the middle of an upload; another process finishes the job; the first one wakes up."""
    original = FakeBackend.prepare
    asleep = [True]

    def sleeps(self: FakeBackend, *arguments: Any) -> Iterator[RemoteFile]:
        yield from original(self, *arguments)
        if asleep.pop() if asleep else False:
            (row,) = workspace.store.jobs.all()
            assert row.lease_owner is not None
            with JobService(workspace.settings) as other:
                other.store.leases.claim(row.id, "a successor", instead_of=row.lease_owner)
                other.store.leases.release(row.id, "a successor")
                assert drive(other, row.id).status == "succeeded"

    monkeypatch.setattr(FakeBackend, "prepare", sleeps)
    job_id = start()
    assert workspace.worker.step(job_id).status == "succeeded"
    assert drive(workspace, job_id).status == "succeeded"
    assert remote_jobs(fake) == 1


def test_trouble_with_events_neither_fails_nor_hides_a_job(
    workspace: JobService, fake: FakeBackend, start: Start
) -> None:
    fake.arm(ArmedFault(on="events", kind="rejected", times=99))
    row = drive(workspace, start())
    assert row.status == "succeeded" and row.finished_at is not None
    assert any("last events could not be read" in event.message for _, event in workspace.events(row.id))


def test_last_events_that_were_refused_once_are_not_lost(
    workspace: JobService, fake: FakeBackend, start: Start
) -> None:
    row = drive(workspace, start(), until=lambda row: row.status == "running")
    state = fake.fetch(str(row.remote_id))
    while not state.status.terminal:
        state = fake.fetch(state.remote_id)
    fake.arm(ArmedFault(on="events", kind="rejected"))
    row = drive(workspace, row.id)
    assert row.status == "succeeded" and row.note is None
    stored = [event.id for _, event in workspace.events(row.id)]
    assert {event.id for event in fake.events(state.remote_id)} <= set(stored)


def test_an_adopted_job_that_is_over_has_its_events(workspace: JobService, fake: FakeBackend, start: Start) -> None:
    job_id = start()
    fake.arm(ArmedFault(on="submit", kind="lost_reply"))
    row = drive(workspace, job_id, until=lambda row: row.submit_intent_at is not None)
    (state,) = fake.list_jobs()
    while not state.status.terminal:
        state = fake.fetch(state.remote_id)
    fake.arm(ArmedFault(on="events", kind="unavailable"))
    row = drive(workspace, job_id)
    assert row.status == "succeeded" and row.finished_at is not None
    stored = [event.id for _, event in workspace.events(job_id)]
    assert set(event.id for event in fake.events(state.remote_id)) <= set(stored)


def test_a_refused_cancel_does_not_freeze_the_job(workspace: JobService, fake: FakeBackend, start: Start) -> None:
    job_id = start()
    drive(workspace, job_id, until=lambda row: row.status == "running")
    fake.arm(ArmedFault(on="cancel", kind="rejected", times=99))
    assert "cannot be cancelled now" in str(workspace.cancel(job_id).note)
    assert drive(workspace, job_id).status == "succeeded"


def test_a_wish_to_cancel_reaches_the_backend_past_a_dead_driver(
    workspace: JobService, fake: FakeBackend, start: Start
) -> None:
    job_id = start()
    row = drive(workspace, job_id, until=lambda row: row.status == "running")
    workspace.store.leases.claim(job_id, "another machine:1:x")
    workspace.cancel(job_id)
    assert fake.fetch(str(row.remote_id)).status in (JobStatus.CANCELLING, JobStatus.CANCELLED)


def test_an_ended_job_does_not_un_end(workspace: JobService, fake: FakeBackend, start: Start) -> None:
    job_id = start()
    running = drive(workspace, job_id, until=lambda row: row.status == "running").job_state
    assert running is not None
    ended = drive(workspace, job_id)
    assert workspace.worker.record(job_id, running).finished_at == ended.finished_at
    assert workspace.job(job_id).status == "succeeded"


def test_a_rate_limit_costs_no_attempt_and_waits_as_told(
    workspace: JobService, fake: FakeBackend, start: Start
) -> None:
    fake.arm(ArmedFault(on="submit", kind="rate_limited", times=5))
    seen: list[str | None] = []
    row = drive(workspace, start(), on_change=lambda row: seen.append(row.note))
    assert row.status == "succeeded" and row.submit_attempts == 1
    assert any(seen), "the reason for the wait is told"


def test_the_document_has_the_same_keys_in_every_state(workspace: JobService, fake: FakeBackend, start: Start) -> None:
    job_id = start()
    documents = [describe_job(workspace.job(job_id))]
    drive(workspace, job_id, on_change=lambda row: documents.append(describe_job(row)))
    assert len({tuple(sorted(document)) for document in documents}) == 1
    assert json.loads(json.dumps(documents[-1])) == documents[-1]


def test_a_job_goes_on_from_the_weights_of_another(workspace: JobService, dataset: Path) -> None:
    first = workspace.submit(TuneSpec(model="m", dataset=dataset), backend="fake")

    def submit(start: str, backend: str = "fake") -> TuneSpec:
        spec = TuneSpec(model="m", dataset=dataset, from_checkpoint=start)
        return workspace.submit(spec, backend=backend).tune_spec

    with pytest.raises(ConfigError, match=f"{first.id} is preparing and has no weights to continue from"):
        submit(first.id)
    done = drive(workspace, first.id)
    assert submit(done.id).from_checkpoint == done.remote_id
    assert submit(f"{done.id}:4").from_checkpoint == f"{done.remote_id}:4"
    assert submit("ft:made-elsewhere").from_checkpoint == "ft:made-elsewhere"
