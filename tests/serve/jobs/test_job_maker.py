"""From a request to a job, once, whatever happens between any two steps."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import update
from sqlalchemy.exc import OperationalError

from tests.support.gateways import OLD_MODEL, Running, chats, ended
from tests.support.waiting import until
from tuneport.errors import RejectedError, StorageError, UnavailableError
from tuneport.lifecycle.schema.database import explain_database_errors
from tuneport.lifecycle.schema.tables import JobRow
from tuneport.lifecycle.service import JobService
from tuneport.lifecycle.store.files.uploaded import UploadedFileStore
from tuneport.serve import background
from tuneport.serve.jobs import job_maker
from tuneport.serve.jobs.results import GatewayJobResultWriter
from tuneport.types import now

openai = pytest.importorskip("openai", reason="the client of these tests: pip install 'tuneport[openai]'")


@pytest.fixture
def create(running: Running, tmp_path: Path) -> Callable[..., str]:
    file = running.client().files.create(file=chats(tmp_path / "c.jsonl"), purpose="fine-tune")

    def one(**more: Any) -> str:
        return str(running.client().fine_tuning.jobs.create(model=OLD_MODEL, training_file=file.id, **more).id)

    return one


def rows(running: Running) -> list[str]:
    return [row.id for row in running.gateway.unscoped.store.jobs.all()]


def the_store_is_locked(*arguments: Any, **named: Any) -> Any:
    with explain_database_errors("sqlite:///secret-place.db"):
        raise OperationalError("select", {}, sqlite3.OperationalError("database is locked"))


def test_cancelled_while_its_data_is_read_it_never_is_a_job(
    running: Running, create: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = create()
    planned = JobService.plan

    def cancelled_meanwhile(*arguments: Any, **named: Any) -> Any:
        assert running.client().fine_tuning.jobs.cancel(job_id).status == "cancelled"
        return planned(*arguments, **named)

    monkeypatch.setattr(JobService, "plan", cancelled_meanwhile)
    job_maker.make_jobs_of_requests(running.gateway)
    assert rows(running) == []
    assert running.client().fine_tuning.jobs.retrieve(job_id).status == "cancelled"


def test_who_lost_the_request_neither_starts_nor_fails_it(
    running: Running, create: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A holder that was suspended for longer than its hold: another one has made the job meanwhile."""
    job_id, store = create(), running.gateway.unscoped.store
    late = store.requests.claim_oldest("late")
    assert late is not None
    store.requests.defer(job_id, "late", seconds=-1)
    job_maker.make_jobs_of_requests(running.gateway)
    assert rows(running) == [job_id]
    job_maker.make_job_of_request(running.gateway, late, "late")
    refused = RejectedError("no", provider="p")
    monkeypatch.setattr(job_maker, "build_client_requested_spec", lambda *given: (_ for _ in ()).throw(refused))
    job_maker.make_job_of_request(running.gateway, late, "late")
    assert rows(running) == [job_id]
    request = store.requests.get(job_id)
    assert request is not None and (request.state, request.error) == ("taken", None)


@pytest.mark.parametrize("trouble", [StorageError("full"), UnavailableError("down", provider="p"), None])
def test_one_that_cannot_be_made_now_keeps_nobody_waiting(
    running: Running, create: Callable[..., str], monkeypatch: pytest.MonkeyPatch, trouble: Exception | None
) -> None:
    """`None`: the store itself is locked at that moment."""
    first, second = create(suffix="stuck"), create()
    real = job_maker.build_client_requested_spec

    def stuck(gateway: Any, body: dict[str, Any]) -> Any:
        if body.get("suffix") == "stuck":
            the_store_is_locked() if trouble is None else None
            raise trouble  # type: ignore[misc]
        return real(gateway, body)

    monkeypatch.setattr(job_maker, "build_client_requested_spec", stuck)
    job_maker.make_jobs_of_requests(running.gateway)
    assert rows(running) == [second]
    assert running.client().fine_tuning.jobs.retrieve(first).status == "validating_files"
    monkeypatch.setattr(job_maker, "build_client_requested_spec", real)
    running.gateway.unscoped.store.requests.defer(first, "nobody", seconds=-1)
    job_maker.make_jobs_of_requests(running.gateway)
    assert sorted(rows(running)) == sorted([first, second])


def test_a_content_on_another_gateways_disk_is_left_to_it(
    running: Running, create: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = create()
    monkeypatch.setattr(running.gateway.contents, "has_content", lambda sha256: False)
    job_maker.make_jobs_of_requests(running.gateway)
    assert running.client().fine_tuning.jobs.retrieve(job_id).status == "validating_files"
    running.gateway.timing = replace(running.gateway.timing, missing_content=0.0)
    running.gateway.unscoped.store.requests.defer(job_id, "nobody", seconds=-1)
    job_maker.make_jobs_of_requests(running.gateway)
    assert "upload it again" in running.client().fine_tuning.jobs.retrieve(job_id).error.message


def test_after_trouble_with_the_store_jobs_go_on(
    running: Running, create: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, real, failed = running.gateway.unscoped.store, running.gateway.unscoped.store.schedule.due_backends, []

    def locked_once() -> Any:
        if not failed:
            failed.append(True)
            the_store_is_locked()
        return real()

    monkeypatch.setattr(store.schedule, "due_backends", locked_once)
    job_id = create()
    background.start_gateway_threads(running.gateway)
    assert ended(running.client(), job_id).status == "succeeded" and failed
    assert httpx.get(f"{running.url.removesuffix('/v1')}/readyz").status_code == 200


def test_a_store_that_does_not_answer_is_503_and_says_no_address(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(UploadedFileStore, "get", the_store_is_locked)
    answer = httpx.get(f"{running.url}/files/file-1")
    assert answer.status_code == 503 and "secret-place" not in answer.text
    assert httpx.get(f"{running.url.removesuffix('/v1')}/readyz").status_code == 503, "nobody looks after jobs here"


def test_results_of_a_provider_in_trouble_come_later_and_are_not_asked_for_in_a_hurry(
    running: Running, create: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id, workspace = create(), running.gateway.unscoped
    job_maker.make_jobs_of_requests(running.gateway)
    workspace.drive(job_id, poll_seconds=0.01)
    assert running.client().fine_tuning.jobs.retrieve(job_id).status == "running", "until its results are there"
    asked: list[str] = []

    def down(name: str) -> Any:
        asked.append(name)
        raise UnavailableError("down", provider="fake")

    real = workspace.metrics
    monkeypatch.setattr(workspace, "metrics", down)
    results = GatewayJobResultWriter(running.gateway)
    for _ in range(20):
        results.write_due_results()
    assert asked == [job_id]
    with running.gateway.unscoped.store.database.transaction() as session:
        session.execute(update(JobRow).where(JobRow.id == job_id).values(updated_at=now() - timedelta(minutes=2)))
    assert running.client().fine_tuning.jobs.retrieve(job_id).status == "succeeded", "it is not held back for ever"
    monkeypatch.setattr(workspace, "metrics", real)
    GatewayJobResultWriter(running.gateway).write_due_results()
    job = running.client().fine_tuning.jobs.retrieve(job_id)
    assert running.client().files.content(job.result_files[0]).text.startswith("step,train_loss")


def test_what_a_job_made_can_be_trained_further(running: Running, create: Callable[..., str]) -> None:
    """And what that made, again: the base is the first one's, at the backend that has the weights."""
    background.start_gateway_threads(running.gateway)
    client, model = running.client(), OLD_MODEL
    file = client.files.list().data[0].id
    for _ in range(3):
        job = client.fine_tuning.jobs.create(model=model, training_file=file)
        done = ended(client, job.id)
        assert done.status == "succeeded", done.error
        model = until(lambda: client.fine_tuning.jobs.retrieve(job.id).fine_tuned_model)  # noqa: B023
        assert model.startswith(f"ft:{OLD_MODEL}:tuneport:")
