"""Classification: macro F1, figures for each class, and which class is taken for which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tuneport.scoring.examples import Answer, Example
from tuneport.scoring.metrics.normalisation import normalise_answer
from tuneport.scoring.statistics.intervals import wilson
from tuneport.scoring.statistics.tally import Floats, Tally

NO_CLASS = "(none of them)"
_MOST_CELLS = 4_000_000  # of a table that is mostly 0; a larger one is a sparse one


def tally_macro_f1(rows: Sequence[Example], answers: Sequence[Answer]) -> Tally:
    """Compute the mean F1 of the classes that the rows expect; in a resample, of the classes in it.

    An answer that is not a class is a miss for the expected class, and a false alarm for none.
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


def class_score_report(rows: Sequence[Example], answers: Sequence[Answer]) -> dict[str, Any]:
    """Return the table of `classes` and the `confusion` matrix.

    `classes`: precision, recall and F1 of each, its rows, and the interval of its recall (Wilson). `confusion`: rows by
    expected class (in order of `labels`) and given one; its last column counts answers that are not a class.
    """
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
    """Return the classes, as the rows first spell them, and the numbers of each row's expected and given class."""
    spelt: dict[str, str] = {}
    for row in rows:
        spelt.setdefault(normalise_answer(row.expected), row.expected)
    number = {key: place for place, key in enumerate(sorted(spelt))}
    expected = np.array([number[normalise_answer(row.expected)] for row in rows], np.intp)
    given = np.array([number.get(normalise_answer(answer.text), len(number)) for answer in answers], np.intp)
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
