"""Datasets drawn from the rows there are, as weights of kinds, a few at a time so that memory stays small."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from tuneport.scoring.statistics.tally import Floats

RESAMPLES = 1_000
_CELLS = 1 << 20  # numbers of a part: 8 MiB, which stays near the processor
_FEW = 16  # as many rows a kind make one multinomial draw quicker than a draw for each row
_MANY = 10_000
"""Rows from which on each is drawn a number of times of its own: Poisson's instead of the multinomial distribution, so
that only the expected size of a resample is exact (Chamandy and others 2012), which so many rows do not notice."""


def bootstrap_resamples(
    of: npt.NDArray[np.intp], kinds: int, number: int, rng: np.random.Generator
) -> Iterator[Floats]:
    """Yield `number` datasets of as many rows, drawn with replacement: parts with a line a dataset, a column a kind."""
    rows = len(of)
    counts = np.bincount(of, minlength=kinds)
    for size in _parts(number, kinds):
        if kinds * _FEW <= rows:
            yield rng.multinomial(rows, counts / rows, size=size).astype(np.float64)
        elif rows >= _MANY:
            single = counts == 1
            part = np.empty((size, kinds))
            part[:, single] = _POISSON[rng.integers(0, 1 << 16, size=(size, int(single.sum())), dtype=np.uint16)]
            part[:, ~single] = rng.poisson(counts[~single], size=(size, int((~single).sum())))
            yield part
        else:
            chosen = of[rng.integers(0, rows, size=(size, rows), dtype=np.uint32)]
            chosen += kinds * np.arange(size)[:, None]
            yield np.bincount(chosen.reshape(-1), minlength=kinds * size).reshape(size, kinds).astype(np.float64)


def permutation_swaps(counts: npt.NDArray[np.intp], number: int, rng: np.random.Generator) -> Iterator[Floats]:
    """Yield how many of each kind's rows change sides if each row does so by the toss of a coin."""
    single = counts == 1
    ones = int(single.sum())
    for size in _parts(number, len(counts)):
        tosses = np.unpackbits(rng.integers(0, 256, size=(size, ones // 8 + 1), dtype=np.uint8), axis=1)[:, :ones]
        if ones == len(counts):
            yield tosses.astype(np.float64)
            continue
        part = np.empty((size, len(counts)))
        part[:, single] = tosses
        part[:, ~single] = rng.binomial(counts[~single], 0.5, size=(size, len(counts) - ones))
        yield part


def _parts(number: int, kinds: int) -> Iterator[int]:
    most = max(1, _CELLS // max(1, kinds))
    for start in range(0, number, most):
        yield min(most, number - start)


def _poisson_table() -> npt.NDArray[np.uint8]:
    """Return how often a row is drawn, for each of 65,536 equally likely numbers."""
    shares = np.cumsum([math.exp(-1) / math.factorial(times) for times in range(12)])
    return np.searchsorted(shares, (np.arange(1 << 16) + 0.5) / (1 << 16)).astype(np.uint8)


_POISSON = _poisson_table()
