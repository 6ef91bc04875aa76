"""The section on answers: where the last model beats the first and where it loses, with both answers side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tuneport.pages.text import html_text
from tuneport.scoring.examples import Call

if TYPE_CHECKING:
    from tuneport.workflows.evaluation.result import Evaluation

SHOWN, MORE = 3, 9
"""Numbers of answers of either kind: shown open on the page, and folded away."""
_MOST_CHARACTERS = 700


def render_example_answers(found: Evaluation) -> str:
    judged, first = found.models[-1].asked.name, found.models[0].asked.name
    if judged == first:
        return ""
    for metric in found.metrics:
        mine, theirs = found.scored.per_row[judged][metric.name], found.scored.per_row[first][metric.name]
        if mine is not None and theirs is not None:
            sign = 1 if metric.higher_is_better else -1
            gains = [sign * (one - other) for one, other in zip(mine, theirs, strict=True)]
            return _by(found, metric.name, gains)
    return "<h2>Row by row</h2><p>unavailable, because none of the metrics has a value of a single row</p>"


def _by(found: Evaluation, metric: str, gains: Sequence[float]) -> str:
    won = sorted((place for place, gain in enumerate(gains) if gain > 0), key=lambda place: -gains[place])
    lost = sorted((place for place, gain in enumerate(gains) if gain < 0), key=lambda place: gains[place])
    judged, first = found.models[-1].asked.name, found.models[0].asked.name
    alike = len(gains) - len(won) - len(lost)
    counted = f"By {metric}, {judged} wins {len(won):,} rows and loses {len(lost):,}; {alike:,} are alike."
    return (
        f"<h2>Row by row</h2><p>{html_text(counted, 600)}</p>"
        + _example_group(found, f"Where it loses to {first}", lost)
        + _example_group(found, f"Where it beats {first}", won)
    )


def _example_group(found: Evaluation, title: str, places: Sequence[int]) -> str:
    if not places:
        return f'<h3 class="group">{html_text(title, 200)}</h3><p>nowhere</p>'
    opened = "".join(_example(found, place) for place in places[:SHOWN])
    folded = places[SHOWN : SHOWN + MORE]
    rest = len(places) - SHOWN - len(folded)
    note = f'<p class="quiet">and {rest:,} more, which --json has</p>' if rest > 0 else ""
    more = ""
    if folded:
        shown = "".join(_example(found, place) for place in folded)
        more = f"<details><summary>{len(folded)} more</summary>{shown}{note}</details>"
    return f'<h3 class="group">{html_text(title, 200)}</h3>{opened}{more}'


def _example(found: Evaluation, place: int) -> str:
    row = found.held_out.rows[place]
    first, judged = found.models[0], found.models[-1]
    answered = []
    for model in (first, judged):
        said = model.said[place]
        words = _words(said.text, said.answer.calls, said.refused)
        answered.append(
            f'<div><div class="quiet">{html_text(model.asked.name, 100)}</div><div class="said">{words}</div></div>'
        )
    return (
        f'<section class="chart example"><div class="quiet">line {found.held_out.lines[place]:,}</div>'
        f'<div class="said">{html_text(row.prompt, _MOST_CHARACTERS)}</div>'
        f'<div class="quiet">expected</div><div class="said"><b>{_words(row.expected, row.calls, None)}</b></div>'
        f'<div class="pair">{"".join(answered)}</div></section>'
    )


def _words(said: str, calls: Sequence[Call], refused: str | None) -> str:
    if refused is not None:
        return f"<i>refused: {html_text(refused, 300)}</i>"
    told = [said] if said.strip() else []
    told += [f"{call.name}({call.arguments})" for call in calls]
    return html_text("\n".join(told), _MOST_CHARACTERS) if told else "<i>nothing</i>"
