"""The accuracy of estimates, for each backend, from the jobs that have ended. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import mean, median
from typing import Any

from tuneport.lifecycle.schema.estimates import JobActual, JobEstimate
from tuneport.types import JobStatus, Quote


@dataclass(frozen=True)
class EstimatedAndActualJob:
    """One job that has ended."""

    backend: str
    model: str
    status: JobStatus
    quote: Quote | None
    estimate: JobEstimate
    actual: JobActual

    @classmethod
    def from_row(
        cls, backend: str, model: str, status: str, quote: Any, estimate: Any, actual: Any
    ) -> EstimatedAndActualJob:
        return cls(
            backend,
            model,
            JobStatus(status),
            None if quote is None else Quote.model_validate(quote),
            JobEstimate.model_validate(estimate or {}),
            JobActual.model_validate(actual),
        )


@dataclass(frozen=True)
class EstimateError:
    """The error of estimates over `jobs` jobs: the mean distance from the actual value as a share of it, the
    median of actual over expected (above 1: jobs took more than estimated), and how many lay within the estimated
    bounds."""

    jobs: int
    mean_error: float
    median_ratio: float
    within_bounds: int


@dataclass(frozen=True)
class JobEstimateAccuracy:
    """The accuracy for one backend. A field is None if no succeeded job of it has both numbers. Jobs that cost nothing
    do not count for prices."""

    backend: str
    cost: EstimateError | None
    duration: EstimateError | None

    def as_dict(self) -> dict[str, Any]:
        return {
            "backend": self.backend,
            "cost": None if self.cost is None else vars(self.cost),
            "duration": None if self.duration is None else vars(self.duration),
        }


def measure_job_estimate_accuracy(jobs: Iterable[EstimatedAndActualJob]) -> list[JobEstimateAccuracy]:
    """Return the accuracy of each backend. Only jobs that succeeded with all their steps count: one that was cut short
    costs and takes less than estimated."""
    by_backend: dict[str, list[EstimatedAndActualJob]] = {}
    for job in jobs:
        if job.status is JobStatus.SUCCEEDED and not job.actual.cut_short:
            by_backend.setdefault(job.backend, []).append(job)
    return [
        JobEstimateAccuracy(name, _error([_cost(job) for job in ended]), _error([_duration(job) for job in ended]))
        for name, ended in sorted(by_backend.items())
    ]


Numbers = tuple[float | None, float | None, float | None, float | None]
"""Expected, low, high, actual."""


def _cost(job: EstimatedAndActualJob) -> Numbers:
    quote = job.quote
    return (None, None, None, None) if quote is None else (quote.expected, quote.low, quote.high, job.actual.usd)


def _duration(job: EstimatedAndActualJob) -> Numbers:
    told = job.estimate
    return told.seconds, told.seconds_low, told.seconds_high, None if job.actual.interrupted else job.actual.seconds


def _error(found: Sequence[Numbers]) -> EstimateError | None:
    ratios, within = [], 0
    for expected, low, high, actual in found:
        if not expected or not actual:
            continue
        ratios.append(actual / expected)
        # A cent, or a second, is no miss of a bound: providers round.
        low, high = expected if low is None else low, expected if high is None else high
        within += low - max(0.01, 0.01 * low) <= actual <= high + max(0.01, 0.01 * high)
    if not ratios:
        return None
    return EstimateError(len(ratios), mean(abs(1 / ratio - 1) for ratio in ratios), median(ratios), within)
