"""A job as Python code sees it: followed, asked, shown."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import tuneport
from tuneport.lifecycle.handle import JobUpdate
from tuneport.testing.fake.backend import FakeBackend
from tuneport.testing.fake.jobs import ArmedFault
from tuneport.types import Completion, JobStatus


@pytest.fixture
def opened() -> Iterator[tuneport.Workspace]:
    with tuneport.Workspace() as workspace:
        yield workspace


@pytest.fixture
def job(opened: tuneport.Workspace, dataset: Path) -> tuneport.Job:
    return opened.submit(dataset, model="tiny", backend="fake", confirm=False, anyway=True)


def test_a_job_is_followed_to_its_end(job: tuneport.Job) -> None:
    updates = list(job.follow(poll_seconds=0.01))
    assert all(isinstance(update, JobUpdate) for update in updates)
    statuses = [update.status for update in updates]
    assert statuses[-1] is job.status is JobStatus.SUCCEEDED and len(updates) >= 2
    ids = [event.id for update in updates for event in update.events]
    assert ids == [event.id for event in job.events()] and ids and len(ids) == len(set(ids))
    told = [(update.status, update.note, update.progress, bool(update.events)) for update in updates]
    assert all(one[:3] != other[:3] or other[3] for one, other in zip(told, told[1:], strict=False))  # each is a change
    [last] = job.follow()
    assert last.status is JobStatus.SUCCEEDED and len(last.events) == len(ids)


def test_following_a_failed_job_ends_with_it(opened: tuneport.Workspace, dataset: Path) -> None:
    backend = opened.backend("fake")
    assert isinstance(backend, FakeBackend)
    backend.arm(ArmedFault(on="submit", kind="fail_job"))
    job = opened.submit(dataset, model="tiny", backend="fake", confirm=False, anyway=True)
    assert list(job.follow(poll_seconds=0.01))[-1].status is JobStatus.FAILED
    with pytest.raises(tuneport.JobFailedError):
        job.wait()


def test_waiting_and_following_have_a_limit(job: tuneport.Job) -> None:
    with pytest.raises(TimeoutError, match=f"{job.id} is .* after 0 seconds; it continues"):
        job.wait(timeout=0)
    with pytest.raises(TimeoutError, match="after 0 seconds"):
        list(job.follow(timeout=0))
    assert job.wait(poll_seconds=0.01).status is JobStatus.SUCCEEDED


def test_the_model_answers_whole_and_in_pieces(opened: tuneport.Workspace, job: tuneport.Job) -> None:
    job.wait(poll_seconds=0.01)
    whole = job.complete("Question number 3?")
    assert isinstance(whole, Completion) and whole.text == "Answer 3."
    for pieces in (job.stream("Question number 3?"), job.complete("Question number 3?", stream=True)):
        assert not isinstance(pieces, Completion) and list(pieces) != [whole.text]
    assert "".join(job.stream([{"role": "user", "content": "Question number 3?"}])) == whole.text
    assert opened.complete(job.id, "Question number 3?").text == whole.text
    assert (
        "".join(opened.stream("other", "Hello", backend="fake"))
        == opened.complete("other", "Hello", backend="fake").text
    )


def test_an_unknown_job_is_what_the_docstring_says(opened: tuneport.Workspace) -> None:
    assert "UnknownJobError, a ConfigError" in (tuneport.job.__doc__ or "")
    for ask in (tuneport.job, opened.job):
        with pytest.raises(tuneport.UnknownJobError, match="job-000"):
            ask("job-000")


def test_a_job_is_shown(job: tuneport.Job) -> None:
    assert repr(job) == f"Job({job.id!r}, {job.status.value}, 'tiny' on 'fake')"
    page = job._repr_html_()
    assert job.id in page and "tiny" in page and job.status.value in page


def test_a_backend_without_endpoints_deploys_nothing(job: tuneport.Job, opened: tuneport.Workspace) -> None:
    with pytest.raises(tuneport.ConfigError, match="has no model yet"):
        opened.deploy(job)
    job.wait(poll_seconds=0.01)
    for deploy in (lambda: opened.deploy(job, replicas=1), lambda: tuneport.deploy(job.id), job.deploy):
        with pytest.raises(tuneport.UnsupportedError, match="deploying a model"):
            deploy()
