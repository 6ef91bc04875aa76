"""--stop-on-overfit: a job that surely overfits is stopped, whoever looks after it, and its best checkpoint is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.workspaces import write_chats
from tuneport.errors import ConfigError, RejectedError
from tuneport.lifecycle.schema.tables import JobRow
from tuneport.lifecycle.service import JobService
from tuneport.lifecycle.worker.provider_polling import ProviderPoller
from tuneport.lifecycle.worker.stopping import StoppedEarly
from tuneport.settings import Settings
from tuneport.testing.emulators import OpenAIEmulator
from tuneport.types import JobState, JobStatus, TuneSpec

MODEL = "gpt-4.1-mini-2025-04-14"
Submit = Callable[..., JobRow]


@pytest.fixture
def workspace(openai: OpenAIEmulator, isolated: Path) -> Iterator[JobService]:
    with JobService(Settings.load(isolated)) as opened:
        yield opened


@pytest.fixture
def submit(workspace: JobService, openai: OpenAIEmulator, isolated: Path) -> Submit:
    """160 steps in sixteen epochs, of which validation is lowest in the fourth."""
    spec = TuneSpec.model_validate(
        {
            "model": MODEL,
            "dataset": write_chats(isolated / "train.jsonl", 20),
            "validation": write_chats(isolated / "valid.jsonl", 10),
            "hyperparameters": {"epochs": 16, "batch_size": 2},
        }
    )

    def go(*, overfits: bool, stop: bool) -> JobRow:
        row = workspace.start(workspace.submit(spec, backend="openai", stop_on_overfit=stop).id)
        openai.jobs[str(row.remote_id)].overfits = overfits
        return row

    return go


def share_done(openai: OpenAIEmulator, share: float) -> None:
    """To where a running job, which is so after two states of 600 s, has done so much of its steps."""
    openai.advance(1200 + 600 * share - (openai.now() - openai.started))


def look(workspace: JobService, row: JobRow, *, by: str) -> JobRow:
    """As whoever follows one job does, or as the poller of many, in a process of its own."""
    if by == "drive":
        for _ in range(2):
            workspace.worker.step(row.id)
        return workspace.job(row.id)
    with JobService(workspace.settings) as other:
        other.store.schedule.poll_soon(row.id, polled_before_seconds=0)
        poller = ProviderPoller(other.worker, "openai", sleep=lambda seconds: False)
        for _ in range(2):
            poller.poll_due_jobs()
        return other.job(row.id)


@pytest.mark.parametrize("by", ["drive", "poll"])
def test_an_overfitted_job_is_stopped_with_its_checkpoint_and_what_that_saves(
    workspace: JobService, openai: OpenAIEmulator, submit: Submit, by: str
) -> None:
    job, left_alone, good = (submit(overfits=o, stop=s) for o, s in ((True, True), (True, False), (False, True)))
    share_done(openai, 0.2)
    assert look(workspace, job, by=by).stopped_early is None, "nothing is wrong yet"
    share_done(openai, 0.6)
    with workspace.store.database.transaction() as session:
        stored = session.get(JobRow, job.id)
        assert stored is not None and stored.estimate is not None
        stored.curve_at = None  # a minute later
        if by == "poll":  # as Together's terms have it
            stored.estimate = stored.estimate | {"cancelled_pays": "steps_done"}
    rows = [look(workspace, row, by=by) for row in (job, left_alone, good)]
    assert [row.job_status for row in rows] == [JobStatus.CANCELLED, JobStatus.RUNNING, JobStatus.RUNNING]
    row = rows[0]
    assert row.curve is not None and row.curve["finding"] == "overfitting" and row.curve["sure"]
    stopped = StoppedEarly.model_validate(row.stopped_early)
    assert 90 <= stopped.step <= 96 and stopped.total_steps == 160 and abs(stopped.best_step - 40) <= 10
    assert stopped.checkpoint.startswith("ftckpt_") and (stopped.model or "").endswith(
        f"ckpt-step-{stopped.checkpoint_step}"
    )
    expected = row.job_quote.expected if row.job_quote else None
    assert expected and f"{1 - stopped.step / 160:.0%} of the steps are not trained" in stopped.because
    if by == "poll":
        assert stopped.usd_saved == pytest.approx(expected * (1 - stopped.step / 160), rel=0.01)
        assert "that saves about $0.01" in str(stopped)
    else:
        assert stopped.usd_saved is None and "openai does not say what it bills for a cancelled job" in str(stopped)
    [told] = [event for _, event in workspace.events(job.id) if event.type == "overfitting"]
    assert "Overfitting since step" in told.message and str(stopped) in told.message
    assert not [event for _, event in workspace.events(good.id) if event.type == "overfitting"]


def test_the_wish_outlives_the_process_that_wrote_it(
    workspace: JobService, openai: OpenAIEmulator, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = submit(overfits=True, stop=False)
    share_done(openai, 0.6)
    workspace.stop_on_overfit(row.id)  # `watch JOB --stop-on-overfit`
    backend = workspace.backend("openai")

    def killed(remote_id: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(backend, "stop_early", killed)
    with pytest.raises(KeyboardInterrupt):
        look(workspace, row, by="drive")
    assert workspace.job(row.id).requested_action == "stop" and openai.jobs[str(row.remote_id)].cancelled is False
    with JobService(workspace.settings) as other:
        assert other.refresh(row.id).job_status is JobStatus.CANCELLED
        assert len([event for _, event in other.events(row.id) if event.type == "overfitting"]) == 1


@pytest.mark.parametrize("ended", [True, False])
def test_what_was_not_stopped_is_not_said_to_have_saved_anything(
    workspace: JobService, openai: OpenAIEmulator, submit: Submit, monkeypatch: pytest.MonkeyPatch, ended: bool
) -> None:
    row = submit(overfits=True, stop=True)
    share_done(openai, 0.6)
    backend = workspace.backend("openai")

    def too_late(remote_id: str) -> JobState:
        if not ended:
            raise RejectedError("this key may not cancel", provider="openai", http_status=403)
        share_done(openai, 10.0)
        return backend.cancel(remote_id)

    monkeypatch.setattr(backend, "stop_early", too_late)
    row = look(workspace, row, by="drive")
    assert row.stopped_early is None and row.requested_action is None
    assert row.job_status is (JobStatus.SUCCEEDED if ended else JobStatus.RUNNING)
    told = [event.message for _, event in workspace.events(row.id) if event.type == "overfitting"]
    why = "it had ended before it could be stopped" if ended else "this key may not cancel, so it continues"
    assert any("Nothing was stopped or saved" in each and why in each for each in told)


def test_a_job_of_which_nothing_could_be_kept_goes_on_and_says_so(
    workspace: JobService, openai: OpenAIEmulator, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = submit(overfits=True, stop=True)
    share_done(openai, 0.6)
    monkeypatch.setattr(workspace.backend("openai"), "checkpoints", lambda remote_id: [])
    assert look(workspace, row, by="drive").job_status is JobStatus.RUNNING
    [told] = [event for _, event in workspace.events(row.id) if event.type == "overfitting"]
    assert "openai has no checkpoint of it to keep, so it continues" in told.message


def test_without_rows_to_tell_by_it_is_refused(workspace: JobService, openai: OpenAIEmulator, isolated: Path) -> None:
    spec = TuneSpec(model=MODEL, dataset=write_chats(isolated / "train.jsonl", 20))
    with pytest.raises(ConfigError, match="give a validation file"):
        workspace.submit(spec, backend="openai", stop_on_overfit=True)
    row = workspace.submit(spec, backend="openai")
    with pytest.raises(ConfigError, match="give a validation file"):
        workspace.stop_on_overfit(row.id)
