"""The known pitfalls, each with its evidence. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from tuneport.advisor.situation import Approach, Need, Situation, Tried


@dataclass(frozen=True)
class Pitfall:
    """`applies` None: it could not be judged from what is known. `evidence` has the facts behind it."""

    name: str
    applies: bool | None
    evidence: str
    mend: str


MOST_EPOCHS = 5
"""The card: 1 to 5, fewer with more data."""
SOME_INCONSISTENT = 0.05
"""With this share of rows against the others' format, it is worth mending: a judgement."""


def judge_pitfalls(s: Situation, approach: Approach) -> list[Pitfall]:
    """Return the eight known pitfalls, each with its evidence: the data if it shows the pitfall, else the user's
    answers."""
    trains = approach.trains

    def by(field: str, otherwise: str) -> str:
        return s.evidence.get(field) or otherwise

    generated = {
        None: "the authors of the examples are not known",
        True: "no example was written or checked by a person",
        False: "people wrote or checked examples",
    }
    counted = "their number is not known" if s.examples is None else f"{s.examples:,} examples"
    return [
        Pitfall(
            "fine-tuning for knowledge",
            _for_knowledge(s, trains),
            _facts_told(s),
            "keep the facts in a search index, and tune for how they are used",
        ),
        Pitfall(
            "too few examples",
            # Continued pre-training learns from text, and examples are none of its matter.
            None if s.examples is None else not s.enough and approach is not Approach.CONTINUED_PRETRAINING,
            by("examples", counted if s.examples is None else f"{counted}, at least {s.minimum:,} are needed"),
            "start at 200 good ones; 200 clean and diverse beat 2,000 noisy",
        ),
        Pitfall(
            "too many epochs",
            None if s.epochs is None else s.epochs > MOST_EPOCHS,
            by("epochs", "not said" if s.epochs is None else f"{s.epochs} epochs, 1 to {MOST_EPOCHS} are usual"),
            "fewer epochs, and watch the validation loss",
        ),
        Pitfall(
            "inconsistent format",
            None if s.inconsistent is None else s.inconsistent > SOME_INCONSISTENT,
            by("inconsistent", "not checked" if s.inconsistent is None else f"{s.inconsistent:.0%} of the rows"),
            "tuneport check lists the rows; fix them, or remove them with tuneport clean",
        ),
        Pitfall(
            "no evaluation set",
            None if s.has_evaluation is None else not s.has_evaluation,
            by(
                "has_evaluation",
                {None: "not said", True: "there is one", False: "there is none"}[s.has_evaluation],
            ),
            "hold out 10 to 20 %: tuneport split DATA",
        ),
        Pitfall(
            "base model never tried",
            s.prompt is Tried.NO,
            by("prompt", f"prompt: {s.prompt}, few-shot: {s.few_shot}"),
            "measure the base model with a plain and a few-shot prompt: --probe",
        ),
        Pitfall(
            "adapter not merged",
            None,
            "shows only in use" if trains else "nothing is trained",
            "tuneport download JOB --merged before serving it elsewhere",
        ),
        Pitfall(
            "generated data only",
            s.generated_only,
            by("generated_only", generated[s.generated_only]),
            "let a person check a sample: tuneport review DATA",
        ),
    ]


def _for_knowledge(s: Situation, trains: bool) -> bool:
    """Return whether fine-tuning is meant to teach facts, even if the advice is another one.

    Facts that come second are looked up beside a tuned model, unless there is nothing to look them up in.
    """
    if Need.KNOWLEDGE not in s.needs or s.prompt is Tried.WORKS:
        return False
    return s.needs[0] is Need.KNOWLEDGE or (trains and s.sources is False)


def _facts_told(s: Situation) -> str:
    if Need.KNOWLEDGE not in s.needs:
        return "no new facts are needed"
    if s.needs[0] is Need.KNOWLEDGE:
        return "missing facts are the main problem"
    return "facts are needed, but something else comes first"
