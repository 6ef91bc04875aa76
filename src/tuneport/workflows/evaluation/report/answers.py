"""The section on answers: where the last model is wrong, where it loses to the first and where it beats it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tuneport.workflows.evaluation.mistakes import find_mistakes
from tuneport.workflows.evaluation.words import answer_words

if TYPE_CHECKING:
    from tuneport.workflows.evaluation.result import Evaluation

SHOWN, MORE = 3, 9
"""Numbers of answers of each kind: shown open on the page, and folded away."""


def example_answers(found: Evaluation) -> dict[str, Any]:
    """Return what `answers.html` shows: no groups if no metric has a value of a single row. Of one model alone, its
    mistakes."""
    mistakes = find_mistakes(found)
    if mistakes is None:
        return {"groups": []}
    judged, first = found.models[-1].asked.name, found.models[0].asked.name
    title = "Where it is wrong" if mistakes.counted else "Its worst answers"
    groups = [_group(found, title, mistakes.places)]
    counted = f"{mistakes.sentence[0].upper()}{mistakes.sentence[1:]}."
    for metric in found.metrics if judged != first else ():
        mine, theirs = found.scored.per_row[judged][metric.name], found.scored.per_row[first][metric.name]
        if mine is not None and theirs is not None:
            sign = 1 if metric.higher_is_better else -1
            gains = [sign * (one - other) for one, other in zip(mine, theirs, strict=True)]
            won = sorted((place for place, gain in enumerate(gains) if gain > 0), key=lambda place: -gains[place])
            lost = sorted((place for place, gain in enumerate(gains) if gain < 0), key=gains.__getitem__)
            alike = len(gains) - len(won) - len(lost)
            counted += (
                f" By {metric.name}, {judged} wins {len(won):,} rows and loses {len(lost):,}; {alike:,} are alike."
            )
            groups += [
                _group(found, f"Where it loses to {first}", lost),
                _group(found, f"Where it beats {first}", won),
            ]
            break
    return {"counted": counted, "groups": groups}


def _group(found: Evaluation, title: str, places: Sequence[int]) -> dict[str, Any]:
    return {
        "title": title,
        "opened": [_example(found, place) for place in places[:SHOWN]],
        "folded": [_example(found, place) for place in places[SHOWN : SHOWN + MORE]],
        "rest": max(0, len(places) - SHOWN - MORE),
    }


def _example(found: Evaluation, place: int) -> dict[str, Any]:
    row, models = found.held_out.rows[place], (*found.models[:1], *found.models[1:][-1:])
    answers = [(model.asked.name, model.said[place]) for model in models]
    return {
        "line": found.held_out.lines[place],
        "prompt": row.prompt,
        "expected": answer_words(row.expected, row.calls),
        "answers": [(name, answer_words(said.text, said.answer.calls), said.refused) for name, said in answers],
    }
