"""Models' answers to the same rows, scored and compared: each score has an interval, each comparison a test."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tuneport.scoring.examples import Answer, Example
from tuneport.scoring.metrics import EARLIER_NAMES, Metric, Unit
from tuneport.scoring.statistics.intervals import confidence_interval
from tuneport.scoring.statistics.paired import PairedDifference, correct_holm, measure_paired_difference
from tuneport.scoring.statistics.tally import Tally


@dataclass(frozen=True)
class Score:
    """`low` and `high` are the 95 % interval, and `method` how it was made: see `statistics.intervals`."""

    metric: str
    value: float
    low: float
    high: float
    method: str
    rows: int
    unit: Unit
    higher_is_better: bool

    def as_dict(self) -> dict[str, Any]:
        return _finite(vars(self))


@dataclass(frozen=True)
class ScoreComparison:
    """A model beside the one that it is measured against, by one metric."""

    metric: str
    model: str
    against: str
    difference: PairedDifference

    def as_dict(self) -> dict[str, Any]:
        names = {"metric": self.metric, "model": self.model, "against": self.against}
        return names | _finite(vars(self.difference)) | {"verdict": self.difference.verdict}


@dataclass(frozen=True)
class Scored:
    """`scores`: of each model by each metric. `per_row`: the same of single rows, if a metric has such values."""

    scores: Mapping[str, Mapping[str, Score]]
    comparisons: tuple[ScoreComparison, ...]
    per_row: Mapping[str, Mapping[str, Sequence[float] | None]]
    details: Mapping[str, Mapping[str, Any]]

    def as_dict(self) -> dict[str, Any]:
        scores = {}
        for model, each in self.scores.items():
            scores[model] = {name: score.as_dict() for name, score in each.items()}
            # Those who read the file by the names of earlier releases find them for one more.
            scores[model] |= {old: scores[model][name] for old, name in EARLIER_NAMES.items() if name in each}
        return {
            "scores": scores,
            "comparisons": [each.as_dict() for each in self.comparisons],
            "details": self.details,
        }


def _finite(values: Mapping[str, Any]) -> dict[str, Any]:
    """Replace infinite values and NaN (an unknown end) by None, since JSON cannot hold them."""
    unknown = {name for name, each in values.items() if isinstance(each, float) and not math.isfinite(each)}
    return {name: None if name in unknown else each for name, each in values.items()}


def score_metric(metric: Metric, tally: Tally, *, seed: int = 0) -> Score:
    around = confidence_interval(tally, seed=seed)
    return Score(
        metric.name,
        tally.corpus,
        around.low,
        around.high,
        around.method,
        tally.rows,
        metric.unit,
        metric.higher_is_better,
    )


def score_all(
    rows: Sequence[Example],
    answers: Mapping[str, Sequence[Answer]],
    metrics: Sequence[Metric],
    *,
    seed: int = 0,
) -> Scored:
    """Score every model by every metric, and compare every other model with the first.

    The verdicts of one metric are corrected together for the number of models (Holm): with ten models, a chance winner
    is no longer likely. Raises ValueError if a model has not answered every row.
    """
    if short := [model for model, said in answers.items() if len(said) != len(rows)]:
        raise ValueError(f"{short[0]} has answered {len(answers[short[0]])} of {len(rows)} rows")
    first = next(iter(answers))
    scores: dict[str, dict[str, Score]] = {model: {} for model in answers}
    per_row: dict[str, dict[str, Sequence[float] | None]] = {model: {} for model in answers}
    details: dict[str, dict[str, Any]] = {model: {} for model in answers}
    comparisons: list[ScoreComparison] = []
    for metric in metrics:
        tallies = {model: metric.tally(rows, said) for model, said in answers.items()}
        for model, tally in tallies.items():
            scores[model][metric.name] = score_metric(metric, tally, seed=seed)
            per_row[model][metric.name] = None if tally.per_row is None else tally.per_row.tolist()
            if metric.details is not None:
                details[model] |= metric.details(rows, answers[model])
        others = [model for model in answers if model != first]
        found = [
            measure_paired_difference(
                tallies[model], tallies[first], higher_is_better=metric.higher_is_better, seed=seed
            )
            for model in others
        ]
        comparisons += [
            ScoreComparison(metric.name, model, first, each)
            for model, each in zip(others, correct_holm(found), strict=True)
        ]
    return Scored(scores, tuple(comparisons), per_row, details)
