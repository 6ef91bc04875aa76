"""Two models' scores on public benchmarks, as a harness such as lm-eval measured them: what changed, and whether it is
more than chance. The test pairs the rows if a score is their mean; else it uses the standard errors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from tuneport.scoring.statistics.intervals import Z
from tuneport.scoring.statistics.paired import PairedDifference, correct_holm, measure_paired_difference
from tuneport.scoring.statistics.tally import Tally, tally_means, tally_right

Verdict = Literal["better", "worse", "no difference shown", "not tested"]


@dataclass(frozen=True)
class BenchmarkScore:
    """One metric of one task. `rows`: each row's score, if the value is their mean."""

    task: str
    metric: str
    filter: str
    value: float
    stderr: float | None
    higher_is_better: bool
    count: int
    rows: tuple[float, ...] | None = None

    @property
    def name(self) -> str:
        return f"{self.task} {self.metric}" + (f" ({self.filter})" if self.filter else "")

    @property
    def kind(self) -> tuple[str, str, str, int]:
        return self.task, self.metric, self.filter, self.count

    def as_dict(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "rows"}


@dataclass(frozen=True)
class BenchmarkScoreChange:
    """`difference`: the tuned model's score less the base model's; None if neither rows nor errors allow a test."""

    base: BenchmarkScore
    tuned: BenchmarkScore
    difference: PairedDifference | None

    @property
    def verdict(self) -> Verdict:
        return "not tested" if self.difference is None else self.difference.verdict

    def as_dict(self) -> dict[str, Any]:
        change = self.difference
        return {
            "task": self.base.task,
            "metric": self.base.metric,
            "filter": self.base.filter,
            "difference": None
            if change is None
            else {
                "value": change.value,
                "low": change.low,
                "high": change.high,
                "p": change.p,
                "adjusted_p": change.adjusted_p,
                "test": change.test,
            },
            "verdict": self.verdict,
        }


def compare_scores(base: Sequence[BenchmarkScore], tuned: Sequence[BenchmarkScore]) -> tuple[BenchmarkScoreChange, ...]:
    """Compare each score that both have; the p-values are corrected for the number of tests (Holm)."""
    after = {score.kind: score for score in tuned}
    pairs = [(score, after[score.kind]) for score in base if score.kind in after]
    found = [_difference(*pair) for pair in pairs]
    corrected = iter(correct_holm([each for each in found if each is not None]))
    return tuple(
        BenchmarkScoreChange(*pair, None if each is None else next(corrected))
        for pair, each in zip(pairs, found, strict=True)
    )


def _difference(base: BenchmarkScore, tuned: BenchmarkScore) -> PairedDifference | None:
    better = tuned.higher_is_better
    if base.rows and tuned.rows and len(base.rows) == len(tuned.rows):
        whole = set(base.rows) | set(tuned.rows) <= {0.0, 1.0}
        return measure_paired_difference(_tally(tuned.rows, whole), _tally(base.rows, whole), higher_is_better=better)
    if base.stderr is None or tuned.stderr is None or not (error := math.hypot(base.stderr, tuned.stderr)) > 0:
        return None
    value = tuned.value - base.value
    p = math.erfc(abs(value) / error / math.sqrt(2))
    return PairedDifference(
        value, value - Z * error, value + Z * error, p, "z of the standard errors, unpaired", better
    )


def _tally(rows: Sequence[float], whole: bool) -> Tally:
    return tally_right([row == 1 for row in rows]) if whole else tally_means(np.asarray(rows), best=None)
