"""Answers that go round in circles: one sentence or one run of words, again and again."""

from __future__ import annotations

import re
from collections import Counter

MIN_REPEATS = 4
MIN_SHARE = 0.3  # of the words: a chorus, a table and a list of like things repeat less
_RUN = 4  # words
_SENTENCES = re.compile(r"(?<=[.!?。！？])\s*|\n+")
_PROBE = 12  # characters
_WINDOW = 160  # characters


def loop_in(text: str) -> str | None:
    """What is repeated and how often, else None. Short words many times are a loop, too: "no no no no no no"."""
    if len(text) < 30:
        return None
    if not _may_loop(text):
        return None
    words = text.split()
    if len(words) < 8:
        return _loop_of_characters(text)
    if "```" in text or "|" in text:
        return None
    pieces = [piece.strip() for piece in _SENTENCES.split(text)]
    counts = Counter(piece for piece in pieces if len(piece) > 8)
    if counts:
        piece, count = counts.most_common(1)[0]
        if count >= MIN_REPEATS and count * len(piece) >= MIN_SHARE * len(text):
            return f"{count} times {piece[:60]!r}"
    runs = Counter(zip(*(words[start:] for start in range(_RUN)), strict=False))
    run, count = runs.most_common(1)[0]
    repeated = sum(each for each in runs.values() if each >= MIN_REPEATS)
    if count >= MIN_REPEATS and repeated >= max(8, MIN_SHARE * 1.5 * len(words)):
        return f"{count} times {' '.join(run)!r}"
    return None


def _may_loop(text: str) -> bool:
    """Cheaply: a sentence or a line that is there again and again, or a window with few different words."""
    for mark in (". ", "\n"):
        pieces = text.split(mark)
        if len(pieces) >= MIN_REPEATS and len(pieces) - len(set(pieces)) >= MIN_REPEATS - 2 + pieces.count(""):
            return True
    third = len(text) // 3
    for window in (text[-_WINDOW:], text[third : third + _WINDOW]):
        words = window.split()
        if len(words) < 8:
            return True
        if len(set(words)) * 2 < len(words):
            return True
    return False


def _loop_of_characters(text: str) -> str | None:
    """Scripts without spaces, and words that were run together."""
    if text.isascii() and " " not in text and len(text) < 60:
        return None  # an identifier
    piece = text.rstrip()[-_PROBE:]
    count = text.count(piece)
    if count >= MIN_REPEATS and len(set(piece)) > 2 and count * _PROBE >= MIN_SHARE * len(text):
        return f"{count} times {piece!r}"
    return None
