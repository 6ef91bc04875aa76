"""Workspaces of Python programs: shared while a job of them is there, closed afterwards, left alone by children."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import tuneport
from tuneport.lifecycle.open_service import OpenJobService, open_shared_job_service
from tuneport.lifecycle.service import JobService
from tuneport.settings import Settings


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The processes that closed a workspace, in order."""
    found: list[int] = []
    close = JobService.close

    def noted(self: JobService) -> None:
        found.append(os.getpid())
        close(self)

    monkeypatch.setattr(JobService, "close", noted)
    return found


def test_functions_share_a_workspace_and_close_it_with_the_last_job(dataset: Path, closed: list[int]) -> None:
    job = tuneport.submit(dataset, model="tiny", backend="fake", confirm=False, anyway=True)
    same = tuneport.job(job.id)
    [listed] = tuneport.jobs()
    assert same._workspace is job._workspace is listed._workspace and closed == []
    del job, same
    assert closed == []
    del listed
    assert closed == [os.getpid()]
    ids = [each.id for each in tuneport.jobs()]
    assert len(ids) == 1 and closed == [os.getpid()] * 2


def test_other_settings_are_another_workspace(monkeypatch: pytest.MonkeyPatch) -> None:
    first = open_shared_job_service()
    assert open_shared_job_service() is first
    monkeypatch.setenv("TUNEPORT_BACKEND", "fake")
    assert open_shared_job_service() is not first and first.service.settings.backend is None


def test_a_failure_leaves_nothing_open(dataset: Path, closed: list[int]) -> None:
    with pytest.raises(tuneport.ConfigError):
        tuneport.submit(dataset, model="tiny", backend="nowhere")
    with pytest.raises(tuneport.UnknownJobError, match="job-nowhere"):
        tuneport.job("job-nowhere")
    assert closed == [os.getpid()] * 2


def test_a_closed_workspace_is_of_no_use(dataset: Path, closed: list[int]) -> None:
    with tuneport.Workspace() as workspace:
        job = workspace.submit(dataset, model="tiny", backend="fake", confirm=False, anyway=True)
        backend = workspace.backend("fake")
        assert workspace.job(job.id)._workspace.backend("fake") is backend
    assert closed == [os.getpid()] and repr(workspace).endswith("closed)")
    assert job.status and job.as_dict()["id"] == job.id  # what it knows already
    workspace.close()
    assert closed == [os.getpid()]
    for use in (job.refresh, workspace.jobs, job.wait):
        with pytest.raises(tuneport.ConfigError, match="the workspace is closed; open another"):
            use()


def test_a_forked_child_has_a_workspace_of_its_own(dataset: Path, closed: list[int]) -> None:
    job = tuneport.submit(dataset, model="tiny", backend="fake", confirm=False, anyway=True)
    before = job._workspace
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        try:
            assert job._workspace is not before
            job.wait(poll_seconds=0.01)
            before_the_end = list(closed)
            del job
            os.write(writing, f"{before_the_end} {[os.getpid()] == closed}".encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reading, 100) == b"[] True"
    assert job._workspace is before and closed == []
    assert job.refresh().status == "succeeded"  # which the child drove there


def test_a_lock_that_another_thread_held_does_not_outlive_a_fork(settings: Settings) -> None:
    from tuneport.lifecycle import open_service

    opened = OpenJobService(settings)
    with open_service._sharing:
        if (child := os.fork()) == 0:
            os._exit(0 if open_service._sharing.acquire(timeout=1) and opened.service else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
