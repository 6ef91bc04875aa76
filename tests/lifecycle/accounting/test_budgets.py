"""Budgets: of a month over all backends, whoever submits at once; and of a job that runs, by what its backend says."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.workspaces import write_chats
from tuneport.errors import BudgetError, ConfigError
from tuneport.lifecycle.accounting.budgets import project_job_cost
from tuneport.lifecycle.schema.estimates import JobEstimate
from tuneport.lifecycle.schema.tables import Base, JobRow
from tuneport.lifecycle.service import JobService
from tuneport.lifecycle.store.store import LeaseLostError, Store
from tuneport.lifecycle.submitting.options import JobOptions
from tuneport.lifecycle.worker.recording import record_job_states
from tuneport.settings import Settings
from tuneport.testing.emulators import OpenAIEmulator
from tuneport.types import DataFile, JobEvent, JobState, JobStatus, PreparedData, Progress, Quote, TuneSpec, now

SPEC = TuneSpec(model="m", dataset=Path("t"))
DATA = PreparedData(training=DataFile(path=Path("f"), sha256="0" * 64, format="openai", rows=1, bytes=2))
MODEL = "gpt-4.1-mini-2025-04-14"
TOKENS = JobEstimate(billing="tokens", usd_per_mtok=5.0, epochs=3, tokens=3_000_000)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.full)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    postgres = request.param == "postgres"
    opened = Store(request.getfixturevalue("postgres") if postgres else f"sqlite:///{tmp_path / 'store.db'}").unscoped()
    yield opened
    Base.metadata.drop_all(opened.database.engine)
    opened.close()


def add(store: Store, high: float | None, *, cap: float | None = None, spec: TuneSpec = SPEC, **more: Any) -> JobRow:
    quote = None if high is None else Quote(backend="b", model="m", expected=high / 2, high=high)
    return store.jobs.add(spec, DATA, backend="b", model="m", quote=quote, monthly_budget=cap, **more)


def finish(store: Store, row: JobRow, cost: float | None, when: datetime | None = None) -> None:
    with store.database.transaction() as session:
        stored = session.get(JobRow, row.id)
        assert stored is not None
        stored.status, stored.finished_at, stored.cost_usd = "succeeded", when or now(), cost


def test_a_month_is_what_was_spent_and_what_is_reserved(store: Store) -> None:
    finish(store, add(store, 40.0), 25.0)
    finish(store, add(store, 10.0), None)  # what it cost nobody says: it counts as the most that it was to
    finish(store, add(store, 500.0), 500.0, now().replace(day=1) - timedelta(days=1))  # last month's
    add(store, 20.0)
    month = store.statistics.sum_month()
    assert (month.spent, month.reserved, month.unfinished, month.unknown) == (35.0, 20.0, 1, ())
    assert month.name == f"{datetime.now(UTC):%Y-%m}"
    add(store, 45.0, cap=100.0)
    with pytest.raises(BudgetError) as told:
        add(store, 0.5, cap=100.0)
    assert str(told.value) == (
        f"$35.00 spent in {month.name} (UTC) and $65.00 reserved for 2 unfinished jobs; "
        "with up to $0.50 for this job on b that is $100.50, above TUNEPORT_MONTHLY_BUDGET of $100.00; "
        "nothing was started; raise it, cancel a job, or wait for the next month"
    )
    assert len(store.jobs.all()) == 5, "what is refused is no job"
    add(store, 0.0, cap=100.0)
    add(store, 0.5)


def test_what_is_unknown_cannot_be_held_to_a_sum(store: Store) -> None:
    with pytest.raises(BudgetError, match="the cost of this job on b is unknown, and TUNEPORT_MONTHLY_BUDGET is"):
        add(store, None, cap=100.0)
    before = add(store, None)
    with pytest.raises(BudgetError, match=f"the cost of {before.id} is unknown, so .* cannot be held"):
        add(store, 1.0, cap=100.0)
    finish(store, before, 3.0)
    add(store, 1.0, cap=100.0)


def test_a_provider_s_own_quote_is_held_against_the_month_too(store: Store) -> None:
    add(store, 90.0)
    row = add(store, 5.0, cap=100.0)
    store.leases.claim(row.id, "me")
    dear = Quote(backend="b", model="m", expected=11.0, authority="provider")
    with pytest.raises(BudgetError, match="with up to \\$11.00 for this job"):
        store.leases.write_quote(row.id, "me", dear, monthly_budget=100.0)
    assert store.jobs.get(row.id).reserved_usd == 5.0
    fits = store.leases.write_quote(row.id, "me", dear.model_copy(update={"expected": 10.0}), monthly_budget=100.0)
    assert fits.reserved_usd == 10.0 and store.statistics.sum_month().reserved == 100.0, (
        "its own first quote is not counted twice"
    )


def test_two_processes_at_once_do_not_both_take_what_is_left(store: Store) -> None:
    script = textwrap.dedent("""
        import sys
        from pathlib import Path
        from tuneport.errors import BudgetError
        from tuneport.lifecycle.store.store import Store
        from tuneport.types import PreparedData, Quote, TuneSpec
        store = Store(sys.argv[1]).unscoped()
        data = PreparedData.model_validate_json(sys.argv[2])
        spec, quote = TuneSpec(model="m", dataset=Path("t")), Quote(backend="b", model="m", expected=10.0)
        print("ready", flush=True)
        sys.stdin.readline()
        taken = 0
        for _ in range(20):
            try:
                store.jobs.add(spec, data, backend="b", model="m", quote=quote, monthly_budget=105.0)
                taken += 1
            except BudgetError:
                pass
        print(taken)
    """)
    url = store.database.engine.url.render_as_string(hide_password=False)
    start = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    command = [sys.executable, "-c", script, url, DATA.model_dump_json()]
    both = [subprocess.Popen(command, **start) for _ in range(2)]  # type: ignore[call-overload]
    for one in both:
        assert one.stdout.readline() == "ready\n"
    for one in both:
        one.stdin.write("go\n")
        one.stdin.flush()
    taken = [int(one.communicate(timeout=120)[0]) for one in both]
    assert sum(taken) == 10 and store.statistics.sum_month().reserved == 100.0, taken


HOURLY = JobEstimate(billing="machine_hours", usd_per_hour=2.0)
BEGAN = now().replace(microsecond=0) - timedelta(days=5)


def at(hours: float) -> datetime:
    return BEGAN + timedelta(hours=hours)


def said(status: str, **values: Any) -> JobState:
    told = {"remote_id": "r", "status": status, "raw_status": status, "model": "m"} | values
    return JobState.model_validate(told)


def hourly(store: Store, **more: Any) -> JobRow:
    """A job at $2 an hour, quoted at most $2, that its backend has."""
    row = add(store, 2.0, estimate=HOURLY, **more)
    store.schedule.record_many({row.id: {"remote_id": "r", "status": "queued"}})
    return store.jobs.get(row.id)


def look(store: Store, row: JobRow, state: JobState, hours: float, written: dict[str, int] | None = None) -> JobRow:
    """What a list call says so many hours after `BEGAN`."""
    known = {row.id: store.jobs.get(row.id)}
    assert record_job_states(store, {row.id: state}, known, moment=at(hours), written=written) == [row.id]
    return store.jobs.get(row.id)


def test_an_unfinished_job_counts_as_what_it_has_cost_or_will(store: Store) -> None:
    row = look(store, hourly(store), said("running"), 0)
    assert row.reserved_usd == 2.0
    # Nobody has looked at it for sixty hours: it trains all the same.
    with store.database.transaction() as session:
        session.get(JobRow, row.id).running_at = now() - timedelta(hours=60)  # type: ignore[union-attr]
    assert store.statistics.sum_month().reserved == pytest.approx(120.0, abs=0.1)
    with pytest.raises(BudgetError, match=r"and \$120\.00 reserved for 1 unfinished job; with up to \$90\.00"):
        add(store, 90.0, cap=200.0)
    with store.database.transaction() as session:
        session.get(JobRow, row.id).running_at = at(0)  # type: ignore[union-attr]
    row = look(store, row, said("running", progress=Progress(step=50, total_steps=100, seconds_left=100 * 3600)), 60)
    assert row.reserved_usd == pytest.approx(320.0), "sixty hours so far and a hundred to go, with or without a budget"
    slow = look(store, row, said("running"), 61)
    assert slow.reserved_usd == pytest.approx(320.0), "what is reserved does not shrink while it runs"


def test_a_job_that_goes_on_is_held_against_the_month_again(store: Store) -> None:
    row = look(store, hourly(store), said("running"), 0)
    half = Progress(step=50, total_steps=100)
    row = look(store, row, said("failed", finished_at=at(1), progress=half), 1)
    with store.database.transaction() as session:
        stored = session.get(JobRow, row.id)
        assert stored is not None
        stored.reserved_usd, stored.cost_usd = 20.0, 12.0
    add(store, 80.0)
    store.leases.claim(row.id, "me")
    with pytest.raises(BudgetError, match=r"with up to \$22\.00 for this job on b that is \$102\.00"):
        store.leases.reopen(row.id, "me", monthly_budget=100.0)
    kept = store.jobs.get(row.id)
    assert (kept.status, kept.cost_usd, kept.reserved_usd) == ("failed", 12.0, 20.0)
    row = store.leases.reopen(row.id, "me", monthly_budget=102.0)
    assert (row.status, row.finished_at, row.cost_usd, row.reserved_usd) == ("queued", None, None, 22.0)
    assert store.statistics.sum_month().total == 102.0, "twelve spent and half of twenty to come, counted once"
    with pytest.raises(LeaseLostError):
        store.leases.reopen(row.id, "another")


def test_a_hung_machine_goes_above_its_budget_though_its_state_stays_the_same(store: Store) -> None:
    row = hourly(store, spec=SPEC.model_copy(update={"budget": 10.0}), options=JobOptions(cancel_over_budget=True))
    heard: list[str] = []
    store.events.on_over_budget = lambda job_id, message: heard.append(message)
    written: dict[str, int] = {}
    hung = said("running", progress=Progress(step=1, total_steps=100))
    for hours in (0.0, 1.0):
        assert look(store, row, hung, hours, written).cancel_requested_at is None
    assert look(store, row, hung, 51.0, written).cancel_requested_at is not None
    assert len(heard) == 1 and "about $102.00, above its budget of $10.00 (51.00 h at $2.00 so far)" in heard[0]


def test_a_pause_is_neither_paid_nor_training(store: Store) -> None:
    row = hourly(store, spec=SPEC.model_copy(update={"budget": 10.0}), options=JobOptions(cancel_over_budget=True))
    for status, hours in (("running", 0), ("running", 1), ("paused", 1), ("paused", 11), ("queued", 12)):
        row = look(store, row, said(status), hours)
        projected = project_job_cost(row)
        assert projected is None or not projected.over_budget, (status, hours)
    row = look(store, row, said("running"), 13)
    projected = project_job_cost(row)
    assert projected is not None and projected.usd == pytest.approx(2.0)
    row = look(store, row, said("succeeded", finished_at=at(14)), 14.5)
    actual = row.job_actual
    assert actual is not None and actual.seconds == 2 * 3600 and row.cost_usd == pytest.approx(4.0)
    assert actual.interrupted and "pauses are not counted" in actual.seconds_because
    assert row.cancel_requested_at is None


def test_a_backend_s_events_say_exactly_when_it_stood_still(store: Store) -> None:
    """Seen was only the end: a pause of ten hours, a failure that was mended after five, a machine down for three."""
    row = look(store, hourly(store), said("running"), 0.5)
    told = [
        (0.0, "message", "Fine-tuning job started"), (1.0, "pause", "Paused at step 7"), (10.5, "resume", "Resumed"),
        (11.0, "message", "Fine-tuning job started, going on from step 7"), (12.0, "message", "the disk is full"),
        (16.5, "resume", "Resumed"), (17.0, "message", "Fine-tuning job started, going on from step 9"),
        (18.0, "message", "Step 20"), (20.5, "restart", "the trainer died"),
        (21.0, "message", "Fine-tuning job started, going on from step 20"),
    ]  # fmt: skip
    row = look(store, row, said("succeeded", finished_at=at(22)), 22.1)
    assert row.cost_usd == pytest.approx(43.0), "as far as is known before its events are read"
    for start in (0, 6):
        events = [
            JobEvent(id=f"e{start}-{number}", created_at=at(hours), type=type_, message=message)
            for number, (hours, type_, message) in enumerate(told[start : start + 6])
        ]
        store.events.add(row.id, events)
    row = store.jobs.get(row.id)
    assert row.job_actual is not None and row.job_actual.seconds == 4 * 3600 and row.cost_usd == pytest.approx(8.0)


# --- one job ----------------------------------------------------------------------------------------------------------


def running(terms: JobEstimate, *, budget: float | None = None, quote: float = 15.0, **state: Any) -> JobRow:
    told = {"remote_id": "r", "status": JobStatus.RUNNING, "raw_status": "x", "model": "m"} | state
    moment = now()
    return JobRow(
        id="j", backend="b", model="m", remote_id="r", status="running", estimate=terms.model_dump(mode="json"),
        state=JobState.model_validate(told).model_dump(mode="json"), running_at=moment - timedelta(hours=1),
        polled_at=moment, budget_usd=budget,
        quote=Quote(backend="b", model="m", expected=quote).model_dump(mode="json"),
    )  # fmt: skip


def test_other_epochs_than_reckoned_with_change_the_projection() -> None:
    as_quoted = project_job_cost(running(TOKENS, budget=16.0))
    assert as_quoted is not None and (as_quoted.usd, as_quoted.because, as_quoted.over_budget) == (
        15.0,
        "as quoted",
        False,
    )
    more = project_job_cost(running(TOKENS, budget=16.0, hyperparameters={"n_epochs": 4}))
    assert more is not None and more.usd == 20.0 and more.over_budget
    assert str(more) == (
        "about $20.00, above its budget of $16.00 (4 epochs instead of the estimated 3, at $5.00 per 1M)"
    )
    fewer = project_job_cost(running(TOKENS, hyperparameters={"n_epochs": 1}))
    assert fewer is not None and fewer.usd == 5.0
    counted = project_job_cost(running(TOKENS, trained_tokens=3_600_000))
    assert counted is not None and counted.usd == 18.0


def test_a_rented_machine_is_projected_by_its_pace_once_that_can_be_told() -> None:
    terms = JobEstimate(billing="machine_hours", usd_per_hour=2.0)
    early = project_job_cost(running(terms, progress=Progress(step=2, total_steps=100, seconds_left=99 * 3600)))
    assert early is not None and early.usd == pytest.approx(2.0), "the pace of the first steps is no pace"
    later = project_job_cost(running(terms, progress=Progress(step=20, total_steps=100, seconds_left=4 * 3600)))
    assert later is not None and later.usd == pytest.approx(10.0)
    assert later.because == "1.00 h so far and 4.00 h left at $2.00"


@pytest.fixture
def submit(openai: OpenAIEmulator, isolated: Path) -> Iterator[Callable[..., tuple[JobService, JobRow]]]:
    """Twelve rows, of which the service makes eight epochs: as `auto` says, too."""
    dataset = write_chats(isolated / "train.jsonl")
    workspace = JobService(Settings.load(isolated))

    def go(*, cancel: bool = False, **values: Any) -> tuple[JobService, JobRow]:
        spec = TuneSpec.model_validate({"model": MODEL, "dataset": dataset} | values)
        row = workspace.submit(spec, backend="openai", cancel_over_budget=cancel)
        return workspace, workspace.start(row.id)

    yield go
    workspace.close()


def with_fewer_epochs_reckoned(workspace: JobService, row: JobRow) -> None:
    """As if half the epochs had been thought of that the service then chose."""
    with workspace.store.database.transaction() as session:
        stored = session.get(JobRow, row.id)
        assert stored is not None and stored.estimate is not None and stored.quote is not None
        half = {name: stored.quote[name] / 2 for name in ("expected", "low", "high")}
        stored.quote = stored.quote | half
        stored.estimate = stored.estimate | {
            "epochs": stored.estimate["epochs"] // 2, "tokens": stored.estimate["tokens"] // 2
        }  # fmt: skip
        stored.budget_usd = half["high"]


@pytest.mark.parametrize("many", [False, True])
def test_a_job_on_its_way_above_its_budget_is_reported_once_and_cancelled_if_asked_for(
    submit: Callable[..., tuple[JobService, JobRow]], openai: OpenAIEmulator, many: bool
) -> None:
    workspace, told = submit(budget=1.0)
    _, stopped = submit(budget=1.0, cancel=True)
    for row in (told, stopped):
        with_fewer_epochs_reckoned(workspace, row)
    heard: list[str] = []
    workspace.store.events.on_over_budget = lambda job_id, message: heard.append(job_id)
    openai.advance(1300)
    for _ in range(2):
        if many:
            workspace.refresh_all()
        else:
            workspace.refresh(told.id), workspace.refresh(stopped.id)
    events = [event for _, event in workspace.events(told.id) if event.type == "over_budget"]
    assert sorted(heard) == sorted([told.id, stopped.id]), "once each, however often they are looked at"
    assert len(events) == 1 and events[0].level == "warning" and "above its budget of" in events[0].message
    assert "`tuneport cancel` stops it" in events[0].message and workspace.job(told.id).status == "running"
    assert workspace.job(stopped.id).cancel_requested_at is not None
    workspace.drive(stopped.id, poll_seconds=0.01)
    assert workspace.job(stopped.id).status == "cancelled"
    assert "it is being cancelled" in str([event.message for _, event in workspace.events(stopped.id)])


def test_nothing_is_uploaded_for_a_job_that_may_cost_more_than_its_budget_or_the_month(
    submit: Callable[..., tuple[JobService, JobRow]], openai: OpenAIEmulator, isolated: Path, monkeypatch: Any
) -> None:
    tuned: dict[str, Any] = {"from_checkpoint": f"ft:{MODEL}:org::abcdefgh"}
    for values, usd in (({}, "0054"), (tuned, "0054"), ({"hyperparameters": {"epochs": 9}}, "0097")):
        with pytest.raises(BudgetError, match=rf"would cost up to \$0\.{usd} .* above the budget of \$0\.0001"):
            submit(budget=0.0001, **values)
    with pytest.raises(ConfigError, match="no budget that the job could be cancelled for"):
        submit(cancel=True)
    monkeypatch.setenv("TUNEPORT_MONTHLY_BUDGET", "0.0001")
    with JobService(Settings.load(isolated)) as capped, pytest.raises(BudgetError, match="above TUNEPORT_MONTHLY"):
        capped.submit(TuneSpec(model=MODEL, dataset=isolated / "train.jsonl"), backend="openai")
    assert not openai.files and openai.jobs_created == 0
    monkeypatch.setenv("TUNEPORT_MONTHLY_BUDGET", "a lot")
    with pytest.raises(ConfigError, match="TUNEPORT_MONTHLY_BUDGET is 'a lot', which is no amount of US dollars"):
        JobService(Settings.load(isolated))
