"""Fine-tune or not: the decision tree over the needs, the attempts so far and the data.

Pure. The answer is an approach, why, what else was considered and what that takes, and the pitfalls that apply. "Do not
fine-tune" is an answer.
"""

from __future__ import annotations

from dataclasses import dataclass

from tuneport.advisor.options import TAKES, ApproachOption, reason_against_approach
from tuneport.advisor.pitfalls import Pitfall, judge_pitfalls
from tuneport.advisor.situation import Approach, Situation, Tried
from tuneport.advisor.tree import choose_approach, companion_of


@dataclass(frozen=True)
class Advice:
    """`approach` with its `reason`; `beside` is what belongs together with it; `first` is what to do before anything
    else, where something is."""

    approach: Approach
    reason: str
    first: tuple[str, ...]
    options: tuple[ApproachOption, ...]
    pitfalls: tuple[Pitfall, ...]
    beside: Approach | None = None

    @property
    def fine_tune(self) -> bool:
        return self.approach.trains


def recommend_approach(situation: Situation) -> Advice:
    """Return the recommended approach, in the order of the decision tree: prompting, retrieval, tuning, a smaller
    model, then the prompt again."""
    approach, reason = choose_approach(situation)
    beside = companion_of(situation, approach)
    return Advice(
        approach=approach,
        reason=reason,
        first=tuple(_first(situation, approach)),
        options=tuple(
            ApproachOption(
                other,
                *TAKES[other],
                reason
                if other is approach
                else "together with this one"
                if other is beside
                else reason_against_approach(situation, other),
            )
            for other in Approach
        ),
        pitfalls=tuple(judge_pitfalls(situation, approach)),
        beside=beside,
    )


def _first(s: Situation, approach: Approach) -> list[str]:
    steps = []
    if approach.trains and s.has_evaluation is not True:
        steps.append("hold out 10 to 20 % of the examples to measure on: tuneport split DATA")
    if s.prompt is Tried.NO and approach is not Approach.PROMPT:
        steps.append("try the base model with a prompt, so that there is something to compare with")
    if (s.inconsistent or 0) > 0.05:
        steps.append("fix the contradictions and formats that tuneport check lists: tuneport clean DATA")
    if not approach.trains and s.examples is not None and not s.enough:
        steps.append(f"collect examples meanwhile: {s.minimum:,} good ones make tuning worth a try")
    return steps
