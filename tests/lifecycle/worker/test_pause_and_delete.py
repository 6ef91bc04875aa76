"""Pause, resume, delete: written down before they are asked, so that neither crash nor lost answer forgets them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tuneport.errors import ConfigError, NotFoundError, RejectedError, UnavailableError, UnsupportedError
from tuneport.lifecycle.schema.tables import JobRow
from tuneport.lifecycle.service import JobService
from tuneport.testing.fake.backend import ArmedFault, FakeBackend

Start = Callable[..., str]


@pytest.fixture
def running(workspace: JobService, fake: FakeBackend, start: Start) -> str:
    job_id = start()
    workspace.drive(job_id, until=lambda row: row.status == "running", poll_seconds=0.01)
    return job_id


def finish(workspace: JobService, job_id: str) -> JobRow:
    return workspace.drive(job_id, poll_seconds=0.01)


def test_a_job_is_paused_and_goes_on(workspace: JobService, running: str) -> None:
    row = workspace.pause(running)
    assert (row.status, row.requested_action) == ("paused", None)
    assert workspace.pause(running).status == "paused", "paused already: no change, no error"
    assert workspace.refresh(running).status == "paused"
    assert workspace.resume(running).status == "running"
    assert finish(workspace, running).status == "succeeded"


def test_a_lost_answer_forgets_no_wish(workspace: JobService, fake: FakeBackend, running: str) -> None:
    fake.arm(ArmedFault(on="pause", kind="unavailable"))
    with pytest.raises(UnavailableError):
        workspace.pause(running)
    assert workspace.job(running).requested_action == "pause"
    assert workspace.worker.step(running).status == "paused"


def test_a_wish_that_is_refused_is_told_and_the_job_goes_on(
    workspace: JobService, fake: FakeBackend, running: str
) -> None:
    fake.arm(ArmedFault(on="pause", kind="rejected"))
    with pytest.raises(RejectedError, match="cannot be paused now"):
        workspace.pause(running)
    assert workspace.job(running).requested_action is None
    assert finish(workspace, running).status == "succeeded"


def test_what_cannot_be_paused_is_told_before_anything_is_written(
    workspace: JobService, fake: FakeBackend, start: Start, running: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="does not have job-.* yet"):
        workspace.pause(start())
    monkeypatch.delattr(FakeBackend, "pause")
    with pytest.raises(UnsupportedError, match="does not support pausing a job; cancel it instead"):
        workspace.pause(running)
    assert workspace.job(running).requested_action is None
    done = finish(workspace, running)
    with pytest.raises(ConfigError, match="has ended"):
        workspace.resume(done.id)


def test_a_paused_job_can_be_cancelled(workspace: JobService, running: str) -> None:
    workspace.pause(running)
    workspace.cancel(running)
    assert finish(workspace, running).status == "cancelled"


def test_a_model_is_deleted_once_and_its_record_says_so(workspace: JobService, fake: FakeBackend, start: Start) -> None:
    job_id = start()
    with pytest.raises(ConfigError, match="`tuneport cancel"):
        workspace.delete(job_id)
    row = finish(workspace, job_id)
    fake.arm(ArmedFault(on="delete", kind="lost_reply"))
    with pytest.raises(UnavailableError):
        workspace.delete(job_id)
    assert workspace.job(job_id).deleted_at is None and "not deleted yet" in str(workspace.job(job_id).note)
    assert workspace.worker.step(job_id).deleted_at is not None, "gone already counts as deleted"
    assert workspace.delete(job_id).deleted_at is not None
    with pytest.raises(NotFoundError):
        fake.fetch(str(row.remote_id))
    with pytest.raises(ConfigError, match="was deleted at fake on"):
        workspace.locate(job_id)
    assert workspace.job(job_id).status == "succeeded"


def test_a_model_that_its_backend_cannot_delete_is_no_wish(
    workspace: JobService, running: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish(workspace, running)
    monkeypatch.delattr(FakeBackend, "delete")
    with pytest.raises(UnsupportedError, match="does not support deleting a model"):
        workspace.delete(running)
    assert workspace.job(running).delete_requested_at is None


def test_what_made_no_model_has_none_to_delete(workspace: JobService, start: Start) -> None:
    row = workspace.cancel(start())
    with pytest.raises(ConfigError, match="there is nothing to delete"):
        workspace.delete(row.id)


def test_checkpoints_are_listed_by_step(workspace: JobService, start: Start, running: str) -> None:
    assert workspace.checkpoints(start()) == []
    finish(workspace, running)
    assert [checkpoint.step for checkpoint in workspace.checkpoints(running)] == [2, 4, 6]
