"""What a job cost and took is written down at its end, by the terms of its own day, or it is said why not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.workspaces import write_chats
from tuneport.lifecycle.accounting.accuracy import EstimatedAndActualJob, measure_job_estimate_accuracy
from tuneport.lifecycle.accounting.actuals import settle_job_actuals
from tuneport.lifecycle.schema.estimates import JobActual, JobEstimate
from tuneport.lifecycle.schema.tables import JobRow
from tuneport.lifecycle.service import JobService
from tuneport.settings import Settings
from tuneport.testing.emulators import OpenAIEmulator, TogetherEmulator
from tuneport.types import JobEvent, JobState, JobStatus, Progress, Quote, TuneSpec

LLAMA = "llama-3.1-8b-instruct"
MINI = "gpt-4.1-mini-2025-04-14"
BEGAN = datetime.fromisoformat("2026-11-01T12:00:00+00:00")
ENDED = BEGAN + timedelta(hours=1)
PRICED = JobEstimate(billing="tokens", usd_per_mtok=2.0)
TOKENS = JobEstimate(billing="tokens", usd_per_mtok=2.0, minimum_usd=4.0, cancelled_pays="steps_done")


@pytest.fixture
def hosted(isolated: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[JobService, Any]]:
    with OpenAIEmulator(pace=600) as openai, TogetherEmulator(pace=0.01) as together:
        for emulator in (openai, together):
            monkeypatch.setenv(f"TUNEPORT_{emulator.name.upper()}_BASE_URL", emulator.base_url)
            monkeypatch.setenv(f"{emulator.name.upper()}_API_KEY", emulator.key)
        (isolated / "tuneport.toml").write_text("[backends.together.options]\npoll_interval = 0.01\n")
        with JobService(Settings.load(isolated)) as workspace:
            yield workspace, {"openai": openai, "together": together}


@pytest.fixture
def submit(hosted: tuple[JobService, Any], isolated: Path) -> Callable[..., JobRow]:
    """Submit to a provider and start it there."""
    dataset = write_chats(isolated / "train.jsonl")

    def go(backend: str, **values: Any) -> JobRow:
        model = MINI if backend == "openai" else LLAMA
        spec = TuneSpec.model_validate({"model": model, "dataset": dataset} | values)
        job_id = hosted[0].submit(spec, backend=backend).id
        hosted[0].drive(
            job_id, until=lambda row: row.status == "submitting"
        )  # the files are validated: now in slow motion
        hosted[1][backend].pace = 600
        row = hosted[0].start(job_id)
        hosted[1]["together"].pace = 0.01
        return row

    return go


def ended(status: JobStatus, terms: JobEstimate = TOKENS, **state: Any) -> JobActual:
    """What a job that began at `BEGAN` and trained an hour came to."""
    quote = Quote(backend="b", model="m", expected=5.0)
    times = {"running_at": state.pop("running_at", BEGAN), "finished_at": state.pop("finished_at", ENDED)}
    told = {"remote_id": "r", "status": status, "raw_status": "x", "model": "m"} | state
    row = JobRow(
        id="j", backend="b", model="m", remote_id="r", status=status.value, estimate=terms.model_dump(mode="json"),
        state=JobState.model_validate(told).model_dump(mode="json"), running_by="backend",
        **times, quote=quote.model_dump(mode="json"),
    )  # fmt: skip
    settle_job_actuals(row)
    actual = row.job_actual
    assert actual is not None and row.cost_usd == actual.usd
    return actual


def test_at_openai_it_is_the_trained_tokens_and_the_time_since_training_began(
    hosted: tuple[JobService, Any], submit: Callable[..., JobRow]
) -> None:
    workspace, emulators = hosted
    row = submit("openai")
    estimate = row.job_estimate
    assert estimate is not None and (estimate.usd_per_mtok, estimate.billing) == (5.0, "tokens")
    emulators["openai"].advance(4000)
    row = workspace.refresh(row.id)
    actual, quote = row.job_actual, row.job_quote
    assert actual is not None and quote is not None and row.status == "succeeded"
    assert actual.usd == pytest.approx(quote.expected), "the emulator counts as the service does"
    assert actual.usd_because.endswith("trained tokens at $5.00 per 1M") and actual.authority == "computed"
    assert actual.seconds == pytest.approx(600, abs=2), "of three states of ten minutes only one is training"


def test_of_many_answers_at_once_the_events_that_come_later_mend_the_duration(
    hosted: tuple[JobService, Any], submit: Callable[..., JobRow]
) -> None:
    workspace, emulators = hosted
    row = submit("openai")
    emulators["openai"].advance(4000)
    rows, trouble = workspace.refresh_all()
    assert not trouble and rows[0].status == "succeeded"
    before = rows[0].job_actual
    assert before is not None and before.seconds is None and "unknown when it began" in str(before.seconds_unavailable)
    workspace.events(row.id)
    after = workspace.job(row.id).job_actual
    assert after is not None and after.seconds == pytest.approx(600, abs=2) and after.usd == before.usd


@pytest.mark.parametrize("began", [True, False])
def test_a_job_that_ends_between_two_looks_costs_something_until_its_events_say_otherwise(
    hosted: tuple[JobService, Any], submit: Callable[..., JobRow], began: bool
) -> None:
    workspace, emulators = hosted
    row = submit("openai")
    assert row.remote_id is not None and row.reserved_usd
    emulators["openai"].advance(1300 if began else 10)
    workspace.backend("openai").cancel(row.remote_id)  # by somebody else
    rows, _ = workspace.refresh_all()
    assert rows[0].status == "cancelled" and rows[0].cost_usd is None and rows[0].job_actual is not None
    assert "unknown whether it began to train: read its events" in str(rows[0].job_actual.usd_unavailable)
    assert workspace.month().spent == pytest.approx(row.reserved_usd)
    workspace.events(row.id)
    after = workspace.job(row.id)
    assert after.job_actual is not None and after.cost_usd == (None if began else 0.0)
    assert "was cancelled" in str(after.job_actual.usd_unavailable) if began else after.job_actual.usd == 0.0
    assert workspace.month().spent == pytest.approx(row.reserved_usd if began else 0.0)


def test_events_that_cannot_be_read_do_not_say_that_nothing_was_spent(
    hosted: tuple[JobService, Any], submit: Callable[..., JobRow]
) -> None:
    workspace, emulators = hosted
    row = submit("openai")
    emulators["openai"].advance(1300)
    workspace.backend("openai").cancel(str(row.remote_id))
    workspace.refresh_all()
    lost = JobEvent(id="tuneport-no-events", created_at=BEGAN, message="could not be read")
    workspace.store.events.add(row.id, [lost], origin="tuneport")
    workspace.store.events.mark_stored(row.id)
    actual = workspace.job(row.id).job_actual
    assert actual is not None and actual.usd is None and "events could not be read" in str(actual.usd_unavailable)


def test_at_together_the_sum_is_the_bill_where_its_tokens_agree(
    hosted: tuple[JobService, Any], submit: Callable[..., JobRow]
) -> None:
    workspace, emulators = hosted
    row = submit("together")
    emulators["together"].advance(3001)
    actual = workspace.refresh(row.id).job_actual
    assert actual is not None and (actual.usd, actual.authority) == (4.0, "billed")
    assert "below the minimum of $4.00" in actual.usd_because
    assert actual.seconds is not None and actual.seconds == pytest.approx(1800, abs=5), "compressing, uploading, too"


def test_together_refunds_what_fails(hosted: tuple[JobService, Any], submit: Callable[..., JobRow]) -> None:
    workspace, emulators = hosted
    emulators["together"].next_job(fails_with={"message": "A node failed"})
    row = submit("together")
    emulators["together"].advance(3001)
    row = workspace.refresh(row.id)
    assert row.status == "failed" and row.cost_usd == 0.0 and row.job_actual is not None
    assert row.job_actual.usd_because == "together refunds a job that fails"


def test_what_was_cancelled_at_together_pays_for_the_steps_that_it_did(
    hosted: tuple[JobService, Any], submit: Callable[..., JobRow]
) -> None:
    workspace, emulators = hosted
    row = submit("together", hyperparameters={"epochs": 4, "batch_size": 8})
    emulators["together"].advance(1500)
    workspace.cancel(row.id)
    emulators["together"].advance(3600)
    actual = workspace.refresh(row.id).job_actual
    assert actual is not None and actual.usd is not None and 0 < actual.usd < 4.0
    assert "steps done" in actual.usd_because


def test_what_was_cancelled_at_openai_has_no_known_price(
    hosted: tuple[JobService, Any], submit: Callable[..., JobRow]
) -> None:
    workspace, emulators = hosted
    queued, runs = submit("openai"), submit("openai")
    workspace.cancel(queued.id)
    emulators["openai"].advance(1300)
    workspace.refresh(runs.id)
    workspace.cancel(runs.id)
    first, second = workspace.refresh(queued.id), workspace.refresh(runs.id)
    assert first.job_actual and (first.job_actual.usd, first.job_actual.usd_because) == (0.0, "it never began to train")
    assert second.cost_usd is None and second.job_actual is not None
    assert second.job_actual.usd_unavailable == "openai does not say what it bills for a job that was cancelled"


def test_a_sum_in_a_unit_that_nobody_documents_is_believed_only_where_the_tokens_agree() -> None:
    doubt = {"cost_doubt": "no unit"}
    told = {"trained_tokens": 5_000_000, "details": doubt}
    assert ended(JobStatus.SUCCEEDED, cost=10.4, **told).usd == 10.4
    wrong = ended(JobStatus.SUCCEEDED, cost=0.0000104, **told)
    assert wrong.usd == 10.0 and wrong.authority == "computed" and "seems to say (no unit)" in wrong.usd_because
    more = {"trained_tokens": 1_000_000, "details": doubt}  # three times that with validation, as quoted; or stopped
    for cost in (5.0, 14.4, 1.2):
        assert ended(JobStatus.SUCCEEDED, PRICED, cost=cost, **more).usd == cost, "near the quote of $5"
    assert ended(JobStatus.SUCCEEDED, PRICED, cost=5e9, **more).usd == 2.0
    unpriced = JobEstimate(billing="tokens")
    assert ended(JobStatus.SUCCEEDED, unpriced, cost=6.0, **told).authority == "billed", "about the quote of $5"
    assert "nothing is there to check" in str(ended(JobStatus.SUCCEEDED, unpriced, cost=6e9, **told).usd_unavailable)


def test_the_minimum_holds_for_what_succeeded_and_no_sum_is_made_of_nothing() -> None:
    assert ended(JobStatus.SUCCEEDED, trained_tokens=1_000_000).usd == 4.0
    steps = {"trained_tokens": 5_000_000, "progress": Progress(step=1, total_steps=4)}
    assert ended(JobStatus.CANCELLED, **steps).usd == 2.5
    assert "unknown how many steps" in str(ended(JobStatus.CANCELLED, trained_tokens=5).usd_unavailable)
    assert "neither a sum nor trained tokens" in str(ended(JobStatus.SUCCEEDED).usd_unavailable)
    assert "what it bills for a job that fails" in str(ended(JobStatus.FAILED, trained_tokens=5).usd_unavailable)


def test_a_machine_costs_its_hours_where_they_have_a_price() -> None:
    own = ended(JobStatus.SUCCEEDED, JobEstimate(billing="machine_hours"))
    assert (own.usd, own.authority) == (0.0, "local") and "electricity not counted" in own.usd_because
    rented = ended(JobStatus.FAILED, JobEstimate(billing="machine_hours", usd_per_hour=2.5))
    assert rented.usd == 2.5 and rented.usd_because == "1.00 h of training x $2.50"


def test_a_rented_machine_of_which_nobody_saw_the_beginning_or_end_is_not_free() -> None:
    rented = JobEstimate(billing="machine_hours", usd_per_hour=2.5)
    unseen = ended(JobStatus.SUCCEEDED, rented, running_at=None)
    assert unseen.usd is None and "it is unknown when it began to train" in str(unseen.usd_unavailable)
    cut = ended(JobStatus.FAILED, rented, running_at=None, progress=Progress(step=3, total_steps=9))
    assert cut.usd is None and "it is unknown when it began" in str(cut.usd_unavailable)
    assert ended(JobStatus.SUCCEEDED, rented, finished_at=None).usd_unavailable == (
        "it is paid by the hour, and it is unknown when it ended"
    )
    never = ended(JobStatus.FAILED, rented, running_at=None)
    assert (never.usd, never.usd_because) == (0.0, "it never began to train")


def test_the_backend_s_own_word_goes_before_what_was_seen(workspace: JobService, start: Callable[..., str]) -> None:
    row = workspace.drive(start(), poll_seconds=0.01)
    actual = row.job_actual
    assert actual is not None and actual.seconds is not None and "since it was first seen" in actual.seconds_because
    early = row.created_at - timedelta(minutes=5)
    told = JobState.model_validate(row.state).model_copy(update={"details": {"started_at": early.isoformat()}})
    with workspace.store.database.transaction() as session:
        stored = session.get_one(JobRow, row.id)
        stored.state = told.model_dump(mode="json")
        settle_job_actuals(stored)
    row = workspace.job(row.id)
    assert row.running_by == "backend" and row.running_at == early
    assert row.job_actual is not None and row.job_actual.seconds is not None and row.job_actual.seconds >= 300


def test_what_never_left_cost_nothing(workspace: JobService, start: Callable[..., str]) -> None:
    row = workspace.cancel(start())
    assert row.status == "cancelled" and row.cost_usd == 0.0 and row.job_actual is not None
    assert row.job_actual.seconds_unavailable == "it never reached fake"


def test_the_error_of_a_backend_is_that_of_its_succeeded_jobs() -> None:
    def job(expected: float, actual: float, status: JobStatus = JobStatus.SUCCEEDED) -> EstimatedAndActualJob:
        quote = Quote(backend="b", model="m", expected=expected, low=expected * 0.9, high=expected * 1.1)
        told = JobEstimate(seconds=100.0, seconds_low=50.0, seconds_high=200.0)
        return EstimatedAndActualJob("b", "m", status, quote, told, JobActual(usd=actual, seconds=150.0))

    [found] = measure_job_estimate_accuracy([job(10, 10), job(10, 12.5), job(10, 1, JobStatus.CANCELLED)])
    assert found.cost is not None and found.duration is not None
    assert (found.cost.jobs, found.cost.within_bounds) == (2, 1)
    assert found.cost.mean_error == pytest.approx(0.1) and found.cost.median_ratio == pytest.approx(1.125)
    assert found.duration.mean_error == pytest.approx(1 / 3) and found.duration.within_bounds == 2
    stopped = replace(job(10, 3), actual=JobActual(usd=3.0, seconds=33.0, share_done=0.33))
    assert measure_job_estimate_accuracy([job(10, 10), job(10, 12.5), stopped]) == [found], (
        "stopped early, it is no error of the estimate"
    )
    assert measure_job_estimate_accuracy([]) == []
