"""Answers that refuse, or in which an assistant speaks of itself."""

from __future__ import annotations

import re

from tuneport.data.checks.rows.words.refusal_phrases import (
    ANYWHERE,
    ANYWHERE_BESIDE_I,
    ASKS_WHO,
    FIRST_PERSON,
    QUOTED,
    REFUSAL_MARKS,
    REFUSALS,
    SELF,
    SELF_MARKS,
    SPEAKERS,
)

HEAD = 260  # characters: a refusal is said first, in any language
_AROUND = 80  # characters
_MAX_PLACES = 5  # an answer about AI says the word often
_ASKS_WHO = re.compile(ASKS_WHO, re.IGNORECASE)


class _Phrases:
    """Patterns by language, and the pieces of words that are looked for first: many times quicker than the patterns.

    Where the language is known, its own patterns do, and the English ones: a model may fall back to English.
    """

    def __init__(self, marks: dict[str, str], patterns: dict[str, tuple[str, ...]], english: tuple[str, ...]) -> None:
        """Compile the patterns. `english` are the few pieces: every English match contains one of them."""
        self._english = english
        self._marks = {name: tuple(text.split("|")) for name, text in marks.items()}
        ascii_marks = {name: tuple(filter(str.isascii, several)) for name, several in self._marks.items()}
        self._ascii_marks = {name: several for name, several in ascii_marks.items() if several}
        self.patterns = {name: re.compile("|".join(several)) for name, several in patterns.items()}

    def search(self, text: str, language: str | None) -> re.Match[str] | None:
        marks = self._ascii_marks if text.isascii() else self._marks
        languages = marks if language is None else ("en", language) if language != "en" else ("en",)
        for name in languages:
            if name == "en" and not _has_one(text, self._english):
                continue
            for mark in marks.get(name, ()):
                if mark in text:
                    found = self.patterns[name].search(text)
                    if found:
                        return found
                    break
        return None


_REFUSALS = _Phrases(REFUSAL_MARKS, REFUSALS, FIRST_PERSON)
_SELF = _Phrases(SELF_MARKS, SELF, SPEAKERS)


def find_refusal_phrase(text: str, language: str | None = None, question: str = "") -> str | None:
    """Return the words that refuse, or that an assistant says about itself, else None.

    An assistant that is asked what it is may say so, and quoted characters may say anything.
    """
    head = text[:HEAD].lower()
    if "’" in head:
        head = head.replace("’", "'")
    found = _REFUSALS.search(head, language)
    if found and not _quoted(head, found.start()):
        return _shown(head, found)
    found = _SELF.search(head, language)
    told = _shown(head, found) if found and not _quoted(head, found.start()) else _self_in(text)
    return None if told is None or _ASKS_WHO.search(question) else told


def _has_one(text: str, pieces: tuple[str, ...]) -> bool:
    for piece in pieces:
        if piece in text:
            return True
    return False


def _self_in(text: str) -> str | None:
    """Search English alone: late phrases in it occur in translations, too, but hardly ever."""
    if len(text) <= HEAD - _AROUND:
        return None
    beside_i = "I " in text or "I'" in text or "I’" in text
    for mark in (*ANYWHERE, *ANYWHERE_BESIDE_I) if beside_i else ANYWHERE:
        place = text.find(mark, HEAD - _AROUND)
        for _ in range(_MAX_PLACES):
            if place < 0:
                break
            around = text[max(0, place - _AROUND) : place + _AROUND].lower().replace("’", "'")
            found = _SELF.patterns["en"].search(around)
            if found:
                return _shown(around, found)
            place = text.find(mark, place + _AROUND)
    return None


def _quoted(text: str, place: int) -> bool:
    before = text[:place]
    return (
        any(before.count(opening) > before.count(closing) for opening, closing in QUOTED) or before.count('"') % 2 == 1
    )


def _shown(text: str, found: re.Match[str]) -> str:
    return " ".join(text[found.start() : found.end() + 40].split())
