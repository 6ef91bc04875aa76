"""Two models on the same rows: is one better, or is the difference what chance makes of rows?

Right-or-wrong metrics have McNemar's exact test, all others the approximate randomisation test (Noreen 1989; for
machine translation Riezler and Maxwell 2005): under the hypothesis that the models are alike, the two answers to a row
could as well have been given the other way round. Each answers the same question, so rows that both find hard say
nothing against either; an unpaired test would be blind to that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from tuneport.scoring.extra import load_scipy_stats
from tuneport.scoring.statistics.intervals import CELLS, RESAMPLES, Z, bootstrap_interval
from tuneport.scoring.statistics.tally import Floats, Tally, weighted_tally_sums

Verdict = Literal["better", "worse", "no difference shown"]
ALPHA = 0.05
_MOST_SWAPS = 10_000  # where few kinds make them cheap; they tell p down to 0.0001


@dataclass(frozen=True)
class PairedDifference:
    """The first model's value less the second's, with its 95 % interval and the p of the test.

    `adjusted_p` is p after correction for how many comparisons were made together (Holm 1979), and the verdict goes by
    it: it may say "no difference shown" although the interval, which is about this comparison alone, leaves out 0.
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
    # Rows that count alike for both models are one kind.
    kinds = second.table.shape[0]
    together, of, counts = np.unique(first.of * kinds + second.of, return_inverse=True, return_counts=True)
    tables = first.table[together // kinds], second.table[together % kinds]
    rng = np.random.default_rng(seed)
    low, high = bootstrap_interval(
        of,
        len(counts),
        lambda drawn: (
            first.value(weighted_tally_sums(drawn, tables[0])) - first.value(weighted_tally_sums(drawn, tables[1]))
        ),
        resamples=resamples,
        rng=rng,
    )
    change = tables[1] - tables[0]

    def difference(swapped: Floats) -> Floats:
        moved = weighted_tally_sums(swapped, change)
        return first.value(first.sums + moved) - first.value(second.sums - moved)

    swaps = max(resamples, min(_MOST_SWAPS, (resamples << 14) // len(counts)))
    p = _randomisation_test(counts, difference, value, swaps, rng)
    return PairedDifference(value, low, high, p, "randomisation", higher_is_better)


def _randomisation_test(
    counts: npt.NDArray[np.intp],
    difference: Callable[[Floats], Floats],
    value: float,
    swaps: int,
    rng: np.random.Generator,
) -> float:
    """Return the share of exchanges of sides that make a difference at least as large as `value`, this one counted in.

    `difference` takes how many rows of each kind, of `counts`, change sides. A `value` of NaN shows nothing: 1. scipy's
    permutation_test knows no kinds and holds each row as an array of its own: 200,000 rows took it 158 s, and this 5 s.
    """

    if math.isnan(value):
        return 1.0

    def apart(swapped: Floats, axis: int) -> Floats:
        found = np.abs(difference(swapped.reshape(-1, len(counts)))) / (abs(value) or 1.0)
        return np.round(found, 9).reshape(swapped.shape[:-1])  # equal ones differ in their last digits

    found = load_scipy_stats().monte_carlo_test(
        np.zeros(len(counts)),
        lambda size: rng.binomial(counts, 0.5, size=size).astype(np.float64),
        apart,
        vectorized=True,
        n_resamples=swaps,
        batch=max(1, CELLS // len(counts)),
        alternative="greater",
    )
    return float(found.pvalue)


def sign_test(one: int, other: int) -> float:
    """Return the exact two-sided probability of a split at least as uneven if either side is as likely to win; ties
    left out.

    Over the rows on which two models differ it is McNemar's exact test.
    """
    rows = one + other
    return float(load_scipy_stats().binomtest(one, rows).pvalue) if rows else 1.0


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
