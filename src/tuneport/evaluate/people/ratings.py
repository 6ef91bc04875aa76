"""What raters said about pairs of answers: a file beside the answers that only ever grows.

A judgement names the system that was preferred and the side on which `a` was shown, so that the file says all by
itself; files of several machines are joined by `cat`. It belongs to the content of a pair, not to its line.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Literal

import msgspec

from tuneport.data.journal import Journal
from tuneport.errors import ConfigError
from tuneport.evaluate.people.answers import System

Side = Literal["left", "right"]
LONGEST_NAME, LONGEST_NOTE = 60, 4000


class Verdict(StrEnum):
    """Which system's answer is better; `tie`: both are good and neither is better; `bad`: neither is good enough."""

    A = "a"
    B = "b"
    TIE = "tie"
    BAD = "bad"
    UNDO = "undo"  # takes the rater's last judgement of the pair back


class Judgement(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of the file. `left` is the system whose answer stood there; `at` is UTC; `seconds` from seeing the pair
    to the verdict."""

    rater: str
    pair: str
    verdict: Verdict
    left: System
    at: datetime
    id: str = ""
    note: str = ""
    seconds: float | None = None

    @property
    def side(self) -> Side | None:
        """The side that was preferred, if one was."""
        if self.verdict not in (Verdict.A, Verdict.B):
            return None
        return "left" if self.verdict.value == self.left else "right"


def ratings_path(answers: Path | str) -> Path:
    return Path(f"{answers}.ratings.jsonl")


def read_ratings(path: Path) -> list[Judgement]:
    """Those that stand, the oldest first; none where there is no file yet. DatasetError names the line that is none."""
    return standing(_journal(path).rows())


def standing(rows: Iterable[Judgement]) -> list[Judgement]:
    """Of each rater and pair the last judgement that was not taken back."""
    last: dict[tuple[str, str], Judgement] = {}
    for row in rows:
        last.pop((row.rater, row.pair), None)  # so that the order is that of the last ones
        if row.verdict is not Verdict.UNDO:
            last[row.rater, row.pair] = row
    return list(last.values())


class Ratings:
    """The judgements of one file, for its only writer. Each is on the disk when `give` returns."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._journal = _journal(path)
        self._by_rater: dict[str, dict[str, Judgement]] = {}
        for row in standing(self._journal.rows()):
            self._by_rater.setdefault(row.rater, {})[row.pair] = row

    def held(self) -> AbstractContextManager[None]:
        """Meanwhile nobody else writes to the file; ConfigError where somebody does."""
        return self._journal.held("tuneport rate")

    def rater(self, name: str) -> str:
        """The name as it is kept: of one who was here before in his first spelling. ConfigError for one that cannot be
        a name."""
        wanted = unicodedata.normalize("NFC", " ".join(name.split()))
        if not wanted or len(wanted) > LONGEST_NAME or not wanted.isprintable():
            raise ConfigError(f"a rater's name has 1 to {LONGEST_NAME} letters; enter another")
        known = (each for each in self._by_rater if each.casefold() == wanted.casefold())
        return next(known, wanted)

    def of(self, rater: str) -> dict[str, Judgement]:
        """The rater's standing judgements by pair, the oldest first."""
        return self._by_rater.get(rater, {})

    def give(self, judgement: Judgement) -> None:
        self._journal.append(judgement)
        given = self._by_rater.setdefault(judgement.rater, {})
        given.pop(judgement.pair, None)
        given[judgement.pair] = judgement

    def undo(self, rater: str) -> Judgement | None:
        """Take the rater's last standing judgement back and return it; None where there is none."""
        given = self.of(rater)
        if not given:
            return None
        last = given[next(reversed(given))]
        self._journal.append(Judgement(rater, last.pair, Verdict.UNDO, last.left, datetime.now(UTC), last.id))
        del given[last.pair]
        return last


def _journal(path: Path) -> Journal[Judgement]:
    return Journal(path, Judgement, what="judgement of `tuneport rate`")
