"""Finished jobs of the store are what the next estimate learns from."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.workspaces import write_chats
from tuneport.cli.commands.costs import _remarks
from tuneport.lifecycle.planning.past_jobs import read_past_jobs
from tuneport.lifecycle.planning.planning import plan_job_machine
from tuneport.lifecycle.service import JobService
from tuneport.lifecycle.store.store import Store
from tuneport.settings import Settings
from tuneport.testing.emulators import OpenAIEmulator
from tuneport.types import JobState, JobStatus, Progress, TuneSpec, now
from tuneport.workflows.compare import compare


def test_three_jobs_at_a_provider_tell_how_long_the_fourth_takes(
    isolated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with OpenAIEmulator(pace=600) as emulator:
        monkeypatch.setenv("TUNEPORT_OPENAI_BASE_URL", emulator.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", emulator.key)
        spec = TuneSpec(model="gpt-4.1-mini", dataset=write_chats(isolated / "train.jsonl"))
        with JobService(Settings.load(isolated)) as workspace:
            before = workspace.plan(spec, backend="openai")
            assert "no queue times" in str(before.estimate.seconds_unavailable)
            for _ in range(3):
                row = workspace.start(workspace.submit(spec, backend="openai").id)
                emulator.advance(4000)
                workspace.refresh(row.id)
            after = workspace.plan(spec, backend="openai").estimate
            assert after.seconds == pytest.approx(600, abs=2)
            assert after.seconds_because.startswith("3 finished jobs of this model of 1,080 tokens took 10 min 00 s;")
            told = compare(spec.dataset, model=[spec.model], backend=["openai"], settings=workspace.settings)
            assert [choice.duration.runs for choice in told.choices] == [3]
            assert any(remark.startswith("time: 3 finished jobs of this model") for remark in _remarks(told.choices[0]))


def test_this_machine_s_runs_correct_its_estimate_and_interrupted_ones_do_not(isolated: Path) -> None:
    settings = Settings.load(isolated)
    assert not read_past_jobs(settings).local and not (settings.home / "tuneport.db").exists(), "looking makes no store"
    spec = TuneSpec(model="smollm2-135m-instruct", dataset=write_chats(isolated / "train.jsonl", rows=4000))
    with JobService(settings) as workspace:
        plain = workspace.plan(spec, backend="local").estimate
        assert plain.seconds is not None and plain.device == plan_job_machine(settings).device

        def finish(seconds: float, details: dict[str, object], step: int = 100) -> None:
            row = workspace.submit(spec, backend="local")
            ended = now() + timedelta(seconds=seconds)
            state = JobState(
                remote_id=row.id, status=JobStatus.SUCCEEDED, raw_status="succeeded", model=row.model,
                finished_at=ended, details={"started_at": (ended - timedelta(seconds=seconds)).isoformat(), **details},
                progress=Progress(step=step, total_steps=100),
            )  # fmt: skip
            workspace.store.leases.claim(row.id, row.id)
            workspace.store.leases.write(
                row.id, row.id, status="succeeded", remote_id=row.id, state=state.model_dump(mode="json")
            )

        for _ in range(3):
            finish(plain.seconds * 50, {"restarts": 1})
        for _ in range(5):
            finish(plain.seconds / 3, {}, step=33)
        assert workspace.plan(spec, backend="local").estimate.seconds == plain.seconds, "stopped early, by themselves"
        for _ in range(4):
            finish(plain.seconds / 2, {})
        learned = workspace.plan(spec, backend="local").estimate
        # Each run was estimated by those before it, but is compared with what was said before any of them.
        assert learned.seconds == pytest.approx(plain.seconds * 0.5 ** (4 / 5))
        assert learned.uncorrected_seconds == plain.seconds and "by 4 finished runs" in learned.seconds_because
        assert learned.seconds_high is not None and plain.seconds_high is not None
        assert learned.seconds_high / learned.seconds < plain.seconds_high / plain.seconds
        assert (
            read_past_jobs(settings) == workspace.store.statistics.read_job_history()
            and len(read_past_jobs(settings).local) == 4
        )


def test_what_is_quoted_by_the_hour_is_paid_by_the_hour_whatever_runs_it(
    isolated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNEPORT_LOCAL_USD_PER_HOUR", "2")
    spec = TuneSpec(model="smollm2-135m-instruct", dataset=write_chats(isolated / "train.jsonl"))
    with JobService(Settings.load(isolated)) as workspace:
        for executor in ("process", "slurm"):
            asked = spec.model_copy(update={"provider_options": {"executor": executor}})
            planned = workspace.plan(asked, backend="local")
            assert planned.chosen.quote.expected and planned.estimate.usd_per_hour == 2.0, executor
            assert (planned.estimate.device is None) is (executor == "slurm"), "another machine teaches nothing here"


def test_a_store_that_does_not_work_teaches_nothing(isolated: Path) -> None:
    settings = Settings.load(isolated)
    (settings.home / "tuneport.db").write_bytes(b"no database at all, and long enough to look like one" * 100)
    assert not read_past_jobs(settings).local
    with pytest.raises(Exception, match="does not work"):
        Store(settings.database_url).unscoped()
