"""The section on classes: the last model's confusions, and figures for each class, beside the first model's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tuneport.scoring.metrics.classes import NO_CLASS

if TYPE_CHECKING:
    from tuneport.workflows.evaluation.result import Evaluation

MOST_CLASSES = 25
"""More make no table that can be read; the most frequent confusions are told instead."""
_MOST_CONFUSIONS = 20
_SHADES = 4


def class_scores(found: Evaluation) -> dict[str, Any] | None:
    """Return what `classes.html` shows; None if no metric counts classes."""
    model, first = found.models[-1].asked.name, found.models[0].asked.name
    report = found.scored.details.get(model) or {}
    if "confusion" not in report:
        return None
    labels, confusion = report["labels"], report["confusion"]
    mistakes = _mistakes(labels, confusion)
    before = found.scored.details[first]["classes"] if first != model else ()
    return {
        "labels": labels,
        "in_matrix": len(labels) <= MOST_CLASSES,
        "matrix": [
            (label, [(count, _shade(count / (sum(counts) or 1))) for count in counts])
            for label, counts in zip(labels, confusion, strict=True)
        ],
        "mistakes": mistakes[:_MOST_CONFUSIONS],
        "more": max(0, len(mistakes) - _MOST_CONFUSIONS),
        "each": report["classes"],
        "f1_before": {row["class"]: row["f1"] for row in before},
    }


def _shade(share: float) -> int:
    return 0 if share == 0 else min(_SHADES, 1 + int(share * _SHADES))


def _mistakes(labels: Sequence[str], confusion: Sequence[Sequence[int]]) -> list[tuple[int, str, str]]:
    """Return the counts of confusions of two classes, most frequent first."""
    said = [*labels, NO_CLASS]
    wrong = [
        (count, labels[row], said[column])
        for row, counts in enumerate(confusion)
        for column, count in enumerate(counts)
        if count and row != column
    ]
    return sorted(wrong, key=lambda each: -each[0])
