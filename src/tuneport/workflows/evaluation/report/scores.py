"""Every model by every metric with its interval drawn and its paired test, and what its answers took."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tuneport.formatting import money
from tuneport.pages.text import escape_html, html_text
from tuneport.scoring.metrics import Metric
from tuneport.scoring.scores import Score, ScoreComparison
from tuneport.workflows.evaluation.words import format_interval, format_p_value, format_score

if TYPE_CHECKING:
    from tuneport.workflows.evaluation.result import EvaluatedModelMeasurement, Evaluation

KINDS = {"better": "pass", "worse": "fail", "no difference shown": "warn"}


def render_scores(found: Evaluation) -> str:
    first = found.models[0].asked.name
    parts = [_metric_section(found, metric) for metric in found.metrics]
    if len(found.models) > 1:
        many = ", corrected for several models (Holm)" if len(found.models) > 2 else ""
        told = f"95 % intervals; better and worse: than {first}, by a paired test on the same rows{many}."
        parts.append(f'<p class="quiet">{html_text(told, 400)}</p>')
    return "".join(parts)


def _metric_section(found: Evaluation, metric: Metric) -> str:
    beside = {each.model: each for each in found.scored.comparisons if each.metric == metric.name}
    each = [found.score(model.asked.name, metric.name) for model in found.models]
    low, high = _ends(each)
    less = "" if metric.higher_is_better else "; less is better"
    rows = "".join(
        _row(model, score, beside.get(model.asked.name), low, high)
        for model, score in zip(found.models, each, strict=True)
    )
    heads = (
        "model",
        "score",
        "95 % interval",
        f"{format_score(each[0], low)} to {format_score(each[0], high)}",
        "difference",
    )
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    title = f'{html_text(metric.name, 200)} <span class="quiet">{html_text(metric.what + less, 300)}</span>'
    return f'<h3 class="group">{title}</h3><table class="options scores"><thead><tr>{head}</tr></thead>{rows}</table>'


def _row(
    model: EvaluatedModelMeasurement, score: Score, compared: ScoreComparison | None, low: float, high: float
) -> str:
    drawn = render_interval(score.value, score.low, score.high, low, high, f"{model.asked.name} by {score.metric}")
    cells = [
        ("score", f"<b>{format_score(score, score.value)}</b>"),
        ("95 % interval", format_interval(score)),
        ("on a line", drawn),
        ("difference", "-" if compared is None else render_difference(score, compared)),
    ]
    each = "".join(f'<td data-name="{name}"><div>{cell}</div></td>' for name, cell in cells)
    return f'<tbody><tr><th scope="row">{html_text(model.asked.name, 200)}</th>{each}</tr></tbody>'


def render_difference(score: Score, compared: ScoreComparison) -> str:
    change = compared.difference
    span = f"{format_score(score, change.low, signed=True)} to {format_score(score, change.high, signed=True)}"
    told = f"{format_p_value(change.adjusted_p)}, {change.test}"
    return (
        f'<span class="{KINDS[change.verdict]}"><b class="verdict">{change.verdict}</b></span> '
        f"{format_score(score, change.value, signed=True)} ({span}) "
        f'<span class="quiet">{escape_html(told)}</span>'
    )


def render_interval(value: float, low: float, high: float, begin: float, end: float, label: str) -> str:
    """Return a dot with its whisker on a line from `begin` to `end`; an infinite end reaches the line's."""

    def across(at: float) -> str:
        return f"{2 + 96 * min(1.0, max(0.0, (at - begin) / (end - begin))):.2f}%"

    return (
        f'<svg class="interval" width="100%" height="16" role="img" aria-label="{escape_html(label, 300)}">'
        f'<line class="grid" x1="2%" x2="98%" y1="8" y2="8"/>'
        f'<rect x="{across(low)}" y="5" height="6" rx="2" width="{_width(low, high, begin, end)}"/>'
        f'<circle class="mark" cx="{across(value)}" cy="8" r="4.5"/></svg>'
    )


def _width(low: float, high: float, begin: float, end: float) -> str:
    inside = min(end, high) - max(begin, low)
    return f"{max(0.3, 96 * inside / (end - begin)):.2f}%"


def _ends(each: Sequence[Score]) -> tuple[float, float]:
    if each[0].unit == "share":
        return 0.0, 1.0
    seen = [end for score in each for end in (score.low, score.value, score.high) if math.isfinite(end)]
    low, high = min([*seen, 0.0]), max([*seen, 0.0])
    return low, high if high > low else low + 1.0


def render_answer_costs(found: Evaluation) -> str:
    heads = ("model", "first token", "tokens/s", "an answer", "tokens in, out", "1,000 requests", "answers")
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    rows = []
    for each in found.models:
        speed = each.speed
        first = speed.seconds_to_first_token
        refused = f", {each.refused:,} refused" if each.refused else ""
        tokens = f"{_amount(speed.prompt_tokens)}, {_amount(speed.completion_tokens)}"
        cells = [
            ("first token", "-" if first is None else f"{1000 * first:,.0f} ms"),
            ("tokens/s", _amount(speed.tokens_per_second)),
            ("an answer", "-" if speed.seconds is None else f"{speed.seconds:.3g} s"),
            ("tokens in, out", tokens),
            ("1,000 requests", "-" if each.usd_per_thousand is None else money(each.usd_per_thousand)),
            ("answers", f"{len(each.said):,}, {each.cached:,} kept from before{refused}"),
        ]
        drawn = "".join(f'<td data-name="{name}"><div>{cell}</div></td>' for name, cell in cells)
        asked = html_text(f"{each.asked.model} on {each.asked.backend}; {each.price}", 400)
        where = f'<br><span class="quiet">{asked}</span>'
        rows.append(f'<tbody><tr><th scope="row">{html_text(each.asked.name, 200)}{where}</th>{drawn}</tr></tbody>')
    return (
        f'<table class="options"><thead><tr>{head}</tr></thead>{"".join(rows)}</table>'
        '<p class="quiet">Latency: the median of prompts asked by themselves, one after the other.</p>'
    )


def _amount(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
