"""The results of ratings of two systems. Pure: judgements in, figures out.

A pair counts once, however many raters judged it, since votes on one pair are not independent: it is won by the system
that more than half of its raters preferred, and tied otherwise. Intervals and the test are over pairs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from statistics import median
from typing import Any, Literal

from tuneport.scoring.people.agreement import cohens_kappa, krippendorffs_alpha, same_share
from tuneport.scoring.people.answers import RatersAnswerSet, System
from tuneport.scoring.people.ratings import Rating, RatingVerdict
from tuneport.scoring.statistics.intervals import wilson
from tuneport.scoring.statistics.paired import sign_test

ALPHA = 0.05
Winner = Literal["a", "b", "tie"]


@dataclass(frozen=True)
class VoteShare:
    """`of` of `total`, with the Wilson 95 % interval; all None if `total` is 0."""

    of: int
    total: int
    share: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Rater:
    """`left_share`: the share of preferences for the left side. `agreement`: how often this and another rater said the
    same of a pair. `median_seconds`: from seeing a pair to the verdict."""

    name: str
    judged: int
    a: int
    b: int
    tie: int
    bad: int
    left_share: float | None
    agreement: float | None
    median_seconds: float | None


@dataclass(frozen=True)
class Agreement:
    """Over the pairs that several judged; tie and both bad count as one label, since neither prefers a system. `kappa`:
    Cohen's, of exactly two raters; `alpha`: Krippendorff's."""

    pairs: int
    same: float | None
    kappa: float | None
    alpha: float | None


@dataclass(frozen=True)
class Note:
    pair: str
    rater: str
    verdict: RatingVerdict
    text: str


@dataclass(frozen=True)
class RatingResults:
    """`a_wins`, `b_wins` and `ties` count judged pairs; `both_bad` counts the ties that most raters found both bad.

    `b_rate` is B's share of the wins, and `p` that of the sign test on the same pairs. `left` is how often the left
    side was preferred, over votes, with `left_p` against one half. `identical`: pairs with equal answers, which were
    not rated and are in no figure. `outside`: judgements of pairs that are not (or no longer) among these answers.
    """

    names: dict[System, str]
    pairs: int
    identical: int
    judged: int
    finished: int
    a_wins: int
    b_wins: int
    ties: int
    both_bad: int
    b_rate: VoteShare
    p: float
    left: VoteShare
    left_p: float
    agreement: Agreement
    raters: tuple[Rater, ...]
    notes: tuple[Note, ...]
    outside: int

    @property
    def preferred(self) -> Winner:
        """Return the preferred system; `tie` if no difference is shown."""
        if self.p >= ALPHA:
            return "tie"
        return "b" if self.b_wins > self.a_wins else "a"

    @property
    def side_matters(self) -> bool:
        return self.left_p < ALPHA

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "preferred": self.preferred, "side_matters": self.side_matters}


def compute_rating_results(answers: RatersAnswerSet, judgements: Iterable[Rating]) -> RatingResults:
    """Compute the results of the standing ratings that `ratings.read_ratings` returns."""
    asked = {pair.key: pair for pair in answers.pairs_to_judge}
    given = list(judgements)
    standing = [row for row in given if row.pair in asked]
    by_pair: dict[str, list[Rating]] = {}
    for row in standing:
        by_pair.setdefault(row.pair, []).append(row)
    winners = Counter(_winner(rows) for rows in by_pair.values())
    sides = [row.side for row in standing if row.side is not None]
    left = sides.count("left")
    raters = sorted({row.rater for row in standing}, key=str.casefold)
    rows_of = {name: [row for row in standing if row.rater == name] for name in raters}
    return RatingResults(
        names=dict(answers.names),
        pairs=len(asked),
        identical=len(answers.identical),
        judged=len(by_pair),
        finished=sum(len(rows) == len(asked) for rows in rows_of.values()),
        a_wins=winners["a"],
        b_wins=winners["b"],
        ties=winners["tie"],
        both_bad=sum(
            2 * sum(row.verdict is RatingVerdict.BAD for row in rows) > len(rows) for rows in by_pair.values()
        ),
        b_rate=vote_share(winners["b"], winners["a"] + winners["b"]),
        p=sign_test(winners["a"], winners["b"]),
        left=vote_share(left, len(sides)),
        left_p=sign_test(left, len(sides) - left),
        agreement=_agreement(by_pair),
        raters=tuple(_rater(name, rows_of[name], by_pair) for name in raters),
        notes=tuple(Note(asked[row.pair].id, row.rater, row.verdict, row.note) for row in standing if row.note),
        outside=len(given) - len(standing),
    )


def vote_share(of: int, total: int) -> VoteShare:
    if not total:
        return VoteShare(of, total, None, None, None)
    return VoteShare(of, total, of / total, *wilson(of, total))


def _winner(rows: Sequence[Rating]) -> Winner:
    votes = Counter(row.verdict for row in rows)
    won: list[Winner] = [side for side in ("a", "b") if 2 * votes[RatingVerdict(side)] > len(rows)]
    return won[0] if won else "tie"


def _label(row: Rating) -> str:
    return row.verdict.value if row.side is not None else "neither"


def _agreement(by_pair: dict[str, list[Rating]]) -> Agreement:
    shared = [rows for rows in by_pair.values() if len(rows) > 1]
    items = [[_label(row) for row in rows] for rows in shared]
    raters = sorted({row.rater for rows in shared for row in rows})
    kappa = None
    if len(raters) == 2:
        labels = [{row.rater: _label(row) for row in rows} for rows in shared]
        kappa = cohens_kappa([(each[raters[0]], each[raters[1]]) for each in labels])
    return Agreement(len(shared), same_share(items), kappa, krippendorffs_alpha(items))


def _rater(name: str, rows: Sequence[Rating], by_pair: dict[str, list[Rating]]) -> Rater:
    verdicts, sides = Counter(row.verdict for row in rows), Counter(row.side for row in rows)
    preferences = sides["left"] + sides["right"]
    same = [
        _label(one) == _label(other)
        for row in rows
        for one, other in combinations(by_pair[row.pair], 2)
        if name in (one.rater, other.rater)
    ]
    seconds = [row.seconds for row in rows if row.seconds is not None]
    return Rater(
        name=name,
        judged=len(rows),
        a=verdicts[RatingVerdict.A],
        b=verdicts[RatingVerdict.B],
        tie=verdicts[RatingVerdict.TIE],
        bad=verdicts[RatingVerdict.BAD],
        left_share=sides["left"] / preferences if preferences else None,
        agreement=sum(same) / len(same) if same else None,
        median_seconds=median(seconds) if seconds else None,
    )
