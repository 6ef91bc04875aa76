"""The view of a judge's opinion in 80 columns: which model is preferred, how far to trust the judge, and its
reasons."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from rich.text import Text

from tuneport.errors import one_line
from tuneport.scoring.judge import parse_judge_reason
from tuneport.workflows.evaluation.words import format_p_value

if TYPE_CHECKING:
    from rich.console import Console

    from tuneport.workflows.evaluation.judging.judgement import EvaluationJudgement, JudgedPair

_COLOURS = {"better": "green", "worse": "red", "no difference shown": "yellow"}
_EXAMPLES, _REASON = 4, 220  # shown, and characters of each


def print_judgement(console: Console, judgement: EvaluationJudgement) -> None:
    title = Text.assemble(("judge", "bold"), (f"  {judgement.judge}, in both orders", "dim"))
    title.truncate(80, overflow="ellipsis")
    console.print(title)
    found = judgement.judged
    if found is None:
        _fill(console, judgement.outcome, "dim")
        console.print()
        return
    line = Text(f"  {'win rate, ties as half':<27} {found.wins:>6.1%}  {f'({found.low:.1%} to {found.high:.1%})':<20}")
    p = "" if found.verdict == "no difference shown" else f" ({format_p_value(found.p)})"
    line.append(f"{found.verdict}{p}", _COLOURS[found.verdict])
    console.print(line)
    _fill(console, judgement.outcome)
    _fill(console, judgement.position, "yellow" if found.position_bias else "")
    if judgement.unanswered:
        _fill(console, judgement.unanswered, "yellow")
    for pair in judgement.examples(_EXAMPLES):
        _fill(console, f"line {pair.line:,}, {_outcome(pair)}: {_reason(pair)}", "dim")
    named = f"in these reasons A is {judgement.model}, B is {judgement.against}; --json has all, in both orders"
    _fill(console, named, "dim")
    console.print()


def _outcome(pair: JudgedPair) -> str:
    return {"first": "won", "second": "lost", "tie": "a tie"}.get(pair.winner or "", "no verdict")


def _reason(pair: JudgedPair) -> str:
    """Return the reason as plain text: a model wrote it, so that a terminal must not interpret it."""
    words = one_line(" ".join(parse_judge_reason(pair.in_order).split())) or "(no reason given)"
    return words if len(words) <= _REASON else f"{words[:_REASON]}…"


def _fill(console: Console, words: str, style: str = "") -> None:
    console.print(Text(textwrap.fill(words, 80, initial_indent="  ", subsequent_indent="    "), style=style))
