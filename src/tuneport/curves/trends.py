"""The statistics that curves are judged by: monotone fits, their noise, trends, and a test of "it never rises".

scipy has four of them. They stay here because every installation judges curves, and scipy would add 143 MB to each.
Their results equal scipy's (`tests/curves/test_verdict.py`), in half the time on curves of 3 to 100 points.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from statistics import NormalDist, fmean, median

PRIOR_NOISE, PRIOR_NOISE_OF_BATCHES = 0.02, 0.15
"""Of a level: by so much the loss of one and the same validation file goes up and down from one evaluation to the next
without a trend (measured: the plateaus of the runs in `fixtures/curves` that may be tuned by), and that of some rows of
it, other ones each time (a judgement: rows of one dataset differ by a factor)."""
PRIOR_WEIGHT = 4.0
"""Of how many evaluations that guess counts; with more of its own, a curve tells its noise itself."""
BEND_OF_NOISE = 0.6745 * math.sqrt(6)
"""Of normal noise of deviation 1: the median of |a - 2b + c|, whose variance is 1 + 4 + 1."""
ROUNDS = 499
"""Simulated curves of a test: the least probability is 1/500, and one of 1 % is known to half a percent."""
SHORT = 8
"""From so many evaluations on, single ones that stick out are smoothed away; with fewer each is too dear."""
TAIL = 3
"""The number of last evaluations (or a sixth of all, if that is more) whose median is a curve's present level."""


def falling_fit(values: Sequence[float]) -> list[float]:
    """Fit the nearest curve (least squares) that never rises: pool-adjacent-violators."""
    blocks: list[tuple[float, int]] = []
    for value in values:
        mean, count = value, 1
        while blocks and blocks[-1][0] < mean:
            other, many = blocks.pop()
            mean, count = (mean * count + other * many) / (count + many), count + many
        blocks.append((mean, count))
    return [mean for mean, count in blocks for _ in range(count)]


def estimate_noise(values: Sequence[float], prior: float) -> float:
    """Estimate the standard deviation of the noise, drawn towards `prior`: the greater of two estimates.

    The first is the residual of a curve that falls and then perhaps rises, which fits a few values too well, noise or
    not. The second is `roughness`, which misses noise that is alike in neighbours.
    """
    if not values:
        return prior
    turn = min(range(len(values)), key=values.__getitem__)
    down = falling_fit(values[: turn + 1])
    up = falling_fit([-value for value in values[turn + 1 :]])
    fitted = [*down, *(-value for value in up)]
    free = max(0, len(values) - len(set(down)) - len(set(up)))
    left = sum((value - fit) ** 2 for value, fit in zip(values, fitted, strict=True))
    bends = max(0, len(values) - 2)
    rough = roughness(values)
    return math.sqrt(max(_drawn(left, free, prior), _drawn(rough**2 * bends, bends, prior)))


def roughness(values: Sequence[float]) -> float:
    """Estimate the standard deviation of noise around any smooth curve, by how far values miss the middle of their
    neighbours: the median, so that a steep beginning and single outliers do not count."""
    bends = [abs(a - 2 * b + c) for a, b, c in zip(values, values[1:], values[2:], strict=False)]
    return median(bends) / BEND_OF_NOISE if bends else 0.0


def _drawn(squares: float, count: int, prior: float) -> float:
    return (PRIOR_WEIGHT * prior**2 + squares) / (PRIOR_WEIGHT + count)


def running_median(values: Sequence[float]) -> list[float]:
    """Return running medians of three, which a single outlier does not move; short series are returned unchanged."""
    if len(values) < SHORT:
        return list(values)
    inner = [median(values[index - 1 : index + 2]) for index in range(1, len(values) - 1)]
    return [values[0], *inner, median(values[-3:])]


def lowest_loss_index(values: Sequence[float]) -> int:
    """Return the index of the lowest value as measured, among the neighbours of the smoothed curve's lowest point."""
    flat = running_median(values)
    at = min(range(len(flat)), key=flat.__getitem__)
    if len(values) < SHORT:
        return at
    return min(range(max(0, at - 1), min(len(values), at + 2)), key=values.__getitem__)


def rise_after_lowest(values: Sequence[float]) -> float:
    """Return how far the last values are above the lowest two neighbours; 0 if fewer than two came after. Two are
    needed, because a single low one may be luck."""
    if len(values) < 3:
        return 0.0
    flat = running_median(values)
    after = values[min(range(len(flat)), key=flat.__getitem__) + 1 :]
    if len(after) < 2:
        return 0.0
    tail = after[-max(TAIL, len(values) // 6) :]
    return (median(tail) if len(tail) >= TAIL else min(tail)) - min(map(fmean, pairwise(flat)))


def never_rises(values: Sequence[float], noise: float) -> tuple[float, float]:
    """Return the probability that noise alone gives a curve that never rises such a rise, and the rise that one in
    twenty of them shows.

    A parametric bootstrap: the nearest falling curve with normal noise, drawn ROUNDS times. The lowest point is looked
    for in each draw, so that the choice of it is accounted for.
    """
    found = rise_after_lowest(values)
    fitted, draw = falling_fit(values), random.Random(len(values))
    rises = sorted(rise_after_lowest([fit + draw.gauss(0.0, noise) for fit in fitted]) for _ in range(ROUNDS))
    at_least = sum(rise >= found for rise in rises)
    return (1 + at_least) / (1 + ROUNDS), rises[math.ceil(0.95 * ROUNDS) - 1]


def theil_sen(xs: Sequence[float], ys: Sequence[float]) -> float:
    """Return the median of the slopes between all pairs (Sen 1968); up to 29 % of the values may be outliers."""
    slopes = [
        (ys[later] - ys[earlier]) / (xs[later] - xs[earlier])
        for later in range(len(xs))
        for earlier in range(later)
        if xs[later] != xs[earlier]
    ]
    return median(slopes) if slopes else 0.0


def mann_kendall(values: Sequence[float]) -> float:
    """Return the probability of at least as many rising pairs in values without a trend (Mann 1945, one-sided).

    Exact up to 30 values without ties; else by the normal approximation with the correction for ties.
    """
    count = len(values)
    if count < 2:
        return 1.0
    signs = [
        (values[later] > values[earlier]) - (values[later] < values[earlier])
        for later in range(count)
        for earlier in range(later)
    ]
    score = sum(signs)
    if count <= 30 and 0 not in signs:
        pairs = count * (count - 1) // 2
        falling = (pairs - score) // 2
        ways = _permutations_by_inversions(count)
        return sum(ways[: falling + 1]) / math.factorial(count)
    ties = [values.count(value) for value in set(values)]
    variance = (count * (count - 1) * (2 * count + 5) - sum(tie * (tie - 1) * (2 * tie + 5) for tie in ties)) / 18
    if variance <= 0:
        return 1.0
    corrected = score - (score > 0) + (score < 0)
    return 1.0 - NormalDist().cdf(corrected / math.sqrt(variance))


@cache
def _permutations_by_inversions(count: int) -> tuple[int, ...]:
    """Return how many orders of `count` values have 0, 1, 2 ... pairs the wrong way round."""
    ways = [1]
    for size in range(2, count + 1):
        longer = [0] * (len(ways) + size - 1)
        for inversions, number in enumerate(ways):
            for more in range(size):
                longer[inversions + more] += number
        ways = longer
    return tuple(ways)
