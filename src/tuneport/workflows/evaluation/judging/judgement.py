"""A judge's verdict on two models' answers: figures, examples, and how reliable it is. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from tuneport.scoring.judge import JudgeScore, Winner
from tuneport.workflows.evaluation.words import format_p_value

MOST_UNCLEAR = 0.1
"""Share of judgements without a verdict: a judge with more of them does not do what it is asked."""


@dataclass(frozen=True)
class JudgedPair:
    """A row, by its `place` and `line`, whose answers differ. `in_order`: the judge's verdict with `model`'s answer as
    A, `turned`: with it as B. `winner` "first" is `model`; it is None if one of the two has no verdict."""

    place: int
    line: int
    winner: Winner | None
    in_order: str
    turned: str


@dataclass(frozen=True)
class EvaluationJudgement:
    """The verdict `judged` on `model` compared with `against`, over `pairs`; None if no two answers differ.

    `identical`: rows with equal answers, which are not judged. `cached`: judgements kept from before. `refused`:
    prompts that the judge's provider did not answer; they are unclear, too. `own`: the judge is one of the two.
    """

    judge: str
    rubric: str
    model: str
    against: str
    judged: JudgeScore | None
    pairs: tuple[JudgedPair, ...]
    identical: int
    cached: int
    refused: int
    own: bool

    def count(self, winner: Winner | None) -> int:
        return sum(each.winner == winner for each in self.pairs)

    def examples(self, most: int) -> list[JudgedPair]:
        """Return pairs with their reasons: lost ones, won ones and ties in turn, then those without a verdict."""
        kinds = [[each for each in self.pairs if each.winner == winner] for winner in ("second", "first", "tie")]
        in_turn = [each for three in zip_longest(*kinds) for each in three if each is not None]
        return [*in_turn, *(each for each in self.pairs if each.winner is None)][:most]

    @property
    def outcome(self) -> str:
        """Return a sentence: which model won how many pairs."""
        won, tied, lost = (self.count(winner) for winner in ("first", "tie", "second"))
        without = f", {self.count(None):,} without a verdict" if self.count(None) else ""
        if not self.pairs:
            return (
                f"{self.model} and {self.against} gave equal answers to all {self.identical:,} rows: nothing was asked."
            )
        return (
            f"{self.model} wins {won:,} of {len(self.pairs):,} pairs and loses {lost:,} to {self.against}; "
            f"{tied:,} are ties{without}"
            + (f". {self.identical:,} more have equal answers." if self.identical else ".")
        )

    @property
    def position(self) -> str:
        """Return a sentence: whether the judge prefers a position."""
        found = self.judged
        if (
            found is None
            or found.first_place is None
            or found.first_place_low is None
            or found.first_place_high is None
        ):
            return "It preferred no answer, so its position bias is unknown."
        return (
            f"{'Position bias' if found.position_bias else 'No position bias shown'}: the answer that is shown first "
            f"gets {found.first_place:.0%} of its preferences ({found.first_place_low:.0%} to "
            f"{found.first_place_high:.0%}, {format_p_value(found.position_p)}); "
            f"{found.inconsistent:,} pairs are ties because its two orders disagree."
        )

    @property
    def unanswered(self) -> str:
        """Return a sentence on the pairs without a verdict; empty if all have one."""
        if self.judged is None or not self.judged.unclear:
            return ""
        refused = f" ({self.refused:,} were refused by its provider)" if self.refused else ""
        return (
            f"{self.judged.unclear:,} of its {2 * len(self.pairs):,} judgements have no line VERDICT: A, B or TIE"
            f"{refused}; their pairs are not counted."
        )

    @property
    def flaw(self) -> str:
        """Return why its praise is not reliable; empty if no reason is known."""
        if self.judged is None:
            return ""
        if self.judged.unclear > MOST_UNCLEAR * 2 * len(self.pairs):
            return f"{self.judged.unclear:,} of its {2 * len(self.pairs):,} judgements have no verdict"
        if self.own:
            return "it judges its own answers, and models prefer those"
        return "it prefers a position, whatever the answer" if self.judged.position_bias else ""

    def as_dict(self) -> dict[str, Any]:
        winners: Mapping[Winner | None, str | None] = {"first": self.model, "second": self.against, "tie": "tie"}
        judged = {} if self.judged is None else self.judged.as_dict()
        return {
            "judge": self.judge,
            "model": self.model,
            "against": self.against,
            "rubric": self.rubric,
            "won": self.count("first"),
            "tied": self.count("tie"),
            "lost": self.count("second"),
            "no_verdict": self.count(None),
            "identical": self.identical,
            "judgements": 2 * len(self.pairs),
            "cached": self.cached,
            "refused": self.refused,
            **{key: value for key, value in judged.items() if key != "winners"},
            "flaw": self.flaw,
            "pairs": [
                {
                    "line": each.line,
                    "winner": winners.get(each.winner),
                    "in_order": each.in_order,
                    "turned": each.turned,
                }
                for each in self.pairs
            ],
        }
