"""The section on scores: every model by every metric with its interval and its paired test."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tuneport.scoring.metrics import Metric
from tuneport.scoring.scores import Score, ScoreComparison
from tuneport.workflows.evaluation.words import format_interval, format_p_value, format_score

if TYPE_CHECKING:
    from tuneport.workflows.evaluation.result import Evaluation


def scores_by_metric(found: Evaluation) -> list[dict[str, Any]]:
    """Return what `scores.html` shows: a row for each model under each metric, from `low` to `high` of its line, and
    one for the most frequent class."""
    return [_metric(found, metric) for metric in found.metrics]


def _metric(found: Evaluation, metric: Metric) -> dict[str, Any]:
    beside = {each.model: each for each in found.scored.comparisons if each.metric == metric.name}
    names = [model.asked.name for model in found.models]
    each = [found.score(name, metric.name) for name in names]
    always = None if found.majority is None else found.majority.score(metric.name)
    low, high = _ends(each)
    return {
        "name": metric.name,
        "what": metric.what + ("" if metric.higher_is_better else "; less is better"),
        "low": low,
        "high": high,
        "span": f"{format_score(each[0], low)} to {format_score(each[0], high)}",
        "rows": [
            *(_row(name, score, beside.get(name)) for name, score in zip(names, each, strict=True)),
            *([] if always is None or found.majority is None else [_row(found.majority.name, always, None)]),
        ],
    }


def _row(model: str, score: Score, compared: ScoreComparison | None) -> dict[str, Any]:
    change = None if compared is None else compared.difference
    row = {
        "model": model,
        "score": score,
        "value": format_score(score, score.value),
        "interval": format_interval(score),
        "change": change,
    }
    if change is not None:
        value, low, high = (format_score(score, each, signed=True) for each in (change.value, change.low, change.high))
        row |= {"told": f"{value} ({low} to {high})", "how": f"{format_p_value(change.adjusted_p)}, {change.test}"}
    return row


def _ends(each: Sequence[Score]) -> tuple[float, float]:
    if each[0].unit == "share":
        return 0.0, 1.0
    seen = [end for score in each for end in (score.low, score.value, score.high) if math.isfinite(end)]
    low, high = min([*seen, 0.0]), max([*seen, 0.0])
    return low, high if high > low else low + 1.0
