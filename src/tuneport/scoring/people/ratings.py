"""The ratings of pairs of answers: a file beside the answers that only ever grows.

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

from tuneport.data.running.journal import JsonLinesJournal
from tuneport.errors import ConfigError
from tuneport.scoring.people.answers import System

Side = Literal["left", "right"]
LONGEST_NAME, LONGEST_NOTE = 60, 4000


class RatingVerdict(StrEnum):
    """The system whose answer is better; `tie`: both are good and neither is better; `bad`: neither is good enough."""

    A = "a"
    B = "b"
    TIE = "tie"
    BAD = "bad"
    UNDO = "undo"  # takes the rater's last judgement of the pair back


class Rating(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of the file. `left` is the system whose answer stood there; `at` is UTC; `seconds` from seeing the pair
    to the verdict."""

    rater: str
    pair: str
    verdict: RatingVerdict
    left: System
    at: datetime
    id: str = ""
    note: str = ""
    seconds: float | None = None

    @property
    def side(self) -> Side | None:
        """Return the side that was preferred, if one was."""
        if self.verdict not in (RatingVerdict.A, RatingVerdict.B):
            return None
        return "left" if self.verdict.value == self.left else "right"


def ratings_path(answers: Path | str) -> Path:
    return Path(f"{answers}.ratings.jsonl")


def read_ratings(path: Path) -> list[Rating]:
    """Return the standing ratings, the oldest first; empty if the file does not exist. Raises DatasetError that names a
    broken line."""
    return standing_ratings(_journal(path).rows())


def standing_ratings(rows: Iterable[Rating]) -> list[Rating]:
    """Return each rater's last rating of each pair that was not taken back."""
    last: dict[tuple[str, str], Rating] = {}
    for row in rows:
        last.pop((row.rater, row.pair), None)  # so that the order is that of the last ones
        if row.verdict is not RatingVerdict.UNDO:
            last[row.rater, row.pair] = row
    return list(last.values())


class RatingFile:
    """The judgements of one file, for its only writer. Each is on the disk when `append_rating` returns."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._journal = _journal(path)
        self._by_rater: dict[str, dict[str, Rating]] = {}
        for row in standing_ratings(self._journal.rows()):
            self._by_rater.setdefault(row.rater, {})[row.pair] = row

    def lock_for_writing(self) -> AbstractContextManager[None]:
        """Lock the file against other writers. Raises ConfigError if another holds it."""
        return self._journal.lock_for_writing("tuneport rate")

    def stored_rater_name(self, name: str) -> str:
        """Return the name as it is stored, in the rater's first spelling. Raises ConfigError for an invalid name."""
        wanted = unicodedata.normalize("NFC", " ".join(name.split()))
        if not wanted or len(wanted) > LONGEST_NAME or not wanted.isprintable():
            raise ConfigError(f"a rater's name has 1 to {LONGEST_NAME} letters; enter another")
        known = (each for each in self._by_rater if each.casefold() == wanted.casefold())
        return next(known, wanted)

    def ratings_by(self, rater: str) -> dict[str, Rating]:
        """Return the rater's standing ratings by pair, the oldest first."""
        return self._by_rater.get(rater, {})

    def append_rating(self, judgement: Rating) -> None:
        self._journal.append(judgement)
        given = self._by_rater.setdefault(judgement.rater, {})
        given.pop(judgement.pair, None)
        given[judgement.pair] = judgement

    def undo(self, rater: str) -> Rating | None:
        """Take back the rater's last standing rating and return it, or None if there is none."""
        given = self.ratings_by(rater)
        if not given:
            return None
        last = given[next(reversed(given))]
        self._journal.append(Rating(rater, last.pair, RatingVerdict.UNDO, last.left, datetime.now(UTC), last.id))
        del given[last.pair]
        return last


def _journal(path: Path) -> JsonLinesJournal[Rating]:
    return JsonLinesJournal(path, Rating, what="judgement of `tuneport rate`")
