"""Answers that go round in circles: one sentence or one run of words, again and again."""

from __future__ import annotations

import re
from collections import Counter

MIN_REPEATS = 4
MIN_SHARE = 0.3  # of the words: a chorus, a table and a list of like things repeat less
_RUN = 4  # words
_SENTENCES = re.compile(r"(?<=[.!?。！？])\s*|\n+")
_MAX_PERIOD = 200  # characters
_MIN_LOOP = 48  # characters of one thing right after itself
_PROBE = 10  # characters
_MIN_RUN = 20  # of one letter or mark at the end of a word: no cry is so long, no rule stands behind a word
_LONG_PROBE = 24
_TENTHS = (10, 8, 6, 4, 2)  # of the text: where it is looked at


def find_repetition_loop(text: str) -> str | None:
    """Return what is repeated and how often, else None. Many repeated short words are a loop, too: "no no no no no
    no"."""
    text = text.strip()
    if len(text) < 40:
        return None
    if text[-1] == text[-_MIN_RUN]:
        tail = _run_at_the_end(text)
        if tail:
            return tail
    if not _may_loop(text):
        return None
    for tenths in _TENTHS:
        found = _in_a_row(text, max(_LONG_PROBE, len(text) * tenths // 10))
        if found:
            return found
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


def _run_at_the_end(text: str) -> str | None:
    """Return one character without end. A rule or a blank on its own line, or of a form, does not count."""
    last = text[-1]
    rest = text.rstrip(last)
    count = len(text) - len(rest)
    if count < _MIN_RUN or last.isdigit() or last == "_" or not rest or rest[-1] in "\n|+ ":
        return None
    return f"{count} times {last!r}"


def _may_loop(text: str) -> bool:
    """Return cheaply whether a loop is possible: one that takes `MIN_SHARE` of the text covers one of these places, and
    its letters come again."""
    length = len(text)
    for tenths in _TENTHS:
        end = max(_LONG_PROBE, length * tenths // 10)
        if text.count(text[end - _LONG_PROBE : end]) >= 2 and text.count(text[end - _PROBE : end]) >= MIN_REPEATS - 1:
            return True
    return False


def _in_a_row(text: str, end: int) -> str | None:
    """Return a phrase that stands five times or more right after itself, around a place, however long the rest of the
    text is."""
    start = end - _LONG_PROBE
    before = text.rfind(text[start:end], max(0, start - _MAX_PERIOD), end - 1)
    if before < 0:
        return None
    period = start - before
    unit = text[end - period : end]
    first, last = end - period, end
    while first >= period and text[first - period : first] == unit:
        first -= period
    while text[last : last + period] == unit:
        last += period
    count = (last - first) // period
    if count <= MIN_REPEATS or last - first < _MIN_LOOP or not any(letter.isalpha() for letter in unit):
        return None
    return f"{count} times {unit.strip()[:60]!r}"


def _loop_of_characters(text: str) -> str | None:
    """Find loops in scripts without spaces, and in words that were run together."""
    if text.isascii() and " " not in text and len(text) < 60:
        return None  # an identifier
    piece = text.rstrip()[-_PROBE:]
    count = text.count(piece)
    if count >= MIN_REPEATS and len(set(piece)) > 2 and count * _PROBE >= MIN_SHARE * len(text):
        return f"{count} times {piece!r}"
    return None
