"""The counts of a metric, so that it can be computed again for any draw of the rows.

A corpus metric is no mean of rows, so an interval around it needs the metric of thousands of resampled datasets. Every
metric here is a function of sums over rows: of right answers, of n-grams, of tokens, of a class's hits. So a resampled
dataset is a line of weights, and thousands of them are one product of matrices.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Value = Callable[[Floats], Floats]
"""Of sums, a line a dataset and a column a counted thing: the metric of each dataset."""


@dataclass(frozen=True)
class Tally:
    """Rows that count alike are one kind: `table` has a line for each kind (an array, or a sparse one of scipy where
    most of it is 0), `of` the kind of each row. `value`: see `Value`.

    `per_row`: the metric of each row alone, if that means something. `right_or_wrong`: each row counts 1 or 0 and the
    metric is their share. `best`: what the metric is at most; None if it has no bound.
    """

    table: Any
    of: npt.NDArray[np.intp]
    value: Value
    per_row: Floats | None = None
    right_or_wrong: bool = False
    best: float | None = 1.0

    def __post_init__(self) -> None:
        if not len(self.of):
            raise ValueError("there are no rows to count")

    @property
    def rows(self) -> int:
        return len(self.of)

    @cached_property
    def sums(self) -> Floats:
        """Return the sums over all rows, as one line."""
        counts = np.bincount(self.of, minlength=self.table.shape[0])[None, :].astype(np.float64)
        return weighted_tally_sums(counts, self.table)

    @cached_property
    def corpus(self) -> float:
        """Return the metric of all rows."""
        return float(self.value(self.sums)[0])

    @cached_property
    def right(self) -> npt.NDArray[np.bool_]:
        """Return whether each row is right, if that is what was counted."""
        return np.asarray(self.table[self.of, 0] > 0)


def weighted_tally_sums(weights: Floats, table: Any) -> Floats:
    """Return the table's sums under each line of weights. Uses one thread: on a busy machine those of a matrix library
    wait for each other, which took 75 times as long."""
    if isinstance(table, np.ndarray):
        return np.asarray(np.einsum("bn,nk->bk", weights, table))
    return np.asarray(weights @ table)


def mean(sums: Floats) -> Floats:
    """Return the mean from a column of values and one of ones."""
    return np.asarray(sums[:, 0] / sums[:, 1])


def tally_right(right: Sequence[bool]) -> Tally:
    """Return the share of rows that are right."""
    of = np.asarray(right, np.intp)
    return Tally(np.array([[0.0, 1.0], [1.0, 1.0]]), of, mean, of.astype(np.float64), right_or_wrong=True)


def tally_means(values: Sequence[float] | Floats, *, best: float | None = 1.0) -> Tally:
    """Return the mean of the rows' values."""
    rows = np.asarray(values, np.float64)
    kinds, of = np.unique(rows, return_inverse=True)
    return Tally(np.stack((kinds, np.ones(len(kinds))), axis=1), of.reshape(-1), mean, rows, best=best)


def tally_sums(rows: Floats, value: Value, *, per_row: Floats | None = None, best: float | None = 1.0) -> Tally:
    """Return a metric of the columns' sums; `rows` has a line for each row."""
    kinds, of = np.unique(rows, axis=0, return_inverse=True)
    return Tally(kinds, of.reshape(-1), value, per_row, best=best)
