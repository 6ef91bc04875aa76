"""Answers that refuse, or in which an assistant speaks of itself."""

from __future__ import annotations

import re

from tuneport.data.checks.refusal_phrases import REFUSAL_MARKS, REFUSALS, SELF, SELF_MARKS

HEAD = 260  # characters: a refusal is said first, in any language
_ANYWHERE = ("AI", "anguage model")  # as written: capitals are rare, so quickly found
_AROUND = 60  # characters
_MAX_PLACES = 5  # an answer about AI says the word often


class _Phrases:
    """Patterns, and the pieces of words that are looked for first: many times quicker than the patterns.

    Where the language is known, its own pieces do, and the English ones: a model may fall back to English.
    """

    def __init__(self, marks: dict[str, str], patterns: dict[str, tuple[str, ...]]) -> None:
        english = marks["en"].split("|")
        self._marks = {name: tuple(dict.fromkeys([*english, *text.split("|")])) for name, text in marks.items()}
        self._all = tuple(dict.fromkeys("|".join(marks.values()).split("|")))
        self.pattern = re.compile("|".join(each for several in patterns.values() for each in several))

    def search(self, text: str, language: str | None) -> re.Match[str] | None:
        for mark in self._all if language is None else self._marks.get(language, self._all):
            if mark in text:
                return self.pattern.search(text)
        return None


_REFUSALS = _Phrases(REFUSAL_MARKS, REFUSALS)
_SELF = _Phrases(SELF_MARKS, SELF)


def refusal_in(text: str, language: str | None = None) -> str | None:
    """The words that refuse, or that are an assistant's about itself, else None."""
    head = text[:HEAD].lower()
    if "’" in head:
        head = head.replace("’", "'")
    found = _REFUSALS.search(head, language) or _SELF.search(head, language)
    if found:
        return _shown(head, found)
    return _self_in(text) if len(text) > HEAD else None


def _self_in(text: str) -> str | None:
    for mark in _ANYWHERE:
        place = text.find(mark)
        for _ in range(_MAX_PLACES):
            if place < 0:
                break
            around = text[max(0, place - _AROUND) : place + _AROUND].lower().replace("’", "'")
            found = _SELF.pattern.search(around)
            if found:
                return _shown(around, found)
            place = text.find(mark, place + _AROUND)
    return None


def _shown(text: str, found: re.Match[str]) -> str:
    return " ".join(text[found.start() : found.end() + 40].split())
