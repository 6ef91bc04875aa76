"""A start whose answer is lost: it is looked for, waited for, asked about, and never paid twice by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.support.workspaces import write_chats
from tuneport.backends import backend_manifest
from tuneport.backends.openai.backend import OpenAIBackend
from tuneport.backends.together.backend import TogetherBackend
from tuneport.errors import ConfigError, UnresolvedStartError
from tuneport.lifecycle.schema.machine_clock import StoreClockReading, read_store_machine_clock
from tuneport.lifecycle.schema.submission import JobSubmission
from tuneport.lifecycle.schema.tables import JobRow
from tuneport.lifecycle.service import JobService, describe_job
from tuneport.lifecycle.worker.worker import JobWorker
from tuneport.settings import Settings
from tuneport.testing.emulators import OpenAIEmulator, TogetherEmulator
from tuneport.types import TuneSpec

HOUR = 3600.0
MODELS = {"openai": "gpt-4.1-mini-2025-04-14", "together": "Qwen/Qwen3.5-4B"}
CREATION = {"openai": "/fine_tuning/jobs", "together": "/fine-tunes"}


class MachineClock:
    """Time since a machine's start, which passes when a test says so."""

    def __init__(self) -> None:
        self.boot, self.seconds = "first boot", 1000.0

    def __call__(self) -> StoreClockReading:
        return StoreClockReading(self.boot, self.seconds)


@pytest.fixture(params=["openai", "together"])
def provider(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    with (OpenAIEmulator if request.param == "openai" else TogetherEmulator)(pace=600) as emulator:
        monkeypatch.setenv(f"TUNEPORT_{request.param.upper()}_BASE_URL", emulator.base_url)
        monkeypatch.setenv(f"{request.param.upper()}_API_KEY", emulator.key)
        yield emulator


@pytest.fixture
def clock() -> MachineClock:
    return MachineClock()


@pytest.fixture
def workspace(provider: Any, clock: MachineClock, isolated: Path) -> Iterator[JobService]:
    # At the emulator's pace a file is validated in half an hour: 900 questions of the usual two seconds.
    (isolated / "tuneport.toml").write_text("[backends.together.options]\npoll_interval = 300\n")
    settings = Settings.load(isolated)
    make = OpenAIBackend if provider.name == "openai" else TogetherBackend
    with JobService(settings) as opened:
        opened._backends[provider.name] = make(
            backend_manifest(provider.name, settings), settings, sleep=provider.advance
        )
        worker = JobWorker(
            opened.store,
            opened.backend,
            opened.worker.files,
            fetch=opened.worker.fetch,
            sleep=lambda seconds: setattr(clock, "seconds", clock.seconds + seconds),
            machine_clock=clock,
        )
        opened._worker = cache(lambda: worker)
        yield opened


@pytest.fixture
def submit(workspace: JobService, provider: Any, isolated: Path) -> Callable[..., str]:
    def add(name: str = "train", **values: object) -> str:
        dataset = write_chats(isolated / f"{name}.jsonl", rows=10 + len(name))
        spec = TuneSpec.model_validate({"model": MODELS[provider.name], "dataset": dataset} | values)
        return workspace.submit(spec, backend=provider.name).id

    return add


@pytest.fixture
def known_to_keep_tokens(workspace: JobService, submit: Callable[..., str]) -> str:
    """A job of an earlier day, which the provider lists with its token."""
    return str(workspace.start(submit("earlier"), wait_for_place=0).remote_id)


def lose_the_answer(provider: Any, *, after: bool, times: int = 1) -> None:
    kind = "reset_after_accept" if after else "reset"
    provider.fail(kind, method="POST", path=f"**{CREATION[provider.name]}", times=times)


def until_lost(workspace: JobService, job_id: str) -> JobRow:
    return workspace.drive(job_id, until=lambda row: row.submit_intent_at is not None, poll_seconds=0.01)


def step(workspace: JobService, clock: MachineClock, job_id: str, *, after: float) -> JobRow:
    clock.seconds += after
    return workspace.worker.step(job_id)


def test_a_job_that_a_list_shows_late_is_adopted_and_not_started_again(
    workspace: JobService, provider: Any, clock: MachineClock, submit: Any, known_to_keep_tokens: str
) -> None:
    provider.list_lag = 3000
    lose_the_answer(provider, after=True)
    job_id = submit()
    until_lost(workspace, job_id)
    for _ in range(14):
        row = step(workspace, clock, job_id, after=200)
        assert row.remote_id is None and "nothing is started again before" in str(row.note)
    provider.advance(3001)
    row = step(workspace, clock, job_id, after=200)
    assert row.remote_id is not None and provider.jobs_created == 2


def test_what_never_arrived_is_started_again_after_an_hour_where_tokens_are_kept(
    workspace: JobService, provider: Any, clock: MachineClock, submit: Any, known_to_keep_tokens: str
) -> None:
    lose_the_answer(provider, after=False)
    job_id = submit()
    until_lost(workspace, job_id)
    for _ in range(17):
        assert step(workspace, clock, job_id, after=200).remote_id is None
    assert provider.jobs_created == 1
    row = step(workspace, clock, job_id, after=400)
    assert row.remote_id is not None and provider.jobs_created == 2
    told = [event.message for _, event in workspace.events(job_id)]
    assert any("it keeps the tokens of other jobs: it is started again" in message for message in told)
    assert not any("no job was started" in message for message in told)


def test_of_a_provider_that_was_never_seen_to_keep_tokens_a_person_decides(
    workspace: JobService, provider: Any, clock: MachineClock, submit: Any
) -> None:
    lose_the_answer(provider, after=False)
    job_id = submit()
    until_lost(workspace, job_id)
    for _ in range(2):  # asked at least twice
        row = step(workspace, clock, job_id, after=HOUR + 1)
    needs = describe_job(row)["needs"]
    assert needs is not None and needs["kind"] == "resolve" and needs["candidates"] == []
    assert f"tuneport resolve {job_id} --not-started" in needs["message"]
    assert provider.jobs_created == 0
    with pytest.raises(UnresolvedStartError, match="--started ID"):
        workspace.drive(job_id)
    row = workspace.start(workspace.resolve(job_id, not_started=True).id)
    assert row.remote_id is not None and provider.jobs_created == 1 and describe_job(row)["needs"] is None


def test_a_listed_job_whose_token_was_dropped_may_be_it_and_a_person_says_so(
    workspace: JobService, provider: Any, clock: MachineClock, submit: Any, known_to_keep_tokens: str
) -> None:
    lose_the_answer(provider, after=True)
    job_id = submit()
    until_lost(workspace, job_id)
    newest = list(provider.jobs.values())[-1]
    if provider.name == "openai":
        newest.metadata = None
    else:
        newest.request["suffix"], newest.output_name = None, "somebody/model"
    row = step(workspace, clock, job_id, after=1)
    assert f"--started {newest.id}" in str(row.note) and "1 job that may be it" in str(row.note)
    assert workspace.resolve(job_id, started=newest.id).remote_id == newest.id
    assert provider.jobs_created == 2
    with pytest.raises(ConfigError, match="nothing to decide"):
        workspace.resolve(job_id, not_started=True)


def test_a_job_of_another_token_is_not_taken_on_a_persons_word(
    workspace: JobService, provider: Any, clock: MachineClock, submit: Any, known_to_keep_tokens: str
) -> None:
    lose_the_answer(provider, after=False)
    job_id = submit()
    until_lost(workspace, job_id)
    with pytest.raises(ConfigError, match="carries the token of another job"):
        workspace.resolve(job_id, started=known_to_keep_tokens)


def test_neither_a_restart_of_the_machine_nor_a_clock_that_jumps_ends_the_wait(
    workspace: JobService, provider: Any, clock: MachineClock, submit: Any, known_to_keep_tokens: str
) -> None:
    lose_the_answer(provider, after=True)
    provider.list_lag = 10**6
    provider.advance(10**6 + 1)  # the earlier job is listed, with its token, and no later one
    job_id = submit()
    until_lost(workspace, job_id)

    def waits(after: float) -> bool:
        row = step(workspace, clock, job_id, after=after)
        return row.remote_id is None and "nothing is started again before" in str(row.note)

    assert waits(HOUR - 10)
    clock.boot, clock.seconds = "second boot", 5 * HOUR
    assert waits(0)
    assert waits(HOUR - 10)
    assert provider.jobs_created == 2


def test_a_second_job_with_the_token_is_told_and_can_be_stopped(
    workspace: JobService, provider: Any, clock: MachineClock, submit: Any, known_to_keep_tokens: str
) -> None:
    """What the provider carries out after all, when a person has said that it was not started."""
    lose_the_answer(provider, after=True)
    provider.list_lag = 600
    job_id = submit()
    until_lost(workspace, job_id)
    with pytest.raises(ConfigError, match="--force"):
        workspace.resolve(job_id, not_started=True)
    row = workspace.start(workspace.resolve(job_id, not_started=True, force=True).id)
    assert row.remote_id is not None and provider.jobs_created == 3
    provider.list_lag = 0
    with workspace.store.database.transaction() as session:
        session.get(JobRow, job_id).recheck_at = row.created_at  # type: ignore[union-attr]
    clock.seconds += HOUR
    row = workspace.refresh(job_id)
    (second,) = describe_job(row)["duplicates"]
    assert second != row.remote_id and row.recheck_at is None
    told = [event.message for _, event in workspace.events(job_id) if event.type == "duplicate"]
    assert len(told) == 1 and f"tuneport cancel {second} --backend {provider.name}" in told[0]
    assert workspace.cancel_remote(provider.name, second).status in ("cancelling", "cancelled")


def test_an_answer_that_names_another_job_is_not_adopted(
    workspace: JobService, provider: Any, clock: MachineClock, submit: Any, known_to_keep_tokens: str
) -> None:
    other = next(
        each.json() for each in provider.log if each.method == "POST" and each.path.endswith(CREATION[provider.name])
    )
    provider.fail("shape", method="POST", path=f"**{CREATION[provider.name]}", body=other)
    job_id = submit()
    row = until_lost(workspace, job_id)
    assert row.remote_id is None and "another job" in str(row.note)
    row = step(workspace, clock, job_id, after=1)
    assert row.remote_id not in (None, known_to_keep_tokens) and provider.jobs_created == 2


def test_a_cancelled_job_whose_start_is_unclear_ends_without_a_claim(
    workspace: JobService, provider: Any, clock: MachineClock, submit: Any
) -> None:
    lose_the_answer(provider, after=True)
    provider.list_lag = 10**9
    job_id = submit()
    until_lost(workspace, job_id)
    workspace.cancel(job_id)
    assert workspace.job(job_id).status == "submitting", "it may run: the provider is asked for an hour"
    for _ in range(2):
        row = step(workspace, clock, job_id, after=HOUR + 1)
    assert row.status == "cancelled" and row.recheck_at is not None, "it is looked for once more"
    told = " ".join(event.message for _, event in workspace.events(job_id))
    assert "whether" in told and "is not known" in told and "before anything was started" not in told


def test_every_call_that_starts_a_job_carries_an_idempotency_key(
    workspace: JobService, provider: Any, submit: Any
) -> None:
    row = workspace.start(submit())
    sent = [entry for entry in provider.log if entry.method == "POST" and entry.path.endswith(CREATION[provider.name])]
    assert [entry.request_headers.get("idempotency-key") for entry in sent] == [row.token]


def test_the_machines_clock_is_the_same_in_every_process_and_goes_forwards() -> None:
    first, second = read_store_machine_clock(), read_store_machine_clock()
    assert first.clock == second.clock and second.seconds >= first.seconds


def test_a_clock_that_went_backwards_begins_anew() -> None:
    sent = JobSubmission().mark_sent(StoreClockReading("a", 500))
    both = JobSubmission().mark_sent(StoreClockReading("a", 500, 50))
    assert both.seconds_waited(StoreClockReading("a", 900, 60)) == 10, (
        "a machine that slept, or a container's own uptime"
    )
    assert both.seconds_waited(StoreClockReading("a", 510, 5)) == 0
    assert sent.seconds_waited(StoreClockReading("a", 600)) == 100
    assert sent.seconds_waited(StoreClockReading("b", 600)) == 0
    assert sent.with_clock(StoreClockReading("a", 20)).seconds_waited(StoreClockReading("a", 50)) == 30


def test_a_failure_that_the_provider_takes_back_is_not_final(workspace: JobService, provider: Any, submit: Any) -> None:
    """Before, such a row stayed `failed` while its job ran on and was paid."""
    row = workspace.start(submit())
    path = f"{CREATION[provider.name]}/{row.remote_id}"
    failed = next(
        each.json() for each in provider.log if each.method == "POST" and each.path.endswith(CREATION[provider.name])
    )
    failed["status"] = "failed" if provider.name == "openai" else "error"
    provider.fail("shape", method="GET", path=f"**{path}", body=failed, times=1)
    assert workspace.worker.step(row.id).status == "failed"
    with workspace.store.database.transaction() as session:
        kept = session.get(JobRow, row.id)
        assert kept is not None and kept.recheck_at is not None
        kept.recheck_at = row.created_at
    assert not workspace.refresh(row.id).job_status.terminal
    told = [event.message for _, event in workspace.events(row.id) if event.type == "taken_back"]
    assert len(told) == 1 and "takes back that the job failed" in told[0]
    provider.advance(10_000)
    assert workspace.refresh(row.id).status == "succeeded"


def test_a_job_that_comes_up_before_a_person_says_that_it_is_not_there_is_adopted(
    workspace: JobService, provider: Any, clock: MachineClock, submit: Any, known_to_keep_tokens: str
) -> None:
    provider.list_lag = 600
    lose_the_answer(provider, after=True)
    job_id = submit()
    until_lost(workspace, job_id)
    workspace.resolve(job_id, not_started=True, force=True)
    provider.advance(601)
    assert workspace.start(job_id).remote_id is not None
    assert provider.jobs_created == 2


def test_a_list_that_cannot_be_read_for_an_hour_is_a_question_too(
    workspace: JobService, provider: Any, clock: MachineClock, submit: Any
) -> None:
    lose_the_answer(provider, after=True)
    job_id = submit()
    until_lost(workspace, job_id)
    provider.fail("status", status=403, method="GET", path=f"**{CREATION[provider.name]}", times=None)
    assert describe_job(step(workspace, clock, job_id, after=60))["needs"] is None
    needs = describe_job(step(workspace, clock, job_id, after=HOUR))["needs"]
    assert needs is not None and "it cannot be looked for" in needs["message"]
    provider.clear_faults()
    workspace.cancel(job_id)
    assert workspace.worker.step(job_id).remote_id is not None, "it is found, and then cancelled there"


def test_a_token_that_the_provider_alters_is_no_evidence(
    workspace: JobService, provider: Any, clock: MachineClock, submit: Any
) -> None:
    """A server that redacts what it takes for a secret: its own altered mark proved, before, that it keeps tokens."""
    lose_the_answer(provider, after=True)
    job_id = submit()
    until_lost(workspace, job_id)
    newest = list(provider.jobs.values())[-1]
    if provider.name == "openai":
        newest.metadata = {"tuneport_token": "[REDACTED]"}
    else:
        newest.request["suffix"], newest.output_name = "tp[REDACTED]", "somebody/model-tp[REDACTED]"
    row = step(workspace, clock, job_id, after=1)
    assert f"--started {newest.id}" in str(row.note) and provider.jobs_created == 1


def test_a_question_keeps_no_poller_busy(
    workspace: JobService, provider: Any, clock: MachineClock, submit: Any
) -> None:
    lose_the_answer(provider, after=False)
    job_id = submit()
    until_lost(workspace, job_id)
    for _ in range(2):
        row = step(workspace, clock, job_id, after=HOUR)
    assert describe_job(row)["needs"] is not None and workspace.store.schedule.due_backends() == []
    assert row.recheck_at is not None, "it is looked at now and then"
