"""The worker's promises: a job's row tells the truth, nothing is started twice, and nothing is lost."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from tuneport.backends.fake import FakeBackend, Fault
from tuneport.errors import UnavailableError
from tuneport.jobs.service import Workspace, describe
from tuneport.jobs.store import JobRow, Store
from tuneport.types import JobStatus

Start = Callable[..., str]


def drive(workspace: Workspace, job_id: str, **options: object) -> JobRow:
    return workspace.drive(job_id, poll_seconds=0.01, **options)  # type: ignore[arg-type]


def remote_jobs(fake: FakeBackend) -> int:
    return len(list(fake.list_jobs()))


def test_a_job_goes_from_its_row_to_its_model(workspace: Workspace, fake: FakeBackend, start: Start) -> None:
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
    document = describe(row)
    assert document["tuned_model"] == row.job_state.tuned_model  # type: ignore[union-attr]
    assert len(document["dataset"]["sha256"]) == 64
    messages = [event.message for _, event in workspace.events(job_id)]
    backend_messages = [event.message for event in fake.events(str(row.remote_id))]
    assert [message for message in messages if message in backend_messages] == backend_messages
    assert remote_jobs(fake) == 1


def test_a_lost_reply_is_settled_by_asking(workspace: Workspace, fake: FakeBackend, start: Start) -> None:
    fake.arm(Fault(on="submit", kind="lost_reply"))
    row = drive(workspace, start())
    assert row.status == "succeeded"
    assert remote_jobs(fake) == 1
    assert any("interrupted submit had started" in event.message for _, event in workspace.events(row.id))


def test_a_lagging_list_does_not_start_a_second_job(
    workspace: Workspace, fake: FakeBackend, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeBackend, "settle_seconds", 0.2)
    fake.arm(Fault(on="submit", kind="lost_reply"))
    fake.arm(Fault(on="find", kind="unlisted", times=2))
    row = drive(workspace, start())
    assert row.status == "succeeded"
    assert remote_jobs(fake) == 1


def test_a_submit_that_never_arrived_is_sent_again(workspace: Workspace, fake: FakeBackend, start: Start) -> None:
    fake.arm(Fault(on="submit", kind="unavailable"))
    row = drive(workspace, start())
    assert row.status == "succeeded"
    assert remote_jobs(fake) == 1
    assert row.submit_attempts == 2


def test_submits_that_never_arrive_end_after_three(workspace: Workspace, fake: FakeBackend, start: Start) -> None:
    fake.arm(Fault(on="submit", kind="unavailable", times=99))
    row = drive(workspace, start())
    assert (row.status, remote_jobs(fake)) == ("failed", 0)
    assert row.job_error is not None and "took none of 3 submits" in row.job_error.message
    assert row.job_error.retryable


def test_while_nobody_knows_nothing_is_started(workspace: Workspace, fake: FakeBackend, start: Start) -> None:
    job_id = start()
    fake.arm(Fault(on="submit", kind="lost_reply"))
    drive(workspace, job_id, until=lambda row: row.submit_intent_at is not None)
    fake.arm(Fault(on="find", kind="unavailable", times=3))
    for _ in range(3):
        row = workspace.worker.step(job_id)
        assert row.status == "submitting" and "nobody knows yet" in str(row.note)
    assert drive(workspace, job_id).status == "succeeded"
    assert remote_jobs(fake) == 1


@pytest.mark.parametrize("kind", ["no_quota", "rejected"])
def test_a_refused_submit_fails_the_job_in_one_line(
    workspace: Workspace, fake: FakeBackend, start: Start, kind: str
) -> None:
    fake.arm(Fault(on="submit", kind=kind))
    row = drive(workspace, start())
    assert (row.status, row.remote_id, remote_jobs(fake)) == ("failed", None, 0)
    assert row.job_error is not None and "\n" not in row.job_error.message


def test_a_rate_limit_waits_and_goes_on(workspace: Workspace, fake: FakeBackend, start: Start) -> None:
    fake.arm(Fault(on="submit", kind="rate_limited"))
    row = drive(workspace, start())
    assert row.status == "succeeded" and remote_jobs(fake) == 1


def test_a_backend_that_is_down_is_noted_raised_and_survived(
    workspace: Workspace, fake: FakeBackend, start: Start
) -> None:
    job_id = start()
    fake.arm(Fault(on="prepare", kind="unavailable", times=2))
    with pytest.raises(UnavailableError):
        drive(workspace, job_id, patience=0.0)
    row = workspace.job(job_id)
    assert row.status == "preparing" and row.note
    assert drive(workspace, job_id).status == "succeeded"


def test_a_failing_fetch_changes_nothing(workspace: Workspace, fake: FakeBackend, start: Start) -> None:
    job_id = start()
    before = drive(workspace, job_id, until=lambda row: row.status == "running")
    fake.arm(Fault(on="fetch", kind="unavailable"))
    with pytest.raises(UnavailableError):
        workspace.refresh(job_id)
    after = workspace.job(job_id)
    assert (after.status, after.state) == (before.status, before.state)
    rows, trouble = workspace.refresh_all()
    assert trouble == {} and rows[0].note is None


def test_an_unknown_status_is_running_and_the_word_is_kept(
    workspace: Workspace, fake: FakeBackend, start: Start
) -> None:
    fake.arm(Fault(on="submit", kind="unknown_status"))
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
    workspace: Workspace, fake: FakeBackend, start: Start
) -> None:
    fake.arm(Fault(on="submit", kind="fail_job"))
    row = drive(workspace, start())
    assert row.status == "failed" and row.job_error is not None and row.finished_at is not None


def test_cancelling_before_anything_started_asks_nobody(
    workspace: Workspace, fake: FakeBackend, start: Start
) -> None:
    row = workspace.cancel(start())
    assert (row.status, remote_jobs(fake)) == ("cancelled", 0)


def test_cancelling_a_running_job_and_a_finished_one(workspace: Workspace, fake: FakeBackend, start: Start) -> None:
    job_id = start()
    drive(workspace, job_id, until=lambda row: row.status == "running")
    workspace.cancel(job_id)
    assert drive(workspace, job_id).status == "cancelled"
    assert workspace.cancel(job_id).status == "cancelled"
    assert remote_jobs(fake) == 1


def test_a_wish_to_cancel_survives_a_lost_reply(workspace: Workspace, fake: FakeBackend, start: Start) -> None:
    job_id = start()
    fake.arm(Fault(on="submit", kind="lost_reply"))
    drive(workspace, job_id, until=lambda row: row.submit_intent_at is not None)
    workspace.cancel(job_id)
    assert drive(workspace, job_id).status == "cancelled"
    states = [state.status for state in fake.list_jobs()]
    assert states == [JobStatus.CANCELLED]


def test_a_bad_record_fails_the_job_with_its_place(workspace: Workspace, start: Start, dataset: Path) -> None:
    job_id = start()
    lines = dataset.read_text().splitlines()
    lines[6] = '{"messages": [{"role": "user", "content": "and no answer"}]}'
    dataset.write_text("\n".join(lines) + "\n")
    row = drive(workspace, job_id)
    assert row.status == "failed" and row.job_error is not None
    assert "train.jsonl:7" in row.job_error.message and row.job_error.fault == "user"


def test_another_process_at_the_job_is_waited_for(workspace: Workspace, fake: FakeBackend, start: Start) -> None:
    job_id = start()
    workspace.store.claim(job_id, "somebody else")
    assert workspace.worker.step(job_id).status == "preparing"
    workspace.store.release(job_id, "somebody else")
    assert drive(workspace, job_id).status == "succeeded"


SUBMIT_SLOWLY = textwrap.dedent("""
    import os, signal, sys
    from pathlib import Path
    from tuneport.backends.fake import FakeBackend
    from tuneport.jobs.service import Workspace
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
    workspace = Workspace()
    row = workspace.submit(TuneSpec(model="base", dataset=Path(sys.argv[1])), backend="fake")
    workspace.drive(row.id, poll_seconds=0.01)
""")


@pytest.mark.parametrize(
    "where", ["before:prepare", "after:prepare", "before:submit", "after:submit", "before:fetch", "after:events"]
)
def test_killed_anywhere_the_job_survives_and_is_started_once(
    workspace: Workspace, fake: FakeBackend, dataset: Path, where: str
) -> None:
    done = subprocess.run([sys.executable, "-c", SUBMIT_SLOWLY, str(dataset), where], timeout=60)
    assert done.returncode == -9
    rows = workspace.store.jobs()
    assert len(rows) == 1 and not rows[0].job_status.terminal
    _expire_lease(workspace.store, rows[0])
    assert drive(workspace, rows[0].id).status == "succeeded"
    assert remote_jobs(fake) == 1
    events = [event.id for _, event in workspace.events(rows[0].id)]
    assert len(events) == len(set(events))


def _expire_lease(store: Store, row: JobRow) -> None:
    """As if two minutes had passed since its holder died."""
    assert row.lease_owner is not None
    store.claim(row.id, row.lease_owner, seconds=-1)


def test_the_document_has_the_same_keys_in_every_state(workspace: Workspace, fake: FakeBackend, start: Start) -> None:
    job_id = start()
    documents = [describe(workspace.job(job_id))]
    drive(workspace, job_id, on_change=lambda row: documents.append(describe(row)))
    assert len({tuple(sorted(document)) for document in documents}) == 1
    assert json.loads(json.dumps(documents[-1])) == documents[-1]
