"""Following many jobs: few requests, the providers' limits, and no job lost between processes. No test waits for time:
clock, sleep and rng are handed in."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.support.emulated import LeadTo
from tests.support.workspaces import write_chats
from tuneport.backends.hosted.http.cooldown import ProviderCooldown
from tuneport.backends.openai.backend import OpenAIBackend
from tuneport.lifecycle.schema.tables import JobRow
from tuneport.lifecycle.service import JobService
from tuneport.lifecycle.worker.event_collection import EVENT_TRIES
from tuneport.lifecycle.worker.event_reading import AGAIN_SECONDS, LEFT_SECONDS
from tuneport.lifecycle.worker.poll_interval import LONGEST, PollTiming
from tuneport.lifecycle.worker.polling import JobPoller
from tuneport.lifecycle.worker.provider_polling import (
    HOLD_SECONDS,
    TURN_SECONDS,
    PollingStopped,
    ProviderPoller,
    ProviderStarter,
)
from tuneport.rate_limits import RateLimiter
from tuneport.settings import Settings
from tuneport.testing.emulators import OpenAIEmulator
from tuneport.testing.fake.backend import ArmedFault, FakeBackend
from tuneport.types import JobState, TuneSpec, now

MODEL = "gpt-4.1-mini-2025-04-14"


class Time:
    """The poller's clock and the emulator's, moved together by whoever sleeps."""

    def __init__(self, emulator: OpenAIEmulator | None = None) -> None:
        self.emulator, self.offset, self.slept = emulator, 0.0, 0.0

    def now(self) -> datetime:
        return now() + timedelta(seconds=self.offset)

    def sleep(self, seconds: float) -> bool:
        self.offset += seconds
        self.slept += seconds
        if self.emulator is not None:
            self.emulator.advance(seconds)
        return False


@pytest.fixture
def openai(lead_to: LeadTo) -> OpenAIEmulator:
    return lead_to(OpenAIEmulator(pace=200, exact_tokens=False))


@pytest.fixture
def hosted(openai: OpenAIEmulator, isolated: Path) -> Iterator[JobService]:
    with JobService(Settings.load(isolated)) as opened:
        opened.backend("openai")._sleep = lambda seconds: None  # type: ignore[attr-defined]
        yield opened


@pytest.fixture
def adopt(hosted: JobService, isolated: Path) -> Callable[[int], list[str]]:
    """So many jobs that the provider has, with their rows, and without the places that real submits would wait for."""
    spec = TuneSpec(model=MODEL, dataset=write_chats(isolated / "train.jsonl"))

    def make(count: int) -> list[str]:
        first = hosted.submit(spec, backend="openai")
        hosted.start(first.id)
        (file,) = hosted.store.files.list_job_files(first.id)
        create = hosted.backend("openai").client.fine_tuning.jobs.create
        ids = [first.id]
        for _ in range(count - 1):
            row = hosted.store.jobs.add(spec, first.prepared_data, backend="openai", model=MODEL, quote=None)
            remote = create(model=MODEL, training_file=file.id)
            hosted.store.schedule.record_many({row.id: {"remote_id": remote.id, "status": "queued", "due_at": now()}})
            ids.append(row.id)
        return ids

    return make


def poller(workspace: JobService, time: Time, **options: object) -> ProviderPoller:
    rng = random.Random(3).random
    return ProviderPoller(workspace.worker, "openai", clock=time.now, sleep=time.sleep, rng=rng, **options)  # type: ignore[arg-type]


def test_many_jobs_are_followed_to_their_end_by_lists(
    hosted: JobService, openai: OpenAIEmulator, adopt: Callable[[int], list[str]]
) -> None:
    ids, time = adopt(25), Time(openai)
    told: list[tuple[str, str]] = []
    before = len(openai.log)
    polling = poller(hosted, time, on_change=lambda job_id, state: told.append((job_id, state.status.value)))
    turns = 0
    while hosted.store.jobs.count_unfinished():
        time.sleep(max(1.0, polling.poll_due_jobs()))
        turns += 1
        assert turns < 500
    assert {hosted.job(job_id).status for job_id in ids} == {"succeeded"}
    assert sorted(job_id for job_id, status in told if status == "succeeded") == sorted(ids)
    assert hosted.job(ids[3]).tuned_model and hosted.locate(str(hosted.job(ids[3]).tuned_model))[0] == "openai"
    paths = [exchange.path.removeprefix("/v1/fine_tuning/jobs") for exchange in openai.log[before:]]
    lists, single = paths.count(""), sum(path.count("/") == 1 for path in paths)
    assert lists + single < turns + 25 * 2, "far fewer than 25 for each look"
    assert all(hosted.job(job_id).due_at is None for job_id in ids)


def test_events_come_when_somebody_looks_and_none_is_lost(
    hosted: JobService, openai: OpenAIEmulator, adopt: Callable[[int], list[str]]
) -> None:
    ids, time = adopt(6), Time(openai)
    openai.advance(3600)
    rows, trouble = hosted.refresh_all()
    assert trouble == {} and {row.status for row in rows} == {"succeeded"}
    assert openai.requests("GET", "/fine_tuning/jobs/{id}/events") == [] or len(ids) == 6
    for job_id in ids:
        messages = [event.message for _, event in hosted.events(job_id)]
        assert "The job has successfully completed" in messages
        backend = [event.id for event in hosted.backend("openai").events(str(hosted.job(job_id).remote_id))]
        stored = [event.id for _, event in hosted.events(job_id) if event.id in backend]
        assert stored == backend
    assert hosted.store.events.list_due_jobs("openai") == []
    del time


def test_the_poller_fetches_events_with_the_time_it_has(
    hosted: JobService, openai: OpenAIEmulator, adopt: Callable[[int], list[str]]
) -> None:
    adopt(6)
    openai.advance(3600)
    time = Time(openai)
    time.offset = 3600
    polling = poller(hosted, time)
    for _ in range(20):
        time.sleep(polling.poll_due_jobs())
    assert hosted.store.jobs.count_unfinished() == 0 and hosted.store.events.list_due_jobs("openai") == []


def test_retry_after_is_obeyed_by_all(
    hosted: JobService, openai: OpenAIEmulator, adopt: Callable[[int], list[str]]
) -> None:
    adopt(8)
    time, trouble = Time(openai), []
    time.offset = 60
    hosted.backend("openai")._cooldown = ProviderCooldown("openai", lambda: time.now().timestamp())  # type: ignore[attr-defined]
    headers = {"retry-after": "400"}
    openai.fail("status", status=429, method="GET", path="/fine_tuning/jobs", times=None, headers=headers)
    polling = poller(hosted, time, on_trouble=lambda name, message: trouble.append(message))
    polling.poll_due_jobs()
    asked = len(openai.log)
    wait = polling.poll_due_jobs()
    assert len(openai.log) == asked and 350 < wait <= 400 and len(trouble) == 1
    openai.clear_faults()
    time.sleep(wait + 1)
    polling.poll_due_jobs()
    assert len(openai.log) > asked


def test_trouble_is_rested_upon_longer_each_time_and_forgotten_after_an_answer(
    hosted: JobService, openai: OpenAIEmulator, adopt: Callable[[int], list[str]]
) -> None:
    adopt(8)
    time = Time(openai)
    time.offset = 60
    openai.fail("status", status=503, times=None)
    polling = poller(hosted, time)
    rests = []
    for _ in range(6):
        polling.poll_due_jobs()
        rest = polling.poll_due_jobs()
        rests.append(rest)
        time.sleep(max(rest, HOLD_SECONDS))
    assert rests == sorted(rests) and rests[-1] > 100
    openai.clear_faults()
    polling.poll_due_jobs()
    assert polling.poll_due_jobs() <= 5.0


def test_two_pollers_share_the_work(
    hosted: JobService, openai: OpenAIEmulator, adopt: Callable[[int], list[str]]
) -> None:
    adopt(20)
    time = Time(openai)
    time.offset = 30
    first = hosted.store.schedule.take_due("openai", time.now(), hold=HOLD_SECONDS, sweep_from=5, along=0.5)[0]
    assert len(first) == 20
    assert hosted.store.schedule.take_due("openai", time.now(), hold=HOLD_SECONDS, sweep_from=5, along=0.5)[0] == []
    time.offset += HOLD_SECONDS + 1  # the first one died
    assert (
        len(hosted.store.schedule.take_due("openai", time.now(), hold=HOLD_SECONDS, sweep_from=5, along=0.5)[0]) == 20
    )


def test_a_row_that_somebody_is_at_is_left_to_them(workspace: JobService, fake: FakeBackend, start: Callable) -> None:
    job_id = start()
    workspace.drive(job_id, until=lambda row: row.remote_id is not None, poll_seconds=0.01)
    workspace.store.leases.claim(job_id, "somebody")
    later = now() + timedelta(seconds=60)
    assert workspace.store.schedule.take_due("fake", later, hold=60, sweep_from=5, along=0.5)[0] == []
    assert workspace.store.schedule.record_many({job_id: {"status": "failed"}}) == []
    workspace.store.leases.release(job_id, "somebody")
    assert len(workspace.store.schedule.take_due("fake", later, hold=60, sweep_from=5, along=0.5)[0]) == 1


def test_a_job_that_is_gone_over_there_bothers_nobody_else(
    hosted: JobService, openai: OpenAIEmulator, adopt: Callable[[int], list[str]]
) -> None:
    ids = adopt(3)
    del openai.jobs[str(hosted.job(ids[1]).remote_id)]
    time = Time(openai)
    time.offset = 60
    poller(hosted, time).poll_due_jobs()
    gone, fine = hosted.job(ids[1]), hosted.job(ids[2])
    assert "finds nothing by that id" in str(gone.note) and gone.status == "queued"
    assert gone.due_at is not None and (gone.due_at - time.now()).total_seconds() > LONGEST - 10
    assert fine.note is None and fine.polled_at is not None


def test_a_wish_is_granted_by_whoever_polls(
    hosted: JobService, openai: OpenAIEmulator, adopt: Callable[[int], list[str]]
) -> None:
    ids, time = adopt(3), Time(openai)
    hosted.store.jobs.request_cancel(ids[0])
    hosted.store.jobs.request_action(ids[1], "pause")
    time.offset = 60
    poller(hosted, time).poll_due_jobs()
    assert [hosted.job(job_id).status for job_id in ids[:2]] == ["cancelled", "paused"]


@pytest.mark.parametrize("wish", ["cancel", "pause"])
@pytest.mark.parametrize("status", [403, 404, 500])
def test_a_wish_that_is_refused_hides_no_job(
    hosted: JobService, openai: OpenAIEmulator, adopt: Callable[[int], list[str]], wish: str, status: int
) -> None:
    """A key may read and not cancel; a provider may fail at cancelling alone: the job's end is noticed all the same."""
    (job_id,), time = adopt(1), Time(openai)
    openai.fail("status", status=status, method="POST", path=f"/fine_tuning/jobs/*/{wish}", times=None)
    hosted.store.jobs.request_cancel(job_id) if wish == "cancel" else hosted.store.jobs.request_action(job_id, "pause")
    time.offset = 60
    polling = poller(hosted, time)
    polling.poll_due_jobs()
    row = hosted.job(job_id)
    assert row.polled_at is not None and not row.job_status.terminal
    assert (row.requested_action is None) == (wish == "cancel" or status != 500), "what passes is asked again"
    if wish == "cancel" and status != 500:
        assert "it cannot be cancelled now" in str(row.note)
    time.sleep(3600)
    polling.poll_due_jobs()
    assert hosted.job(job_id).status == "succeeded"


def test_a_wish_that_a_backend_cannot_grant_stops_no_polling(
    hosted: JobService, openai: OpenAIEmulator, adopt: Callable[[int], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store may bring a requested action from a version whose backend could."""
    done, other = adopt(2)
    openai.advance(3600)
    assert hosted.drive(done, poll_seconds=0.01).status == "succeeded"
    monkeypatch.delattr(OpenAIBackend, "delete")
    hosted.store.jobs.request_deletion(done)
    time, trouble = Time(openai), []
    time.offset = 60
    poller(hosted, time, on_trouble=lambda name, message: trouble.append(message)).poll_due_jobs()
    assert hosted.job(other).status == "succeeded" and trouble == []
    assert "not deleted yet" in str(hosted.job(done).note)


@pytest.mark.parametrize("status", [403, 500])
def test_whoever_watches_a_job_that_cannot_be_cancelled_sees_its_end(
    hosted: JobService, openai: OpenAIEmulator, adopt: Callable[[int], list[str]], status: int
) -> None:
    (job_id,) = adopt(1)
    openai.fail("status", status=status, method="POST", path="/fine_tuning/jobs/*/cancel", times=None)
    hosted.store.jobs.request_cancel(job_id)
    openai.advance(3600)
    assert hosted.drive(job_id, poll_seconds=0.01, patience=0.0).status == "succeeded"


def test_a_cancel_is_due_at_once_and_again_when_it_is_repeated(
    hosted: JobService, openai: OpenAIEmulator, adopt: Callable[[int], list[str]]
) -> None:
    (job_id,) = adopt(1)
    first = None
    for _ in range(2):
        hosted.store.schedule.postpone([job_id], now() + timedelta(hours=1))
        assert hosted.store.schedule.pending_actions("openai", now()) == []
        hosted.store.jobs.request_cancel(job_id)
        assert hosted.store.schedule.pending_actions("openai", now()) == [job_id]
        wished = hosted.job(job_id).cancel_requested_at
        assert wished is not None and wished.utcoffset() == timedelta(0) and wished == (first or wished)
        first = wished


def test_told_to_stop_it_stops_within_a_list(
    hosted: JobService, openai: OpenAIEmulator, adopt: Callable[[int], list[str]]
) -> None:
    adopt(6)
    time = Time(openai)
    time.offset = 60
    polling = ProviderPoller(hosted.worker, "openai", clock=time.now, sleep=lambda seconds: True)
    polling.poll_due_jobs()
    assert polling.limiter is not None
    polling.limiter._levels[""] = (-1e6, time.now().timestamp())
    time.offset += LONGEST * 2
    with pytest.raises(PollingStopped):
        polling.poll_due_jobs()


def test_the_starter_brings_jobs_there_and_waits_with_those_that_have_no_place(
    hosted: JobService, openai: OpenAIEmulator, isolated: Path
) -> None:
    spec = TuneSpec(model=MODEL, dataset=write_chats(isolated / "train.jsonl"))
    ids = [hosted.submit(spec, backend="openai").id for _ in range(5)]
    time = Time(openai)
    time.offset = 1
    seen: list[tuple[str, str, str | None]] = []
    starter = ProviderStarter(
        hosted.worker, "openai", clock=time.now, on_change=lambda *told: seen.append((told[0], told[1].value, told[2]))
    )
    starter.start_due_jobs()
    assert openai.jobs_created == 3
    assert [bool(hosted.job(job_id).remote_id) for job_id in ids] == [True, True, True, False, False]
    assert "limit of the account" in str(hosted.job(ids[3]).note)
    assert hosted.job(ids[4]).status == "preparing", "it would wait, too; nothing is uploaded for it yet"
    waiting = hosted.job(ids[3])
    assert waiting.due_at is not None and waiting.due_at > time.now(), "tried again after a while"
    time.sleep(3600)
    with hosted.store.database.transaction() as session:  # the provider's word, an hour from now, holds
        session.get(JobRow, ids[4]).waits_since = time.now()  # type: ignore[union-attr]
        session.get(JobRow, ids[4]).due_at = later = time.now() + timedelta(hours=1)  # type: ignore[union-attr]
    poller(hosted, time).poll_due_jobs()
    due = hosted.job(ids[3]).due_at
    assert due is not None and due <= time.now(), "a job has ended: there is a place now"
    assert hosted.job(ids[4]).due_at == later
    assert (ids[3], "submitting") in [(job_id, status) for job_id, status, _ in seen]


def test_all_jobs_of_two_providers_end_though_one_hangs_at_first(
    workspace: JobService, fake: FakeBackend, start: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Real threads. The one provider does not answer until the other one's jobs have ended."""
    released = threading.Event()
    original = FakeBackend.fetch

    def fetch(self: FakeBackend, remote_id: str) -> JobState:
        if self.name == "slow":
            assert released.wait(60)
        return original(self, remote_id)

    monkeypatch.setattr(FakeBackend, "fetch", fetch)
    slow = FakeBackend(fake.manifest.model_copy(update={"name": "slow"}), workspace.settings)
    slow.folder = slow.folder.with_name("slow")
    workspace._backends["slow"] = slow
    late, quick = start(), [start() for _ in range(3)]
    with workspace.store.database.transaction() as session:
        session.get(JobRow, late).backend = "slow"  # type: ignore[union-attr]
    ended: list[str] = []

    def on_change(job_id: str, status: str, note: str | None) -> None:
        if status == "succeeded":
            ended.append(job_id)
            if set(ended) == set(quick):
                released.set()

    slow.arm(ArmedFault(on="submit", kind="unlisted"))
    timing = PollTiming(shortest=0.01, longest=0.02)
    JobPoller(workspace.worker, on_change=on_change, timing=timing).run(until_idle=True)
    assert set(ended[:3]) == set(quick) and ended[3:] == [late]


def test_events_that_wait_hold_up_no_question(
    hosted: JobService, openai: OpenAIEmulator, adopt: Callable[[int], list[str]]
) -> None:
    """Ten thousand ended jobs may take an hour to fetch: after five seconds the poller looks up."""
    adopt(6)
    openai.advance(3600)
    hosted.refresh_all()
    time = Time(openai)
    polling = poller(hosted, time)
    polling.limiter = RateLimiter(10, burst=10 / 6, clock=lambda: time.now().timestamp(), sleep=time.sleep)
    waits = [polling.poll_due_jobs()]
    assert waits == [0.0] and 0 < len(hosted.store.events.list_due_jobs("openai")) < 6 and time.slept < 20
    while hosted.store.events.list_due_jobs("openai"):
        waits.append(polling.poll_due_jobs())
    assert len(waits) > 2


def test_events_that_nobody_can_read_are_given_up_with_a_word(
    hosted: JobService, openai: OpenAIEmulator, adopt: Callable[[int], list[str]]
) -> None:
    ids = adopt(6)
    openai.advance(3600)
    hosted.refresh_all()
    openai.fail("status", status=400, path="/fine_tuning/jobs/*/events", times=None)
    poller(hosted, Time(openai)).poll_due_jobs()
    assert hosted.store.events.list_due_jobs("openai") == []
    assert any("could not be read" in event.message for _, event in hosted.events(ids[0]))


@pytest.mark.parametrize("status", [401, 402, 403])
def test_events_that_the_key_may_not_read_wait_for_a_better_one(
    hosted: JobService, openai: OpenAIEmulator, adopt: Callable[[int], list[str]], status: int
) -> None:
    adopt(6)
    openai.advance(3600)
    hosted.refresh_all()
    openai.fail("status", status=status, path="/fine_tuning/jobs/*/events", times=None)
    time, trouble, before = Time(openai), [], len(openai.log)
    polling = poller(hosted, time, on_trouble=lambda name, message: trouble.append(message))
    for _ in range(3):
        assert 0 < polling.poll_due_jobs() <= TURN_SECONDS, "and the jobs are asked about as ever"
    assert len(hosted.store.events.list_due_jobs("openai")) == 6 and len(trouble) == 1
    assert len([exchange for exchange in openai.log[before:] if exchange.path.endswith("/events")]) == 1
    openai.clear_faults()
    time.sleep(LEFT_SECONDS)
    while polling.poll_due_jobs() == 0.0:
        pass
    assert hosted.store.events.list_due_jobs("openai") == []


def test_a_job_whose_events_always_fail_holds_up_no_other(
    hosted: JobService, openai: OpenAIEmulator, adopt: Callable[[int], list[str]]
) -> None:
    adopt(6)
    openai.advance(3600)
    hosted.refresh_all()
    bad, remote_id = hosted.store.events.list_due_jobs("openai")[0]
    openai.fail("status", status=500, path=f"/fine_tuning/jobs/{remote_id}/events", times=None)
    time = Time(openai)
    polling = poller(hosted, time)
    while polling.poll_due_jobs() == 0.0:
        pass
    assert [job_id for job_id, _ in hosted.store.events.list_due_jobs("openai")] == [bad]
    for _ in range(EVENT_TRIES - 1):
        assert hosted.store.events.list_due_jobs("openai") != []
        time.sleep(AGAIN_SECONDS)
        assert polling.poll_due_jobs() > 0.0
    assert hosted.store.events.list_due_jobs("openai") == []
    assert any("could not be read" in event.message for _, event in hosted.events(bad))


def test_a_provider_that_is_down_costs_no_events(
    hosted: JobService, openai: OpenAIEmulator, adopt: Callable[[int], list[str]]
) -> None:
    adopt(6)
    openai.advance(3600)
    hosted.refresh_all()
    openai.fail("status", status=503, times=None)
    time = Time(openai)
    polling = poller(hosted, time)
    for _ in range(20):
        asked = len(openai.log)
        time.sleep(max(AGAIN_SECONDS, polling.poll_due_jobs()))
        assert len(openai.log) - asked <= 4 * 4, "after three jobs it is the provider"
    assert len(hosted.store.events.list_due_jobs("openai")) == 6
    openai.clear_faults()
    for _ in range(6):
        time.sleep(max(AGAIN_SECONDS, polling.poll_due_jobs()))
    assert hosted.store.events.list_due_jobs("openai") == []
