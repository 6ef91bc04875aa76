"""Two models on the same rows: is one better, or is the difference what chance makes of rows?

Right-or-wrong metrics have McNemar's exact test, all others the approximate randomisation test (Noreen 1989; for
machine translation Riezler and Maxwell 2005): under the hypothesis that the models are alike, the two answers to a row
could as well have been given the other way round. Each answers the same question, so rows that both find hard say
nothing against either; an unpaired test would be blind to that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from tuneport.scoring.statistics.intervals import Z, bootstrap_interval
from tuneport.scoring.statistics.resampling import RESAMPLES, bootstrap_resamples, permutation_swaps
from tuneport.scoring.statistics.tally import Floats, Tally, weighted_tally_sums

Verdict = Literal["better", "worse", "no difference shown"]
ALPHA = 0.05
_MOST_SWAPS = 10_000  # where few kinds make them cheap; they tell p down to 0.0001


@dataclass(frozen=True)
class PairedDifference:
    """The first model's value less the second's, with its 95 % interval and the p of the test.

    `adjusted_p` is p after correction for how many comparisons were made together (Holm 1979), and the verdict goes
    by it: it may say "no difference shown" where the interval, which is about this comparison alone, leaves out 0.
    """

    value: float
    low: float
    high: float
    p: float
    test: str
    higher_is_better: bool = True
    adjusted_p: float = math.nan

    @property
    def verdict(self) -> Verdict:
        p = self.p if math.isnan(self.adjusted_p) else self.adjusted_p
        if p >= ALPHA or self.value == 0:
            return "no difference shown"
        return "better" if (self.value > 0) == self.higher_is_better else "worse"


def measure_paired_difference(
    first: Tally, second: Tally, *, higher_is_better: bool = True, seed: int = 0, resamples: int = RESAMPLES
) -> PairedDifference:
    """Compute the difference of one metric over the same rows in the same order. Raises ValueError if their numbers
    differ."""
    if first.rows != second.rows:
        raise ValueError(f"{first.rows} and {second.rows} rows: a paired comparison needs the same ones")
    value = first.corpus - second.corpus
    if first.right_or_wrong:
        gained, lost = int((first.right & ~second.right).sum()), int((second.right & ~first.right).sum())
        low, high = _paired_shares(gained, lost, first.rows)
        return PairedDifference(value, low, high, sign_test(gained, lost), "McNemar, exact", higher_is_better)
    pairs = _PairCounts(first, second)
    rng = np.random.default_rng(seed)
    low, high = bootstrap_interval(pairs.bootstrapped(resamples, rng), first.rows)
    swaps = max(resamples, min(_MOST_SWAPS, (resamples << 14) // len(pairs.counts)))
    p = pairs.randomisation(value, swaps, rng)
    return PairedDifference(value, low, high, p, "randomisation", higher_is_better)


def sign_test(one: int, other: int) -> float:
    """Return the exact two-sided probability of a split at least as uneven if either side is as likely to win; ties
    left out.

    Twice the smaller tail of the binomial distribution with p = 1/2, at most 1. Over the rows on which two models
    differ it is McNemar's exact test.
    """
    rows, fewer = one + other, min(one, other)
    if not rows:
        return 1.0
    steps = np.arange(fewer)
    logs = np.concatenate(([0.0], np.cumsum(np.log((rows - steps) / (steps + 1))))) - rows * math.log(2)
    return min(1.0, 2 * float(np.exp(logs).sum()))


def correct_holm(differences: Sequence[PairedDifference]) -> list[PairedDifference]:
    """Return the differences, each with `adjusted_p`: the chance of even one wrong verdict among them stays below 5
    %."""
    order = sorted(range(len(differences)), key=lambda index: differences[index].p)
    adjusted = [0.0] * len(differences)
    highest = 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(differences) - rank) * differences[index].p))
        adjusted[index] = highest
    return [replace(each, adjusted_p=p) for each, p in zip(differences, adjusted, strict=True)]


def _paired_shares(gained: int, lost: int, rows: int) -> tuple[float, float]:
    """Return the interval of Bonett and Price (2012) of a difference of paired shares, which holds where hardly any
    differ."""
    up, down = (gained + 1) / (rows + 2), (lost + 1) / (rows + 2)
    half = Z * math.sqrt((up + down - (up - down) ** 2) / (rows + 2))
    return max(-1.0, up - down - half), min(1.0, up - down + half)


class _PairCounts:
    """The kinds of rows that two tallies make together, and how often each is there."""

    def __init__(self, first: Tally, second: Tally) -> None:
        self._value, self._sums = first.value, (first.sums, second.sums)
        kinds = second.table.shape[0]
        together, self._of = np.unique(first.of * kinds + second.of, return_inverse=True)
        self.counts = np.bincount(self._of)
        self._tables = first.table[together // kinds], second.table[together % kinds]

    def bootstrapped(self, number: int, rng: np.random.Generator) -> Floats:
        """Return the difference in each of `number` resampled datasets."""
        first, second = self._tables
        parts = bootstrap_resamples(self._of, len(self.counts), number, rng)
        return np.concatenate(
            [
                self._value(weighted_tally_sums(part, first)) - self._value(weighted_tally_sums(part, second))
                for part in parts
            ]
        )

    def randomisation(self, value: float, number: int, rng: np.random.Generator) -> float:
        """Return the share of exchanges of sides that make a difference at least as large, this one counted in."""
        least = abs(value) * (1 - 1e-9)  # equal ones differ in their last digits
        change = self._tables[1] - self._tables[0]
        as_large = 0
        for part in permutation_swaps(self.counts, number, rng):
            moved = weighted_tally_sums(part, change)
            found = self._value(self._sums[0] + moved) - self._value(self._sums[1] - moved)
            as_large += int((np.abs(found) >= least).sum())
        return (1 + as_large) / (1 + number)
