"""The section on answers: where the last model beats the first and where it loses, with both answers side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tuneport.scoring.examples import Call

if TYPE_CHECKING:
    from tuneport.workflows.evaluation.result import Evaluation

SHOWN, MORE = 3, 9
"""Numbers of answers of either kind: shown open on the page, and folded away."""


def example_answers(found: Evaluation) -> dict[str, Any] | None:
    """Return what `answers.html` shows: no groups if no metric has a value of a single row. None of one model alone."""
    judged, first = found.models[-1].asked.name, found.models[0].asked.name
    if judged == first:
        return None
    for metric in found.metrics:
        mine, theirs = found.scored.per_row[judged][metric.name], found.scored.per_row[first][metric.name]
        if mine is not None and theirs is not None:
            sign = 1 if metric.higher_is_better else -1
            gains = [sign * (one - other) for one, other in zip(mine, theirs, strict=True)]
            won = sorted((place for place, gain in enumerate(gains) if gain > 0), key=lambda place: -gains[place])
            lost = sorted((place for place, gain in enumerate(gains) if gain < 0), key=gains.__getitem__)
            alike = len(gains) - len(won) - len(lost)
            return {
                "counted": f"By {metric.name}, {judged} wins {len(won):,} rows and loses {len(lost):,}; "
                f"{alike:,} are alike.",
                "groups": [
                    _group(found, f"Where it loses to {first}", lost),
                    _group(found, f"Where it beats {first}", won),
                ],
            }
    return {"groups": []}


def _group(found: Evaluation, title: str, places: Sequence[int]) -> dict[str, Any]:
    return {
        "title": title,
        "opened": [_example(found, place) for place in places[:SHOWN]],
        "folded": [_example(found, place) for place in places[SHOWN : SHOWN + MORE]],
        "rest": max(0, len(places) - SHOWN - MORE),
    }


def _example(found: Evaluation, place: int) -> dict[str, Any]:
    row, models = found.held_out.rows[place], (found.models[0], found.models[-1])
    answers = [(model.asked.name, model.said[place]) for model in models]
    return {
        "line": found.held_out.lines[place],
        "prompt": row.prompt,
        "expected": answer_words(row.expected, row.calls),
        "answers": [(name, answer_words(said.text, said.answer.calls), said.refused) for name, said in answers],
    }


def answer_words(said: str, calls: Sequence[Call]) -> str:
    """Return an answer's text and its calls of tools, a line each; "" if it has neither."""
    return "\n".join([*([said] if said.strip() else []), *(f"{call.name}({call.arguments})" for call in calls)])
