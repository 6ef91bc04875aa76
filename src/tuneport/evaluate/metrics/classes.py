"""Classification: macro F1, each class by itself, and which is taken for which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tuneport.evaluate.examples import Answer, Example
from tuneport.evaluate.metrics.normalisation import normalised
from tuneport.evaluate.statistics.intervals import wilson
from tuneport.evaluate.statistics.tally import Floats, Tally

NO_CLASS = "(none of them)"
_MOST_CELLS = 4_000_000  # of a table that is mostly 0; a larger one is a sparse one


def tally_macro_f1(rows: Sequence[Example], answers: Sequence[Answer]) -> Tally:
    """The mean of the classes' F1, over the classes that the rows expect; of a resample, over those in it.

    An answer that is no class is a miss for the class that was expected, and nobody's false alarm.
    """
    names, expected, given = _coded(rows, answers)
    classes = len(names)
    cells, of = np.unique(expected * (classes + 1) + given, return_inverse=True)
    wanted, got = cells // (classes + 1), cells % (classes + 1)
    lines = np.arange(len(cells))
    # Columns: right, expected and given, of each class.
    columns = np.concatenate((wanted[wanted == got], classes + wanted, 2 * classes + got[got < classes]))
    places = np.concatenate((lines[wanted == got], lines, lines[got < classes]))
    return Tally(_table(places, columns, (len(cells), 3 * classes)), of.reshape(-1), _macro_f1)


def class_report(rows: Sequence[Example], answers: Sequence[Answer]) -> dict[str, Any]:
    """`classes`: precision, recall and F1 of each, its rows, and the interval of its recall (Wilson). `confusion`: rows
    by expected class (in order of `labels`) and given one, whose last column is answers that are no class."""
    names, expected, given = _coded(rows, answers)
    confusion = np.zeros((len(names), len(names) + 1), np.int64)
    np.add.at(confusion, (expected, given), 1)
    table = []
    for index, name in enumerate(names):
        right, support, told = int(confusion[index, index]), int(confusion[index].sum()), int(confusion[:, index].sum())
        low, high = wilson(right, support)
        table.append(
            {
                "class": name,
                "rows": support,
                "precision": right / told if told else 0.0,
                "recall": right / support,
                "recall_low": low,
                "recall_high": high,
                "f1": 2 * right / (support + told),
            }
        )
    return {"labels": names, "classes": table, "confusion": confusion.tolist()}


def _coded(
    rows: Sequence[Example], answers: Sequence[Answer]
) -> tuple[list[str], npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """The classes, as the rows first spell them, and the number of each row's expected and given one."""
    spelt: dict[str, str] = {}
    for row in rows:
        spelt.setdefault(normalised(row.expected), row.expected)
    number = {key: place for place, key in enumerate(sorted(spelt))}
    expected = np.array([number[normalised(row.expected)] for row in rows], np.intp)
    given = np.array([number.get(normalised(answer.text), len(number)) for answer in answers], np.intp)
    return [spelt[key] for key in number], expected, given


def _table(places: npt.NDArray[np.intp], columns: npt.NDArray[np.intp], shape: tuple[int, int]) -> Any:
    if shape[0] * shape[1] <= _MOST_CELLS:
        table = np.zeros(shape)
        table[places, columns] = 1
        return table
    from scipy.sparse import csr_array

    return csr_array((np.ones(len(places)), (places, columns)), shape=shape)


def _macro_f1(sums: Floats) -> Floats:
    right, expected, given = np.split(sums, 3, axis=1)
    there = expected > 0
    each = np.where(there, 2 * right / np.maximum(expected + given, 1e-12), 0.0)
    return np.asarray(each.sum(axis=1) / there.sum(axis=1))
