"""The section on the judge: the reasons of its verdicts on the last model's answers beside the first one's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tuneport.scoring.judge import parse_judge_reason
from tuneport.workflows.evaluation.words import answer_words

if TYPE_CHECKING:
    from tuneport.workflows.evaluation.judging.judgement import JudgedPair
    from tuneport.workflows.evaluation.result import Evaluation

SHOWN, MORE = 4, 8
"""Numbers of the judge's reasons: shown open, and folded away."""
_OUTCOMES = {"first": "won", "second": "lost", "tie": "a tie"}


def judged_examples(found: Evaluation) -> dict[str, Any]:
    """Return the pairs that `judgement.html` shows open, and folded away."""
    pairs = [] if found.judgement is None else found.judgement.examples(SHOWN + MORE)
    shown = [_example(found, pair) for pair in pairs]
    return {"opened": shown[:SHOWN], "folded": shown[SHOWN:]}


def _example(found: Evaluation, pair: JudgedPair) -> dict[str, Any]:
    given = [("the judge", pair.in_order)]
    if pair.winner in ("tie", None):  # where its two orders mostly disagree
        given.append(("the judge, where A and B were the other way round", pair.turned))
    answers = [(model.asked.name, model.said[pair.place].answer) for model in (found.models[-1], found.models[0])]
    return {
        "line": pair.line,
        "outcome": _OUTCOMES.get(pair.winner or "", "no verdict"),
        "prompt": found.held_out.rows[pair.place].prompt,
        "reasons": [(who, parse_judge_reason(said) or "(no reason given)") for who, said in given],
        "answers": [(name, answer_words(answer.text, answer.calls)) for name, answer in answers],
    }
