"""An account takes so many jobs at once: the next one waits for its place, whoever counts, and does not fail."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.workspaces import write_chats
from tuneport.lifecycle.schema.tables import JobRow
from tuneport.lifecycle.service import JobService
from tuneport.lifecycle.store.store import Store
from tuneport.testing.emulators import OpenAIEmulator
from tuneport.types import DataFile, JobStatus, PreparedData, TuneSpec

MODEL = "gpt-4.1-mini-2025-04-14"


@pytest.fixture
def submit(hosted: JobService, isolated: Path) -> Callable[..., str]:
    dataset = write_chats(isolated / "train.jsonl")

    def add(**values: object) -> str:
        spec = TuneSpec.model_validate({"model": MODEL, "dataset": dataset} | values)
        return hosted.submit(spec, backend="openai").id

    return add


def test_the_fourth_job_waits_and_takes_the_first_place_that_is_free(
    hosted: JobService, openai: OpenAIEmulator, submit: Callable[..., str]
) -> None:
    first = [submit() for _ in range(3)]
    for job_id in first:
        assert hosted.start(job_id).remote_id
    fourth = submit()
    row = hosted.start(fourth, wait_for_place=0.0)
    assert (row.status, row.remote_id, openai.jobs_created) == ("submitting", None, 3)
    assert "waits for one of the 3 jobs" in str(row.note) and "(limit of the account: 3 at once)" in str(row.note)
    assert row.submit_attempts == 0 and first[0] in str(row.note)
    openai.advance(3600)
    # Nobody follows the three: whoever waits for their places looks at them itself.
    for job_id in first:
        with hosted.store.database.transaction() as session:
            session.get(JobRow, job_id).polled_at = None  # type: ignore[union-attr]
    assert hosted.drive(fourth, until=lambda row: row.remote_id is not None, poll_seconds=0.05).remote_id
    assert openai.jobs_created == 4
    assert {hosted.job(job_id).status for job_id in first} == {"succeeded"}


def test_a_job_that_only_waits_is_left_to_whoever_drives_it(
    hosted: JobService, openai: OpenAIEmulator, submit: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        hosted.start(submit())
    waiting, late = submit(), submit()
    for job_id in (waiting, late):
        assert hosted.start(job_id, wait_for_place=0.0).waits_since is not None
    claimed: list[str] = []
    claim = hosted.store.leases.claim
    monkeypatch.setattr(
        hosted.store.leases,
        "claim",
        lambda job_id, *given, **more: (claimed.append(job_id), claim(job_id, *given, **more))[1],
    )
    assert "waits for one of the 4 jobs" in str(hosted.worker.step(late).note)
    assert late in claimed and waiting not in claimed


def test_another_model_has_places_of_its_own(
    hosted: JobService, openai: OpenAIEmulator, submit: Callable[..., str]
) -> None:
    for _ in range(3):
        hosted.start(submit())
    assert hosted.start(submit(model="gpt-4.1-2025-04-14"), wait_for_place=0.0).remote_id


def test_the_providers_own_refusal_is_waited_for_and_costs_no_attempt(
    hosted: JobService, openai: OpenAIEmulator, submit: Callable[..., str]
) -> None:
    body = {"error": {"message": "Too many active jobs.", "type": "invalid_request_error", "code": "exceeded_quota"}}
    openai.fail("status", status=429, method="POST", path="/fine_tuning/jobs", times=6, body=body)
    job_id = submit()
    row = hosted.start(job_id, wait_for_place=0.0)
    assert row.status == "submitting" and "waits until openai takes another job" in str(row.note)
    row = hosted.drive(job_id, until=lambda row: row.remote_id is not None, poll_seconds=0.01)
    assert (row.submit_attempts, row.waits_since, openai.jobs_created) == (1, None, 1)
    events = [event for _, event in hosted.events(job_id) if event.type == "waiting"]
    assert len(events) == 1, "told once, however often it was tried"


def test_a_place_is_not_asked_for_before_the_provider_said(
    hosted: JobService, openai: OpenAIEmulator, submit: Callable[..., str]
) -> None:
    headers = {"retry-after": "1000"}
    openai.fail("status", status=429, method="POST", path="/fine_tuning/jobs", times=1, headers=headers)
    job_id = submit()
    hosted.start(job_id, wait_for_place=0.0)
    asked = len(openai.requests("POST", "/fine_tuning/jobs"))
    for _ in range(3):
        assert hosted.worker.step(job_id).status == "submitting"
    assert len(openai.requests("POST", "/fine_tuning/jobs")) == asked == 1


def test_a_daily_limit_fails_today_and_names_who_takes_the_job_today(
    hosted: JobService, openai: OpenAIEmulator, submit: Callable[..., str]
) -> None:
    openai.refuse = "daily_rate_limit_exceeded"
    row = hosted.start(submit())
    assert row.status == "failed" and row.job_error is not None
    assert row.job_error.code == "daily_rate_limit_exceeded" and "submit again tomorrow" in row.job_error.message
    assert [entry["backend"] for entry in row.job_error.details["alternatives"]]


def test_no_money_is_no_reason_to_wait(hosted: JobService, openai: OpenAIEmulator, submit: Callable[..., str]) -> None:
    openai.refuse = "insufficient_quota"
    assert hosted.start(submit()).status == "failed"


def test_many_processes_together_take_no_place_too_many(tmp_path: Path) -> None:
    """Each with a connection of its own, as processes have; the count and the intent are one transaction."""
    url = f"sqlite:///{tmp_path / 'store.db'}"
    first = Store(url).unscoped()
    file = DataFile(path=Path("f"), sha256="0" * 64, format="openai", rows=1, bytes=2)
    spec, data = TuneSpec(model=MODEL, dataset=Path("t")), PreparedData(training=file)
    ids = [first.jobs.add(spec, data, backend="openai", model=MODEL, quote=None).id for _ in range(12)]

    def take(job_id: str) -> bool:
        store = Store(url).unscoped()
        try:
            store.leases.claim(job_id, f"me {job_id}")
            row, _ = store.schedule.acquire_slot(
                job_id, f"me {job_id}", limit=3, submit_intent_at=first.jobs.get(job_id).created_at
            )
            return row is not None
        finally:
            store.close()

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(take, ids)) == 3
    first.close()


def test_who_waits_longer_goes_first_and_who_has_left_blocks_nobody(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'store.db'}").unscoped()
    file = DataFile(path=Path("f"), sha256="0" * 64, format="openai", rows=1, bytes=2)
    spec, data = TuneSpec(model=MODEL, dataset=Path("t")), PreparedData(training=file)
    runs, early, late = (store.jobs.add(spec, data, backend="b", model="m", quote=None) for _ in range(3))
    for row in (runs, early, late):
        store.leases.claim(row.id, "me")
    moment = runs.created_at
    assert store.schedule.acquire_slot(runs.id, "me", limit=1, submit_intent_at=moment)[0] is not None
    assert store.schedule.acquire_slot(early.id, "me", limit=1, submit_intent_at=moment) == (None, [runs.id])
    store.leases.write(runs.id, "me", status=JobStatus.SUCCEEDED)
    taken, blocking = store.schedule.acquire_slot(late.id, "me", limit=1, submit_intent_at=moment)
    assert taken is None and blocking == [early.id]
    with store.database.transaction() as session:  # nobody has tried for `early` since long ago
        session.get(JobRow, early.id).updated_at = moment.replace(year=2020)  # type: ignore[union-attr]
    assert store.schedule.acquire_slot(late.id, "me", limit=1, submit_intent_at=moment)[0] is not None
    store.close()


def test_python_gets_the_waiting_job_back(
    hosted: JobService, openai: OpenAIEmulator, submit: Callable[..., str], isolated: Path
) -> None:
    import tuneport

    for _ in range(3):
        hosted.start(submit())
    waiting = tuneport.submit(
        isolated / "train.jsonl", model=MODEL, backend="openai", confirm=False, anyway=True, again=True
    )
    assert waiting.status is JobStatus.SUBMITTING and "limit of the account" in str(waiting.note)
