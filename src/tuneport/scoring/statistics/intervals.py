"""The uncertainty of a metric over few rows: 95 % intervals.

Right-or-wrong shares have Wilson's interval (1927), which is honest at 0 % and 100 %, where a bootstrap sees no spread
at all. Every other metric has scipy's bootstrap over rows with percentiles, widened for small samples as Hesterberg
(2015, "What Teachers Should Know About the Bootstrap", section 3.2) has it: the tails are those of a t distribution,
times sqrt(n / (n - 1)), since plain percentiles are too narrow below some hundred rows. Of 2,000 simulated sets of 20
rows they held the true ratio of two skewed sums in 87.7 %, scipy's BCa in 83.5 %; paired differences in 93.9 and 91.2
%. BCa also takes the square of the rows in time.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from tuneport.scoring.extra import load_scipy_stats
from tuneport.scoring.statistics.tally import Floats, Tally, weighted_tally_sums

LEVEL = 0.95
Z = NormalDist().inv_cdf((1 + LEVEL) / 2)
RESAMPLES = 1_000
CELLS = 1 << 20  # numbers of a part: 8 MiB, which stays near the processor


@dataclass(frozen=True)
class Interval:
    low: float
    high: float
    method: str


def wilson(correct: float, total: int) -> tuple[float, float]:
    """Return (p + z²/2n ± z·sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n), which stays inside 0..1.

    scipy's takes whole counts only; the mean of rows that are all alike is a share of any size.
    """
    p, n = correct / total, total
    centre = (p + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z * math.sqrt(p * (1 - p) / n + Z * Z / (4 * n * n)) / (1 + Z * Z / n)
    # At the ends the formula is exact, and floating point is not.
    return (0.0 if p == 0 else max(0.0, centre - half)), (1.0 if p == 1 else min(1.0, centre + half))


def confidence_interval(tally: Tally, *, seed: int = 0, resamples: int = RESAMPLES) -> Interval:
    """Return the 95 % interval around `tally.corpus`; the same seed gives the same one."""
    if tally.right_or_wrong:
        return Interval(*wilson(float(tally.right.sum()), tally.rows), "Wilson")
    low, high = bootstrap_interval(
        tally.of,
        tally.table.shape[0],
        lambda counts: tally.value(weighted_tally_sums(counts, tally.table)),
        resamples=resamples,
        rng=np.random.default_rng(seed),
    )
    if low == high:  # rows that all count alike: a bootstrap would claim to be certain
        if tally.best is None or not 0 <= tally.corpus <= tally.best:
            return Interval(-math.inf, math.inf, "none: all rows are alike")
        low, high = wilson(tally.corpus / tally.best * tally.rows, tally.rows)
        return Interval(low * tally.best, high * tally.best, "Wilson, as all rows are alike")
    return Interval(low, high, "bootstrap")


def bootstrap_interval(
    of: npt.NDArray[np.intp],
    kinds: int,
    value: Callable[[Floats], Floats],
    *,
    resamples: int,
    rng: np.random.Generator,
) -> tuple[float, float]:
    """Return the 95 % interval of a value of rows, `of` the kind of each: `value` takes how many rows there are of each
    kind, a line a dataset."""
    stats, rows = load_scipy_stats(), len(of)

    def resampled(drawn: npt.NDArray[np.intp], axis: int) -> Floats:
        lines = drawn + kinds * np.arange(len(drawn))[:, None]
        counts = np.bincount(lines.reshape(-1), minlength=kinds * len(drawn))
        return value(counts.reshape(len(drawn), kinds).astype(np.float64))

    if rows == 1:  # one row can be drawn one way only, which scipy refuses
        alone = float(resampled(of[None, :], -1)[0])
        return alone, alone
    tail = stats.norm.cdf(-math.sqrt(rows / (rows - 1)) * stats.t.ppf((1 + LEVEL) / 2, rows - 1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)  # of values that are NaN, as the interval then is
        found = stats.bootstrap(
            (of,),
            resampled,
            method="percentile",
            confidence_level=1 - 2 * tail,
            n_resamples=resamples,
            batch=max(1, CELLS // rows),
            vectorized=True,
            rng=rng,
        )
    low, high = found.confidence_interval
    return float(low), float(high)
