"""Answers marked right or wrong against the expected text, with the interval that so few rows allow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tuneport.scoring.metrics.normalisation import is_same_answer
from tuneport.scoring.statistics.intervals import wilson

Same = Callable[[str, str], bool]
"""Whether an answer (the second) is right if the first is expected."""


@dataclass(frozen=True)
class WrongAnswer:
    """One wrong answer: `index` is the row's place in the evaluated file, from 0."""

    index: int
    prompt: str
    expected: str
    answer: str


@dataclass(frozen=True)
class AccuracyScore:
    """`accuracy` is a share, 0 to 1. `low` and `high` are the Wilson 95 % interval of that share."""

    correct: int
    total: int
    misses: list[WrongAnswer] = field(default_factory=list, repr=False)

    @property
    def accuracy(self) -> float:
        return self.correct / self.total

    @property
    def low(self) -> float:
        return wilson(self.correct, self.total)[0]

    @property
    def high(self) -> float:
        return wilson(self.correct, self.total)[1]

    def as_dict(self) -> dict[str, object]:
        return {
            "accuracy": self.accuracy,
            "low": self.low,
            "high": self.high,
            "correct": self.correct,
            "total": self.total,
            "misses": [vars(miss) for miss in self.misses],
        }


def score_accuracy(
    prompts: Sequence[str], expected: Sequence[str], answers: Sequence[str], *, same: Same = is_same_answer
) -> AccuracyScore:
    """Compare row by row; `same` decides whether an answer matches the expected text.

    Raises ValueError if the lengths differ or there is nothing to compare.
    """
    if not expected or not len(prompts) == len(expected) == len(answers):
        raise ValueError(f"{len(expected)} expected answers, {len(answers)} answers, {len(prompts)} prompts")
    misses = [
        WrongAnswer(index, prompt, want, got)
        for index, (prompt, want, got) in enumerate(zip(prompts, expected, answers, strict=True))
        if not same(want, got)
    ]
    return AccuracyScore(correct=len(expected) - len(misses), total=len(expected), misses=misses)
