"""Fine-tune or not: the reference card's decision tree over what is asked for, what was tried and what data there is.

Pure. The answer is an approach, why, what else was considered and what that takes, and the pitfalls that apply. "Do not
fine-tune" is an answer.
"""

from __future__ import annotations

from dataclasses import dataclass

from tuneport.advisor.options import TAKES, Option, why_not
from tuneport.advisor.pitfalls import Pitfall, pitfalls
from tuneport.advisor.situation import Approach, Situation, Tried
from tuneport.advisor.tree import choose


@dataclass(frozen=True)
class Advice:
    """`approach` with its `reason`; `first` is what to do before anything else, where something is."""

    approach: Approach
    reason: str
    first: tuple[str, ...]
    options: tuple[Option, ...]
    pitfalls: tuple[Pitfall, ...]

    @property
    def fine_tune(self) -> bool:
        return self.approach.trains


def advise(situation: Situation) -> Advice:
    """Which way to go, by the card's tree: prompts, then retrieval, then tuning, a smaller model, the prompt again."""
    approach, reason = choose(situation)
    return Advice(
        approach=approach,
        reason=reason,
        first=tuple(_first(situation, approach)),
        options=tuple(
            Option(other, *TAKES[other], reason if other is approach else why_not(situation, other))
            for other in Approach
        ),
        pitfalls=tuple(pitfalls(situation, approach)),
    )


def _first(s: Situation, approach: Approach) -> list[str]:
    steps = []
    if approach.trains and s.has_evaluation is not True:
        steps.append("hold out 10 to 20 % of the examples to measure on: tuneport split DATA")
    if s.prompt is Tried.NO and approach is not Approach.PROMPT:
        steps.append("try the base model with a prompt, so that there is something to compare with")
    if (s.inconsistent or 0) > 0.05:
        steps.append("mend the contradictions and formats that tuneport check lists: tuneport clean DATA")
    if not approach.trains and s.examples is not None and not s.enough:
        steps.append(f"collect examples meanwhile: {s.minimum:,} good ones make tuning worth a try")
    return steps
