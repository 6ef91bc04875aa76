"""Exact match: the share of answers that equal the expected text, with the interval that so few rows allow."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Miss:
    """One wrong answer: `index` is the row's place in the evaluated file, from 0."""

    index: int
    prompt: str
    expected: str
    answer: str


@dataclass(frozen=True)
class Score:
    """`accuracy` is a share, 0 to 1. `low` and `high` are the Wilson 95 % interval of that share."""

    correct: int
    total: int
    misses: list[Miss] = field(default_factory=list, repr=False)

    @property
    def accuracy(self) -> float:
        return self.correct / self.total

    @property
    def low(self) -> float:
        return self._wilson()[0]

    @property
    def high(self) -> float:
        return self._wilson()[1]

    def _wilson(self) -> tuple[float, float]:
        """Wilson (1927): (p + z²/2n ± z·sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n), with z = 1.96.

        Unlike the normal approximation it stays inside 0..1 and is honest at 0 % and 100 %.
        """
        z, n, p = 1.959964, self.total, self.accuracy
        centre = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
        return max(0.0, centre - half), min(1.0, centre + half)

    def as_dict(self) -> dict[str, object]:
        return {
            "accuracy": self.accuracy,
            "low": self.low,
            "high": self.high,
            "correct": self.correct,
            "total": self.total,
            "misses": [vars(miss) for miss in self.misses],
        }


def normalised(text: str) -> str:
    """What counts as the same answer: NFKC, case folded, white space collapsed, a final full stop dropped."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split()).removesuffix(".")


def equal(expected: str, answer: str) -> bool:
    return normalised(expected) == normalised(answer)


def exact_match(
    prompts: Sequence[str],
    expected: Sequence[str],
    answers: Sequence[str],
    *,
    same: Callable[[str, str], bool] = equal,
) -> Score:
    """Compare row by row; `same` says of an expected text and an answer whether it is right.

    ValueError where the lengths differ or nothing is there to compare.
    """
    if not expected or not len(prompts) == len(expected) == len(answers):
        raise ValueError(f"{len(expected)} expected answers, {len(answers)} answers, {len(prompts)} prompts")
    misses = [
        Miss(index, prompt, want, got)
        for index, (prompt, want, got) in enumerate(zip(prompts, expected, answers, strict=True))
        if not same(want, got)
    ]
    return Score(correct=len(expected) - len(misses), total=len(expected), misses=misses)
