"""Every approach beside the others. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from tuneport.advisor.situation import PRETRAINING_TOKENS, SAVINGS, Approach, Need, Situation, Task, Tried


@dataclass(frozen=True)
class ApproachOption:
    """One approach beside the others: what it takes, and why it is or is not recommended here."""

    approach: Approach
    cost: str
    effort: str
    latency: str
    verdict: str


TAKES = {
    Approach.PROMPT: ("very low", "low", "none"),
    Approach.CLASSIFIER: ("none", "low", "none: milliseconds"),
    Approach.FEW_SHOT: ("low", "low", "slight: more tokens"),
    Approach.RAG: ("medium", "medium", "higher: a retrieval step"),
    Approach.FINE_TUNE: ("high", "high", "lower: shorter prompts"),
    Approach.SMALLER_MODEL: ("high, then lower", "high", "lower: a smaller model"),
    Approach.CONTINUED_PRETRAINING: ("very high", "very high", "none"),
}
"""Cost, effort and effect on latency of each approach. A smaller model is tuned like any other, and saves at every
request."""


def reason_against_approach(s: Situation, approach: Approach) -> str:
    match approach:
        case Approach.PROMPT:
            return {Tried.NO: "not tried yet", Tried.WORKS: "works"}.get(s.prompt, "tried, not enough")
        case Approach.CLASSIFIER:
            if s.classifier is not None:
                return f"measured: {s.classifier[1]:.0%} right"
            closed = s.task is None or s.task is Task.CLASSIFICATION
            return "not measured: needs DATA with closed labels" if closed else "the answers are no closed labels"
        case Approach.FEW_SHOT:
            return {Tried.NO: "not tried yet", Tried.WORKS: "works"}.get(s.few_shot, "tried, not enough")
        case Approach.RAG:
            return "would add the missing facts" if Need.KNOWLEDGE in s.needs else "no facts are missing"
        case Approach.FINE_TUNE:
            if not s.enough:
                return s.too_few
            return "teaches no facts" if s.needs[0] is Need.KNOWLEDGE else "possible, once the cheaper ways are used up"
        case Approach.SMALLER_MODEL:
            return "possible later" if set(s.needs) & {*SAVINGS} else "neither cost nor speed is the problem"
    return f"needs {PRETRAINING_TOKENS:,} tokens of text or more" if not s.has_text else "for a new language or field"
