"""The steps that a backend takes are held against those that were expected when the job was submitted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.workspaces import write_chats
from tuneport.cli.views.job import print_job
from tuneport.estimate.training_settings import TrainingSettings, TrainingSteps
from tuneport.lifecycle.accounting.steps import describe_steps_difference, job_steps_text
from tuneport.lifecycle.schema.estimates import JobEstimate
from tuneport.lifecycle.schema.tables import JobRow
from tuneport.lifecycle.service import JobService
from tuneport.settings import Settings
from tuneport.testing.emulators import OpenAIEmulator, TogetherEmulator
from tuneport.types import Hyperparameters, JobState, JobStatus, Progress, TuneSpec


def row_of(seen: int | None, expected: int | None, low: int | None = None, high: int | None = None) -> JobRow:
    why = None if expected else "b picks the batch"
    steps = TrainingSteps(expected=expected, low=low, high=high, meant=100, unavailable=why)
    numbers = Hyperparameters()
    training = TrainingSettings(hyperparameters=numbers, epochs=5, recommended=numbers, steps=steps)
    state = JobState(
        remote_id="r", status=JobStatus.RUNNING, raw_status="x", model="m", progress=Progress(step=1, total_steps=seen)
    )
    return JobRow(
        id="job-1",
        backend="b",
        status="running",
        estimate=JobEstimate(training=training).model_dump(mode="json"),
        state=state.model_dump(mode="json"),
    )


@pytest.mark.parametrize(
    ("row", "differs", "shown"),
    [
        (row_of(100, 100), None, "100, as expected"),
        (row_of(95, 100), None, "95, about the 100 expected"),
        (row_of(10, 100), "not the 100 that were expected: it learns less", "10, not the 100 expected"),
        (row_of(231, 100), "not the 100 that were expected: it trains longer", "231, not the 100 expected"),
        (row_of(120, 100, 90, 120), None, "120, about the 100 expected"),
        (row_of(60, 100, 90, 120), "60 optimizer steps", "60, not the 100 expected"),
        (row_of(None, 1_628), None, "1,628 expected"),
        (row_of(1_628, None), None, "1,628"),
        (row_of(None, None), None, "not known before: b picks the batch"),
    ],
)
def test_a_total_more_than_a_tenth_off_is_a_difference(row: Any, differs: str | None, shown: str | None) -> None:
    told = describe_steps_difference(row)
    assert told is None if differs is None else told is not None and differs in told, told
    assert job_steps_text(row) == shown


@pytest.fixture(params=["openai", "together"])
def job(request: pytest.FixtureRequest, isolated: Path, lead_to: Any) -> Iterator[tuple[JobService, Any, str]]:
    """A job that is submitted, and of which another tuneport expected ten times the steps."""
    name = request.param
    emulator = lead_to(OpenAIEmulator(pace=600) if name == "openai" else TogetherEmulator(pace=0.01))
    model = "gpt-4.1-mini-2025-04-14" if name == "openai" else "llama-3.1-8b-instruct"
    numbers = {"epochs": 3, "batch_size": 2}
    spec = TuneSpec.model_validate(
        {"model": model, "dataset": write_chats(isolated / "train.jsonl"), "hyperparameters": numbers}
    )
    (isolated / "tuneport.toml").write_text("[backends.together.options]\npoll_interval = 0.01\n")
    with JobService(Settings.load(isolated)) as workspace:
        row = workspace.submit(spec, backend=name)
        workspace.drive(row.id, until=lambda row: row.status == "submitting")
        emulator.pace = 600
        row = workspace.start(row.id)
        with workspace.store.database.transaction() as session:
            stored = session.get(JobRow, row.id)
            assert stored is not None and stored.estimate is not None
            steps = {"expected": 1_800, "low": 1_800, "high": 1_800, "explanation": ""}
            training = stored.estimate["training"]
            stored.estimate = stored.estimate | {"training": training | {"steps": training["steps"] | steps}}
        yield workspace, emulator, row.id


@pytest.mark.parametrize("many", [False, True])
def test_other_steps_than_expected_are_told_once_while_the_job_runs(
    job: tuple[JobService, Any, str], many: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace, emulator, job_id = job
    for seconds in (1300, 60, 60, 3000):
        emulator.advance(seconds)
        workspace.refresh_all() if many else workspace.refresh(job_id)
        workspace.events(job_id)  # OpenAI names a total in its events alone, which are fetched when they are read
    told = [event for _, event in workspace.events(job_id) if event.type == "steps"]
    assert len(told) == 1 and told[0].level == "warning", told
    row = workspace.job(job_id)
    seen = row.job_state.progress.total_steps if row.job_state else None
    assert f"takes {seen} optimizer steps, not the 1,800 that were expected: it learns less" in told[0].message
    assert f"`tuneport cancel {job_id}` stops it" in told[0].message
    print_job(row)
    assert f"  steps         {seen}, not the 1,800 expected\n" in capsys.readouterr().out
