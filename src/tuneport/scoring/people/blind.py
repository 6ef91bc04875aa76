"""The blind test that a rater sees: the pairs in the rater's own order, each with its own sides, without the systems'
names.

Order and sides follow from the seed, the rater's name (in any spelling) and the pair's content. So they are the same
after a restart, and for the pairs that are left when rows were added to the file, removed or changed.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Literal

from tuneport.errors import ConfigError
from tuneport.scoring.people.answers import PromptTurn, RatersAnswerPair, RatersAnswerSet, System
from tuneport.scoring.people.ratings import LONGEST_NOTE, Rating, RatingFile, RatingVerdict
from tuneport.validation import is_unicode_text

Choice = Literal["left", "right", "tie", "bad"]
_LONGEST_SECONDS = 24 * 3600.0


@dataclass(frozen=True)
class BlindPair:
    """A pair as its rater sees it. `view` stands for the pair with these sides, so that a verdict on what another seed
    had shown is refused instead of misunderstood. `note`, `choice`: the rater's entry before it was taken back."""

    view: str
    prompt: tuple[PromptTurn, ...]
    left: str
    right: str
    reference: str | None
    note: str = ""
    choice: Choice | None = None


@dataclass(frozen=True)
class RaterProgress:
    """The progress of a rater; `next` is None once all pairs are judged."""

    rater: str
    judged: int
    total: int
    next: BlindPair | None


class BlindRating:
    """Several raters at work on one file of answers. Methods may be called from several threads."""

    def __init__(self, answers: RatersAnswerSet, ratings: RatingFile, *, seed: int = 0) -> None:
        self._pairs = {pair.key: pair for pair in answers.pairs_to_judge}
        if not self._pairs:
            raise ConfigError(f"{answers.path}: both answers are the same in every pair, so there is nothing to judge")
        self._ratings, self._seed = ratings, str(seed)
        self._views: dict[str, dict[str, str]] = {}
        self._lock = threading.Lock()

    def begin(self, name: str) -> RaterProgress:
        """Begin a rater's session. Raises ConfigError for an invalid name."""
        with self._lock:
            return self._standing(self._ratings.stored_rater_name(name))

    def judge(
        self, name: str, view: str, choice: Choice, *, note: str = "", seconds: float | None = None
    ) -> RaterProgress:
        """Store a verdict; it is on the disk when this returns. Idempotent, since an answer may have been lost on the
        way.

        Raises ConfigError for a pair that this rater was not shown, or has judged otherwise.
        """
        with self._lock:
            if len(note) > LONGEST_NOTE:
                raise ConfigError(f"the note has {len(note):,} letters; shorten it to {LONGEST_NOTE:,}")
            if not is_unicode_text(note):
                raise ConfigError("the note holds half of a character; delete it, and judge again")
            rater = self._ratings.stored_rater_name(name)
            key = self._views_of(rater).get(view)
            if key is None:
                raise ConfigError("this pair is now shown another way: reload the page")
            left = self._left(rater, key)
            verdict = _verdict(choice, left)
            given = self._ratings.ratings_by(rater).get(key)
            if given is not None and given.verdict is not verdict:
                raise ConfigError("this pair is already judged, perhaps in another window: reload the page")
            if given is None:
                took = None if seconds is None else round(min(max(seconds, 0.0), _LONGEST_SECONDS), 1)
                id_ = self._pairs[key].id
                self._ratings.append_rating(
                    Rating(rater, key, verdict, left, datetime.now(UTC), id_, note.strip(), took)
                )
            return self._standing(rater)

    def undo(self, name: str) -> RaterProgress:
        """Take back the rater's last rating: its pair is the next one again, with the rater's note. Raises ConfigError
        if there is none."""
        with self._lock:
            rater = self._ratings.stored_rater_name(name)
            taken = self._ratings.undo(rater)
            if taken is None:
                raise ConfigError("there is nothing to undo")
            if taken.pair not in self._pairs:  # a row that was changed since
                return self._standing(rater)
            choice: Choice = taken.side or ("tie" if taken.verdict is RatingVerdict.TIE else "bad")
            return self._standing(rater, self._shown(rater, self._pairs[taken.pair], taken.note, choice))

    def _standing(self, rater: str, shown: BlindPair | None = None) -> RaterProgress:
        given, views = self._ratings.ratings_by(rater), self._views_of(rater)
        if shown is None:
            first = next((key for key in views.values() if key not in given), None)
            shown = None if first is None else self._shown(rater, self._pairs[first])
        return RaterProgress(rater, sum(key in self._pairs for key in given), len(views), shown)

    def _views_of(self, rater: str) -> dict[str, str]:
        """Return the pair's key for each view, in the rater's order."""
        if rater not in self._views:
            order = sorted(self._pairs, key=lambda key: self._draw("order", rater, key))
            self._views[rater] = {self._view(rater, key): key for key in order}
        return self._views[rater]

    def _shown(self, rater: str, pair: RatersAnswerPair, note: str = "", choice: Choice | None = None) -> BlindPair:
        left, right = (pair.a, pair.b) if self._left(rater, pair.key) == "a" else (pair.b, pair.a)
        return BlindPair(self._view(rater, pair.key), pair.prompt, left, right, pair.reference, note, choice)

    def _view(self, rater: str, key: str) -> str:
        return self._draw(f"view, {self._left(rater, key)} left", rater, key).hex()

    def _left(self, rater: str, key: str) -> System:
        return "a" if self._draw("side", rater, key)[0] % 2 else "b"

    def _draw(self, what: str, rater: str, key: str) -> bytes:
        return blake2b("\0".join((what, self._seed, rater.casefold(), key)).encode(), digest_size=12).digest()


def _verdict(choice: Choice, left: System) -> RatingVerdict:
    match choice:
        case "left":
            return RatingVerdict(left)
        case "right":
            return RatingVerdict.B if left == "a" else RatingVerdict.A
        case "tie":
            return RatingVerdict.TIE
    return RatingVerdict.BAD
