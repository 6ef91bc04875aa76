"""The section on classes: which class the last model takes for which, and each class by itself, beside the first
model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tuneport.pages.text import html_text
from tuneport.scoring.metrics.classes import NO_CLASS

if TYPE_CHECKING:
    from tuneport.workflows.evaluation.result import Evaluation

MOST_CLASSES = 25
"""More make no table that can be read; the most frequent confusions are told instead."""
_MOST_CONFUSIONS = 20
_SHADES = 4


def render_class_scores(found: Evaluation) -> str:
    model, first = found.models[-1].asked.name, found.models[0].asked.name
    report = found.scored.details.get(model) or {}
    if "confusion" not in report:
        return ""
    labels, confusion = report["labels"], report["confusion"]
    drawn = _matrix(labels, confusion) if len(labels) <= MOST_CLASSES else _confusions(labels, confusion)
    before = found.scored.details[first]["classes"] if first != model else None
    return (
        f"<h2>Which class is taken for which</h2>{drawn}"
        f"<details><summary>each class by itself</summary>{_table(report['classes'], before, first)}</details>"
    )


def _matrix(labels: Sequence[str], confusion: Sequence[Sequence[int]]) -> str:
    """Return the matrix: rows are the expected classes, columns the answers, in the same order; the last column is no
    class at all."""
    heads = "".join(f'<th scope="col">{number}</th>' for number in range(1, len(labels) + 1))
    rows = []
    for number, (label, counts) in enumerate(zip(labels, confusion, strict=True)):
        total = sum(counts) or 1
        cells = "".join(
            f'<td class="{"right" if column == number else "wrong"} h{_shade(count / total)}">{count or ""}</td>'
            for column, count in enumerate(counts)
        )
        rows.append(f'<tr><th scope="row">{number + 1} {html_text(label, 60)}</th>{cells}</tr>')
    return (
        '<div class="wide-table" tabindex="0" role="region" aria-label="confusion matrix"><table class="confusion">'
        f'<thead><tr><th scope="col">expected, and said as number</th>{heads}<th scope="col">none</th></tr></thead>'
        f'<tbody>{"".join(rows)}</tbody></table></div><p class="quiet">Of each class in a row how many answers were '
        "which class; none: an answer that is no class.</p>"
    )


def _shade(share: float) -> int:
    return 0 if share == 0 else min(_SHADES, 1 + int(share * _SHADES))


def _confusions(labels: Sequence[str], confusion: Sequence[Sequence[int]]) -> str:
    said = [*labels, NO_CLASS]
    wrong = [
        (count, labels[row], said[column])
        for row, counts in enumerate(confusion)
        for column, count in enumerate(counts)
        if count and row != column
    ]
    wrong.sort(key=lambda each: -each[0])
    listed = "".join(
        f"<li>{count:,} times {html_text(other, 100)} for {html_text(label, 100)}</li>"
        for count, label, other in wrong[:_MOST_CONFUSIONS]
    )
    more = (
        f'<p class="quiet">and {len(wrong) - _MOST_CONFUSIONS:,} more kinds</p>'
        if len(wrong) > _MOST_CONFUSIONS
        else ""
    )
    return f"<p>The most frequent mistakes, of {len(labels):,} classes:</p><ul>{listed}</ul>{more}"


def _table(each: Sequence[dict[str, Any]], before: Sequence[dict[str, Any]] | None, first: str) -> str:
    heads = ["class", "rows", "precision", "recall", "F1", *([] if before is None else ["F1 before"])]
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    f1_before = {} if before is None else {row["class"]: row["f1"] for row in before}
    rows = []
    for row in each:
        recall = f"{row['recall']:.1%} ({row['recall_low']:.1%} to {row['recall_high']:.1%})"
        cells = [("rows", f"{row['rows']:,}"), ("precision", f"{row['precision']:.1%}"), ("recall", recall)]
        cells.append(("F1", f"{row['f1']:.1%}"))
        if before is not None:
            cells.append(("F1 before", f"{f1_before[row['class']]:.1%}"))
        drawn = "".join(f'<td data-name="{name}"><div>{cell}</div></td>' for name, cell in cells)
        rows.append(f'<tbody><tr><th scope="row">{html_text(row["class"], 100)}</th>{drawn}</tr></tbody>')
    note = "" if before is None else f'<p class="quiet">before: of {html_text(first, 200)}</p>'
    return f'<table class="options"><thead><tr>{head}</tr></thead>{"".join(rows)}</table>{note}'
