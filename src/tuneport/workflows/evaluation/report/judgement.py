"""The section on the judge: its verdict on the last model's answers beside the first one's, and whether it prefers a
position."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuneport.pages.text import html_text
from tuneport.scoring.judge import parse_judge_reason
from tuneport.workflows.evaluation.report.scores import KINDS, render_interval
from tuneport.workflows.evaluation.words import format_p_value

if TYPE_CHECKING:
    from tuneport.workflows.evaluation.judging.judgement import EvaluationJudgement, JudgedPair
    from tuneport.workflows.evaluation.result import Evaluation

SHOWN, MORE = 4, 8
"""Numbers of the judge's reasons: shown open, and folded away."""
_MOST_CHARACTERS = 700
_OUTCOMES = {"first": "won", "second": "lost", "tie": "a tie"}


def render_judgement(found: Evaluation) -> str:
    given = found.judgement
    if given is None:
        return ""
    head = f"<h2>What a judge says</h2><p>{html_text(f'{given.judge}: {given.outcome}', 800)}</p>"
    if given.judged is None:
        return head
    told = "".join(f"<p>{html_text(each)}</p>" for each in (given.position, given.unanswered) if each)
    said = f'<div class="example"><div class="said">{html_text(given.rubric, 5000)}</div></div>'
    rubric = f"<details><summary>the rubric</summary>{said}</details>"
    note = (
        '<p class="quiet">Each pair was asked about in both orders, and is won only where both agree. In the reasons '
        "that are shown A is the last model's answer, B the first one's; --json has all of them, in both orders.</p>"
    )
    return f"{head}{_table(given)}{told}{_examples(found, given)}{rubric}{note}"


def _table(given: EvaluationJudgement) -> str:
    judged = given.judged
    assert judged is not None
    heads = ("model", "win rate, ties as half", "95 % interval", "0 % to 100 %", "verdict")
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    cells = [
        ("win rate", f"<b>{judged.wins:.1%}</b>"),
        ("95 % interval", f"{judged.low:.1%} to {judged.high:.1%}"),
        ("on a line", render_interval(judged.wins, judged.low, judged.high, 0, 1, "win rate")),
        (
            "verdict",
            f'<span class="{KINDS[judged.verdict]}"><b class="verdict">{judged.verdict}</b></span> '
            f'<span class="quiet">{format_p_value(judged.p)}, sign test</span>',
        ),
    ]
    each = "".join(f'<td data-name="{name}"><div>{cell}</div></td>' for name, cell in cells)
    row = f'<tbody><tr><th scope="row">{html_text(given.model, 200)}</th>{each}</tr></tbody>'
    return f'<table class="options scores"><thead><tr>{head}</tr></thead>{row}</table>'


def _examples(found: Evaluation, given: EvaluationJudgement) -> str:
    pairs = given.examples(SHOWN + MORE)
    opened = "".join(_example(found, each) for each in pairs[:SHOWN])
    folded = "".join(_example(found, each) for each in pairs[SHOWN:])
    return opened + (f"<details><summary>{len(pairs) - SHOWN} more</summary>{folded}</details>" if folded else "")


def _example(found: Evaluation, pair: JudgedPair) -> str:
    answered = []
    for name, model in (("A", found.models[-1]), ("B", found.models[0])):
        said = model.said[pair.place].answer
        words = "\n".join([said.text, *(f"{call.name}({call.arguments})" for call in said.calls)])
        answered.append(
            f'<div><div class="quiet">{name}: {html_text(model.asked.name, 100)}</div>'
            f'<div class="said">{html_text(words, _MOST_CHARACTERS)}</div></div>'
        )
    outcome = _OUTCOMES.get(pair.winner or "", "no verdict")
    given = [("the judge", pair.in_order)]
    if pair.winner in ("tie", None):  # where its two orders mostly disagree
        given.append(("the judge, where A and B were the other way round", pair.turned))
    reasons = "".join(
        f'<div class="quiet">{who}</div><div class="said">{html_text(_reason(said), _MOST_CHARACTERS)}</div>'
        for who, said in given
    )
    return (
        f'<section class="chart example"><div class="quiet">line {pair.line:,}: {outcome}</div>'
        f'<div class="said">{html_text(found.held_out.rows[pair.place].prompt, _MOST_CHARACTERS)}</div>'
        f'{reasons}<div class="pair">{"".join(answered)}</div></section>'
    )


def _reason(said: str) -> str:
    return parse_judge_reason(said) or "(no reason given)"
