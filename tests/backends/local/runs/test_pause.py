"""Pausing local runs: at every point of their life, with children of a few lines, and once with the real trainer."""

from __future__ import annotations

import fcntl
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.backends.local import test_backend as test_local
from tests.backends.local.runs import test_run as test_local_faults
from tests.backends.local.runs.test_run import running, starts, wait
from tests.support.waiting import until
from tuneport.backends.local.backend import LocalBackend
from tuneport.backends.local.runs import process as local_process
from tuneport.backends.local.runs import run as local_run
from tuneport.errors import BudgetError, ConfigError, ProviderError, RejectedError
from tuneport.lifecycle.schema.tables import JobRow
from tuneport.lifecycle.service import JobService
from tuneport.settings import Settings
from tuneport.testing.contract import contract_job_token, prepared_chats
from tuneport.types import JobState, JobStatus, TuneSpec

Open = Callable[[str], LocalBackend]
Submit = Callable[..., JobState]

model, open_stub, submit = test_local_faults.model, test_local_faults.open_stub, test_local_faults.submit
tiny_model = test_local.tiny_model

PAUSABLE = """
say("running", micro_batch=8)
while True:
    if (run / "pause").exists() and not (run / "deaf").exists():
        (run / "checkpoints" / f"step-{started}").mkdir(parents=True, exist_ok=True)
        while (run / "slow").exists(): time.sleep(0.01)
        say("paused"); sys.exit(0)
    if (run / "go").exists():
        say("succeeded"); sys.exit(0)
    time.sleep(0.01)
"""


def paused(backend: LocalBackend, run_id: str) -> JobState:
    state: JobState = until(lambda: (s := backend.fetch(run_id)).status is JobStatus.PAUSED and s)
    until(lambda: not backend._run(run_id).is_alive())
    return state


def test_a_paused_run_stays_so_until_it_is_resumed(open_stub: Open, submit: Submit) -> None:
    backend = open_stub(PAUSABLE)
    run_id = submit(backend).remote_id
    running(backend, run_id)
    assert backend.pause(run_id).status in (JobStatus.PAUSING, JobStatus.PAUSED)
    state = paused(backend, run_id)
    assert state.finished_at is None and state.estimated_finish is None
    assert backend.pause(run_id).status is JobStatus.PAUSED, "paused already: no change, no error"
    for _ in range(3):
        assert backend.fetch(run_id).status is JobStatus.PAUSED
    with pytest.raises(RejectedError, match="not finished"):
        backend.delete(run_id)
    assert len(starts(backend, run_id)) == 1

    assert backend.resume(run_id).status is JobStatus.QUEUED
    running(backend, run_id, 2)
    assert backend.resume(run_id).status is JobStatus.RUNNING, "it runs: no change, no error"
    (backend._run(run_id).folder / "go").touch()
    state = wait(backend, run_id)
    assert state.status is JobStatus.SUCCEEDED and state.details.get("restarts") is None
    assert len(starts(backend, run_id)) == 2
    for verb in (backend.pause, backend.resume):
        with pytest.raises(RejectedError, match=r"has ended \(succeeded\)"):
            verb(run_id)
    assert backend.fetch(run_id) == state


def test_a_run_that_never_had_a_child_pauses_at_once(open_stub: Open, submit: Submit, monkeypatch) -> None:
    backend = open_stub(PAUSABLE)
    with monkeypatch.context() as patch:
        patch.setattr(local_run.LocalRun, "start", lambda run: None)
        run_id = submit(backend).remote_id
    assert backend.pause(run_id).status is JobStatus.PAUSED
    assert backend.fetch(run_id).status is JobStatus.PAUSED
    assert starts(backend, run_id) == []
    assert backend.resume(run_id).status is JobStatus.QUEUED
    running(backend, run_id)


def test_a_child_that_is_killed_while_pausing_is_paused_and_not_started_again(open_stub: Open, submit: Submit) -> None:
    backend = open_stub(PAUSABLE)
    run_id = submit(backend).remote_id
    pid = running(backend, run_id)
    (backend._run(run_id).folder / "deaf").touch()
    assert backend.pause(run_id).raw_status == "pausing"
    os.kill(pid, signal.SIGKILL)
    paused(backend, run_id)
    assert [event.message for event in backend.events(run_id)] == ["Paused at step 0"]
    assert len(starts(backend, run_id)) == 1
    (backend._run(run_id).folder / "deaf").unlink()
    backend.resume(run_id)
    running(backend, run_id, 2)


def test_a_paused_run_can_be_cancelled(open_stub: Open, submit: Submit) -> None:
    backend = open_stub(PAUSABLE)
    run_id = submit(backend).remote_id
    running(backend, run_id)
    backend.pause(run_id)
    paused(backend, run_id)
    assert backend.cancel(run_id).status is JobStatus.CANCELLED
    assert backend.fetch(run_id).status is JobStatus.CANCELLED
    with pytest.raises(RejectedError, match=r"has ended \(cancelled\)"):
        backend.resume(run_id)
    backend.delete(run_id)


def test_a_pause_that_is_taken_back_in_time_costs_a_restart_and_no_more(open_stub: Open, submit: Submit) -> None:
    backend = open_stub(PAUSABLE)
    run_id = submit(backend).remote_id
    running(backend, run_id)
    folder = backend._run(run_id).folder
    (folder / "slow").touch()
    backend.pause(run_id)
    until((folder / "checkpoints" / "step-1").exists)  # it has made up its mind
    assert backend.resume(run_id).status is JobStatus.RUNNING
    (folder / "slow").unlink()
    running(backend, run_id, 2)
    (folder / "go").touch()
    state = wait(backend, run_id)
    assert state.status is JobStatus.SUCCEEDED and state.details.get("restarts") is None, "nothing died"


FAILED = """
if started == 1:
    error = {{"code": "{code}", "message": "it went wrong", "fault": "provider", "retryable": {retryable}}}
    say("failed", error=error, finished_at="2026-01-01T00:00:00Z", micro_batch_limit=1)
    sys.exit(1)
say("succeeded", found=json.loads((run / "state.json").read_text()))
"""


@pytest.mark.parametrize("code", ["no_disk_space", "out_of_memory"])
def test_a_run_that_failed_for_want_of_room_can_be_resumed(open_stub: Open, submit: Submit, code: str) -> None:
    backend = open_stub(FAILED.format(code=code, retryable=True))
    run_id = submit(backend).remote_id
    assert wait(backend, run_id).status is JobStatus.FAILED
    until(lambda: not backend._run(run_id).is_alive())
    assert backend.resume(run_id).status in (JobStatus.QUEUED, JobStatus.SUCCEEDED)
    state = wait(backend, run_id)
    assert state.status is JobStatus.SUCCEEDED and state.error is None
    found = json.loads((backend._run(run_id).folder / "state.json").read_text())["found"]
    assert found["status"] == "queued" and found["finished_at"] is None
    assert found["micro_batch_limit"] == (None if code == "out_of_memory" else 1)


def test_resume_follows_a_failed_job_again(open_stub: Open, settings: Settings, model: Path, tmp_path: Path) -> None:
    """By the verb: the job's row is open again, and ends as the run does."""
    backend = open_stub(FAILED.format(code="no_disk_space", retryable=True))
    with JobService(settings) as workspace:
        workspace._backends["local"] = backend
        data = prepared_chats(tmp_path).training.path
        row = workspace.submit(TuneSpec(model=str(model), dataset=data), backend="local")
        row = workspace.drive(row.id, poll_seconds=0.01)
        assert row.status == "failed" and row.error is not None and row.error["code"] == "no_disk_space"
        until(lambda: not backend._run(str(row.remote_id)).is_alive())
        row = workspace.resume(row.id)
        assert not row.job_status.terminal or row.status == "succeeded"
        row = workspace.drive(row.id, poll_seconds=0.01)
        assert (row.status, row.error) == ("succeeded", None)
        with pytest.raises(ConfigError, match="has ended"):
            workspace.resume(row.id)


def test_a_failed_job_goes_on_only_where_the_month_has_room_for_it(
    open_stub: Open, settings: Settings, model: Path, tmp_path: Path
) -> None:
    backend = open_stub(FAILED.format(code="no_disk_space", retryable=True))
    with JobService(settings) as workspace:
        workspace._backends["local"] = backend
        data = prepared_chats(tmp_path).training.path
        row = workspace.submit(TuneSpec(model=str(model), dataset=data), backend="local")
        row = workspace.drive(row.id, poll_seconds=0.01)
        until(lambda: not backend._run(str(row.remote_id)).is_alive())
        with workspace.store.database.transaction() as session:
            stored = session.get(JobRow, row.id)
            assert stored is not None
            stored.reserved_usd = 4.0
        workspace.worker.monthly_budget = 3.0
        with pytest.raises(BudgetError, match="with up to .* above TUNEPORT_MONTHLY_BUDGET"):
            workspace.resume(row.id)
        kept = workspace.job(row.id)
        assert (kept.status, kept.reserved_usd, kept.finished_at) == ("failed", 4.0, row.finished_at)
        assert len(starts(backend, str(row.remote_id))) == 1, "nothing was started"
        workspace.worker.monthly_budget = 100.0
        workspace.resume(row.id)
        assert workspace.drive(row.id, poll_seconds=0.01).status == "succeeded"


def test_a_resume_that_is_refused_leaves_the_job_as_it_ended(
    open_stub: Open, settings: Settings, model: Path, tmp_path: Path
) -> None:
    backend = open_stub(FAILED.format(code="unsupported", retryable=False))
    with JobService(settings) as workspace:
        workspace._backends["local"] = backend
        data = prepared_chats(tmp_path).training.path
        row = workspace.submit(TuneSpec(model=str(model), dataset=data), backend="local")
        row = workspace.drive(row.id, poll_seconds=0.01)
        with pytest.raises(RejectedError, match="there is nothing to resume"):
            workspace.resume(row.id)
        kept = workspace.job(row.id)
        same = ("status", "finished_at", "reserved_usd", "cost_usd", "actual", "error", "due_at")
        assert [getattr(kept, name) for name in same] == [getattr(row, name) for name in same]


def test_a_run_that_would_only_fail_again_is_not_resumed(open_stub: Open, submit: Submit) -> None:
    backend = open_stub(FAILED.format(code="unsupported", retryable=False))
    run_id = submit(backend).remote_id
    assert wait(backend, run_id).status is JobStatus.FAILED
    with pytest.raises(RejectedError, match=r"has ended \(failed: it went wrong\); there is nothing to resume"):
        backend.resume(run_id)
    assert len(starts(backend, run_id)) == 1


def test_a_resume_that_cannot_start_a_child_leaves_the_run_paused(open_stub: Open, submit: Submit, monkeypatch) -> None:
    backend = open_stub(PAUSABLE)
    run_id = submit(backend).remote_id
    running(backend, run_id)
    backend.pause(run_id)
    paused(backend, run_id)

    def exhausted(*args: object, **kwargs: object) -> int:
        raise OSError(11, "Resource temporarily unavailable")

    with monkeypatch.context() as patch:
        patch.setattr(local_process, "spawn_local_run", exhausted)
        with pytest.raises(ProviderError, match="resuming the run failed"):
            backend.resume(run_id)
    running(backend, run_id, 2)  # the wish stands: whoever looks next starts it


def _noted(written: list[dict[str, Any]], told: dict[str, Any]) -> None:
    if "micro_batch_limit" in told:
        written.append(told)


@pytest.mark.parametrize(("before", "after", "limit"), [(3, 4, 4), (3, 3, None), (None, None, None)])
def test_a_child_that_the_kernel_killed_for_memory_takes_half_as_much_at_once(
    open_stub: Open, submit: Submit, monkeypatch, before: int | None, after: int | None, limit: int | None
) -> None:
    """The counter is the kernel's for the whole machine, so its word is passed on as what it is."""
    monkeypatch.setattr(local_process, "count_local_run_memory_kills", lambda: before)
    backend = open_stub(PAUSABLE)
    run_id = submit(backend).remote_id
    pid = running(backend, run_id)
    monkeypatch.setattr(local_process, "count_local_run_memory_kills", lambda: after)
    written: list[dict[str, Any]] = []  # noted as it is written: the next child, here a stub, writes a state of its own
    write = local_run.LocalRun._write_state
    monkeypatch.setattr(
        local_run.LocalRun, "_write_state", lambda run, **told: (_noted(written, told), write(run, **told))
    )
    os.kill(pid, signal.SIGKILL)
    until(lambda: not backend._run(run_id).is_alive())
    backend.fetch(run_id)
    [event] = [event for event in backend.events(run_id) if event.type == "restart"]
    said = "killed 1 process(es) for lack of memory since it started, and as it may be one of them, it takes at most 4"
    assert (said in event.message) is (limit is not None)
    assert [told.get("micro_batch_limit") for told in written] == ([] if limit is None else [limit])
    running(backend, run_id, 2)  # so that it is known, and ended with the test


def test_the_best_checkpoint_is_marked(open_stub: Open, submit: Submit) -> None:
    made = 'for step in (3, 6): (run / "checkpoints" / f"step-{step}").mkdir(parents=True)'
    backend = open_stub(f'{made}\nsay("succeeded", best_step=3)')
    run_id = submit(backend).remote_id
    wait(backend, run_id)
    assert [(point.step, point.best) for point in backend.checkpoints(run_id)] == [(3, True), (6, False)]


def test_the_kernels_count_of_memory_kills_is_read() -> None:
    kills = local_process.count_local_run_memory_kills()
    assert (kills is None) is not Path("/proc/vmstat").exists() and (kills is None or kills >= 0)


@pytest.mark.full
def test_the_real_trainer_pauses_in_the_queue_and_within_an_epoch(tiny_model: Path, tmp_path: Path) -> None:
    """And makes a checkpoint of its step on a SIGTERM that nobody asked for, as at a reboot."""
    backend = test_local.opened(tmp_path / "home")
    spec, data = test_local.long_run(tmp_path, tiny_model, epochs=3000)  # of three steps each
    spec = spec.model_copy(update={"provider_options": {"save_every": 100_000}})
    device = backend.settings.home / "devices" / "cpu.lock"
    device.parent.mkdir(parents=True)
    with device.open("w") as busy:
        fcntl.flock(busy, fcntl.LOCK_EX)
        run_id = backend.submit(spec, list(backend.prepare(spec, data)), token=contract_job_token("pause")).remote_id
        until(lambda: backend.fetch(run_id).raw_status == "queued")
        backend.pause(run_id)
        paused(backend, run_id)
    backend.resume(run_id)
    until(lambda: (backend.fetch(run_id).progress.step or 0) >= 1)
    first = test_local.child_of(backend, run_id)
    os.kill(first, signal.SIGTERM)
    until(lambda: not backend._run(run_id).is_alive())
    [(reached, _)] = backend._run(run_id).checkpoint_folders()
    assert reached == len(backend.metrics(run_id)), "nothing is lost"
    backend.fetch(run_id)
    until(lambda: (backend.fetch(run_id).progress.step or 0) > reached)
    assert backend.pause(run_id).status in (JobStatus.PAUSING, JobStatus.PAUSED)
    paused(backend, run_id)
    with device.open("w") as free:
        fcntl.flock(free, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the device is given back
    steps = [point.step for point in backend.metrics(run_id)]
    assert steps == list(range(1, backend._run(run_id).checkpoint_folders()[-1][0] + 1))
    assert [event.message for event in backend.events(run_id)][-1] == f"Paused at step {steps[-1]}"
    assert backend.cancel(run_id).status is JobStatus.CANCELLED
