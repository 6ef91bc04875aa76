"""Scores and answers as people read them: the same in a terminal, in the decision and on the page."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tuneport.scoring.examples import Call
from tuneport.scoring.scores import Score


def format_score(score: Score, value: float, *, signed: bool = False) -> str:
    """Return a value in the unit of the score; `signed`: as a difference of two."""
    plus = "+" if signed else ""
    if score.unit == "share":
        return f"{value:{plus}.1%}"
    return f"{value:{plus}.1f}" if score.unit == "points" else f"{value:{plus}.3g}"


def format_interval(score: Score) -> str:
    """Return the ends of its interval, if it has any."""
    if math.isinf(score.low) and math.isinf(score.high):
        return "no interval: all rows alike"
    return f"{format_score(score, score.low)} to {format_score(score, score.high)}"


def format_p_value(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def answer_words(said: str, calls: Sequence[Call]) -> str:
    """Return an answer's text and its calls of tools, a line each; "" if it has neither."""
    return "\n".join([*([said] if said.strip() else []), *(f"{call.name}({call.arguments})" for call in calls)])
