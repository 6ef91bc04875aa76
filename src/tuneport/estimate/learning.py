"""Corrects durations by those of finished jobs. Pure.

A machine's own runs correct its estimate by one factor; a provider, which publishes nothing, is judged by its history
alone. Both are told on how many jobs they rest, and bounds narrow only as far as those agree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import exp, log, sqrt
from statistics import median

from tuneport.estimate.duration import Duration
from tuneport.formatting import counted, duration
from tuneport.types import Adapter

SAME_SIZE, LIKE_SIZE = 2.0, 8.0
"""Models within this factor of each other's parameters are of one size; within the second they still tell something."""
SHORTEST_SECONDS = 10.0
"""Shorter runs measure how long weights take to save, not how fast they are trained."""
FEW = 3
"""With fewer jobs their spread is not known: the estimate moves, its bounds stay as wide as they were."""
LEAST_SPREAD = log(1.1)
"""No machine repeats itself better than to a tenth: others use it, too."""
PRIOR_WEIGHT = 2.0
"""Of how many jobs the bounds of the estimate itself count."""
NINE_OF_TEN = 1.645 * 1.4826
"""From the median distance from the median to bounds that hold nine of ten values of a normal distribution."""
NEAR_TOKENS = 10.0
"""A provider's jobs of up to so many times more or fewer tokens are compared with."""


@dataclass(frozen=True)
class PastRun:
    """A run of this or another machine: `expected_seconds` as estimated without any correction."""

    device: str
    params_b: float
    adapter: str
    tokens: int
    expected_seconds: float
    seconds: float


@dataclass(frozen=True)
class HostedRun:
    model: str
    tokens: int
    seconds: float


@dataclass(frozen=True)
class DurationHistory:
    """All that succeeded without an interruption; hosted ones by backend."""

    local: Sequence[PastRun] = ()
    hosted: Mapping[str, Sequence[HostedRun]] = field(default_factory=dict)


def correct_estimated_duration(
    duration: Duration,
    history: Sequence[PastRun],
    *,
    device: str,
    params_b: float,
    adapter: Adapter,
    tokens: int,
    proportional: bool,
) -> Duration:
    """Return the estimate times the ratio of actual to estimated durations of earlier runs on this device.

    The ratio is a median, so that one outlier counts little, drawn towards 1 while there are few runs (n of n + 1).
    Runs with the same adapter and size count if there are any, else at least three of a similar size. `proportional`:
    the estimate is tokens times parameters (a processor's), so earlier estimates are computed again at today's rate.
    """
    if duration.expected_seconds is None or tokens <= 0:
        return duration
    here = [run for run in history if run.device == device and run.seconds >= SHORTEST_SECONDS and run.tokens > 0]
    near = [run for run in here if run.adapter == adapter.value and _alike(run.params_b, params_b, SAME_SIZE)]
    like = [run for run in here if _alike(run.params_b, params_b, LIKE_SIZE)]
    runs, kind = (near, f"{adapter.value}, models of this size") if near else (like, "other adapters or sizes")
    if not near and len(like) < FEW:
        return duration
    each = duration.expected_seconds / (tokens * params_b)
    ratios = [
        log(run.seconds / (each * run.tokens * run.params_b if proportional else run.expected_seconds)) for run in runs
    ]
    shift = median(ratios) * len(ratios) / (len(ratios) + 1)
    expected = duration.expected_seconds * exp(shift)
    low, high = _bounds(duration)
    if len(ratios) >= FEW:
        spread = max(LEAST_SPREAD, NINE_OF_TEN * median(abs(ratio - median(ratios)) for ratio in ratios))
        low, high = (_between(prior, spread, len(ratios)) for prior in (low, high))
    many = counted(len(ratios), "finished run")
    return replace(
        duration,
        expected_seconds=expected,
        low_seconds=expected * exp(-low),
        high_seconds=expected * exp(high),
        uncorrected_seconds=duration.expected_seconds,
        runs=len(ratios),
        explanation=f"{duration.explanation}; times {exp(shift):.2f} by {many} on this machine ({kind})",
    )


def estimate_hosted_duration(
    title: str, runs: Sequence[HostedRun], *, model: str | None, tokens: int | None
) -> Duration:
    """Estimate a duration from jobs of about as many tokens.

    How much of a job's time depends on its tokens is unknown, so each earlier job gives a range: its own time, and its
    time scaled by the tokens. Expected is the median of their middles; the bounds hold nine of ten of their ends.
    Queues are not included.
    """
    if tokens is None or tokens <= 0:
        return Duration.unknown(f"{title} publishes no training throughput, and the dataset's tokens were not counted")
    near = [run for run in runs if run.tokens > 0 and run.seconds > 0 and _alike(run.tokens, tokens, NEAR_TOKENS)]
    of_model = [run for run in near if run.model == model]
    used, kind = (of_model, "of this model") if len(of_model) >= FEW else (near, "of any model")
    if len(used) < FEW:
        seen = "one finished job is" if len(used) == 1 else f"{len(used)} finished jobs are"
        return Duration.unknown(
            f"{title} publishes no training throughput, and only {seen} of about this size; an estimate needs {FEW}"
        )
    ends = [sorted((run.seconds, run.seconds * tokens / run.tokens)) for run in used]
    by_tokens, by_seconds = sorted(used, key=lambda run: run.tokens), sorted(used, key=lambda run: run.seconds)
    expected = median(sqrt(short * long) for short, long in ends)
    low = _share([short for short, _ in ends], 0.05)
    high = _share([long for _, long in ends], 0.95)
    return Duration(
        expected_seconds=expected,
        low_seconds=min(low, expected),
        high_seconds=max(high, expected),
        runs=len(used),
        explanation=(
            f"{len(used)} finished jobs {kind} of {_range([f'{run.tokens:,}' for run in by_tokens])} tokens took "
            f"{_range([duration(run.seconds) for run in by_seconds])}; this one has {tokens:,}; queues are not "
            "counted"
        ),
    )


def _alike(one: float, other: float, factor: float) -> bool:
    return one > 0 and other > 0 and abs(log(one / other)) <= log(factor) + 1e-9


def _bounds(duration: Duration) -> tuple[float, float]:
    """Return how far the estimate's own bounds lie from it, in logarithms."""
    expected = duration.expected_seconds or 1.0
    return log(expected / (duration.low_seconds or expected)), log((duration.high_seconds or expected) / expected)


def _between(prior: float, spread: float, runs: int) -> float:
    return (PRIOR_WEIGHT * prior + runs * spread) / (PRIOR_WEIGHT + runs)


def _share(values: Sequence[float], share: float) -> float:
    """Return the value below which that share lies, straight between neighbours."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def _range(ordered: Sequence[str]) -> str:
    return ordered[0] if ordered[0] == ordered[-1] else f"{ordered[0]} to {ordered[-1]}"
