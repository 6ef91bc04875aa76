"""How programs use tuneport. mypy reads this file (`files` in pyproject.toml) and holds each type to what is said."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import assert_type

import tuneport
from tuneport.data.checks.report import CheckReport
from tuneport.types import Completion, Deployment, JobStatus
from tuneport.workflows.compare import Comparison
from tuneport.workflows.evaluation.report.page import EvaluationReport
from tuneport.workflows.plan import TrainingPlan

ROWS = [{"prompt": "Hello", "completion": "Good day"}]


def functions(spec: tuneport.TuneSpec) -> None:
    assert_type(tuneport.check(ROWS, model="gpt-4.1-mini", validation=Path("test.jsonl")), CheckReport)
    assert_type(tuneport.check(tuneport.Dataset(ROWS)), CheckReport)
    assert_type(tuneport.compare("train.jsonl", model=["a", "b"], backend="openai", traffic_in=10), Comparison)
    assert_type(tuneport.plan("train.jsonl", model="a", gpu="H100"), TrainingPlan)
    assert_type(tuneport.submit(ROWS, model="a", validation=ROWS, budget=3.0), tuneport.Job)
    assert_type(tuneport.submit(spec, delete_files=True), tuneport.Job)
    assert_type(tuneport.jobs(limit=3), list[tuneport.Job])
    assert_type(
        tuneport.evaluate("test.jsonl", ["base", tuneport.job("job-1")], fail_under={"f1": 0.8}), EvaluationReport
    )
    assert_type(tuneport.deploy("job-1", replicas=2), Deployment)


def misuse() -> None:
    tuneport.check(3)  # type: ignore[arg-type]
    tuneport.compare("train.jsonl", models=["a"])  # type: ignore[call-arg]
    tuneport.submit("train.jsonl")  # type: ignore[call-overload]
    tuneport.submit("train.jsonl", model="a", epochs=3)  # type: ignore[call-overload]


def workspace() -> None:
    with tuneport.Workspace() as opened:
        job = opened.submit(ROWS, model="a", backend="fake")
        assert_type(job, tuneport.Job)
        assert_type(opened.job(job.id), tuneport.Job)
        assert_type(opened.check(ROWS), CheckReport)
        assert_type(opened.evaluate(ROWS, job), EvaluationReport)
        assert_type(opened.complete("gpt-4.1-mini", "Hello"), Completion)


def answers(job: tuneport.Job) -> None:
    assert_type(job.complete("Hello"), Completion)
    assert_type(job.complete("Hello", stream=False, temperature=0.0), Completion)
    assert_type(job.complete("Hello", stream=True), Iterator[str])
    assert_type(job.stream([{"role": "user", "content": "Hello"}]), Iterator[str])
    assert_type(job.wait().status, JobStatus)
    for update in job.follow():
        assert_type(update, tuneport.JobUpdate)


def errors() -> None:
    try:
        tuneport.submit(ROWS, model="a", budget=1.0)
    except tuneport.BudgetError:
        raise
    except tuneport.DatasetError as error:
        assert_type(error.line, int | None)
    except tuneport.JobFailedError:
        raise


async def coroutines() -> None:
    assert_type(await tuneport.aio.check(ROWS, model="a"), CheckReport)
    assert_type(await tuneport.aio.job("job-1"), tuneport.aio.Job)
    await tuneport.aio.check(3)  # type: ignore[arg-type]
    async with tuneport.aio.Workspace() as opened:
        job = await opened.submit(ROWS, model="a")
        assert_type(job, tuneport.aio.Job)
        assert_type(await job.cancel(), tuneport.aio.Job)
        assert_type(await job.download("folder", merged=True), Path)
        assert_type(await job.complete("Hello"), Completion)
        assert_type(await job.complete("Hello", stream=True), AsyncIterator[str])
        async for piece in job.stream("Hello"):
            assert_type(piece, str)
        async for update in job.follow():
            assert_type(update, tuneport.JobUpdate)
        assert_type(await opened.compare("train.jsonl"), Comparison)


async def misused_coroutines() -> None:
    await tuneport.aio.submit("train.jsonl")  # type: ignore[call-overload]
    await tuneport.aio.compare("train.jsonl", models=["a"])  # type: ignore[call-arg]
