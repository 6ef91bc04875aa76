"""Detects the language of a text by its script, its frequent words and its letters.

Meant for one question only: may this text be in another language than that one? So it answers `None` rather than guess.
"""

from __future__ import annotations

import re
import struct
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from tuneport.data.checks.rows.words.language_words import ENDINGS, GUARDS, LETTERS, NAMED, WORDS

LOOKED_AT = 200  # characters from the start; more changes no answer and costs time
MIN_SCORE = 6  # points: two words that only one language has
MIN_LEAD = 1.4  # times the second language's points
MIN_SHARE = 0.35  # points for each word of the text: in a list of names and numbers, chance words decide nothing

_FIELDS = (*NAMED, *GUARDS)
_UNPACK = struct.Struct(f"<{len(_FIELDS)}H").unpack
_SIZE = 2 * len(_FIELDS)
_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")
_KANA = re.compile("[\u3040-\u30ff]")
_PERSIAN = re.compile("[پچژگکیےٹڈں]")
_MARATHI = re.compile(r"(?:^|\s)(?:आहे|आणि|नाही|आहेत)(?=\s|$|[.,।])")


def _points(table: dict[str, Iterable[str]], unique: int, shared: int) -> dict[str, int]:
    """Build for each word an integer with one 16-bit field a language: a sum of them adds up all languages at once."""
    owners: dict[str, list[int]] = {}
    for language, words in table.items():
        for word in set(words):
            owners.setdefault(word, []).append(_FIELDS.index(language))
    found = {}
    for word, fields in owners.items():
        points = unique if len(fields) == 1 else shared if len(fields) == 2 else 1
        found[word] = sum(points << 16 * field for field in fields)
    return found


_WORD_POINTS = _points({name: words.split() for name, words in WORDS.items()}, 4, 2)
_LETTER_POINTS = _points({name: set(letters) for name, letters in LETTERS.items()}, 4, 2)
_ENDING_POINTS = _points(dict(ENDINGS), 2, 1)
_LETTERS = frozenset(_LETTER_POINTS)
_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]")


@lru_cache(maxsize=32)  # several checks ask about the same text
def detect_language(text: str) -> str | None:
    """Return the ISO 639-1 code, or None if it is unclear: too short, mixed, a list of names, code, another language.

    Known are en, es, de, fr, it, pt, nl, pl, tr, sv, ru, uk, ja, zh, ko, ar and hi. About 7 microseconds.
    """
    text = text[:LOOKED_AT]
    if not text.isascii():
        script = _script(text)
        if script:
            return script if script != "other" else None
    lowered = text.lower()
    words = lowered.split()
    letters = 0
    if not lowered.isascii():
        letters = sum(map(_LETTER_POINTS.__getitem__, _LETTERS.intersection(_BEYOND_ASCII.findall(lowered))))
    found = _decided(_sum(_WORD_POINTS, words) + letters, len(words))
    if found is not None or len(words) > 40:
        return found
    # In a short text the words that have a comma or a quotation mark at them matter, and so do endings.
    words = _WORD.findall(lowered.replace("’", "'"))
    total = _sum(_WORD_POINTS, words) + letters
    found = _decided(total, len(words))
    if found is None and len(words) >= 3:
        endings = [word[-3:] for word in words if len(word) > 4]
        found = _decided(total + _sum(_ENDING_POINTS, endings), len(words))
        if found is not None and _points_of(found, total) < 2:
            return None  # not one of its frequent words or letters
    return found


def _sum(points: dict[str, int], words: list[str]) -> int:
    return sum(filter(None, map(points.get, words)))  # numbers of this size are not added for nothing


def _decided(total: int, words: int) -> str | None:
    if not total:
        return None
    points = list(_UNPACK(total.to_bytes(_SIZE, "little")))
    best = max(points)
    if best < MIN_SCORE or best < MIN_SHARE * words:
        return None
    place = points.index(best)
    points[place] = 0
    if best < MIN_LEAD * max(points):
        return None
    language = _FIELDS[place]
    return None if language in GUARDS else language


def _points_of(language: str, total: int) -> int:
    return total >> 16 * _FIELDS.index(language) & 0xFFFF


def _script(text: str) -> str | None:
    """Return the language of a script, or None if words must decide (Latin, Cyrillic), "other" if no known language has
    it."""
    if len(text.encode("utf-8", "surrogatepass")) < 1.3 * len(text):
        return None
    letters = "".join(text.split())
    blocks = Counter([ord(each) >> 8 for each in letters[:: 1 + len(letters) // 100]])
    han = sum(count for block, count in blocks.items() if 0x4E <= block <= 0x9F)
    hangul = sum(count for block, count in blocks.items() if 0xAC <= block <= 0xD7)
    least = 0.4 * sum(blocks.values())
    if hangul >= least:
        return "ko"
    if han + blocks[0x30] >= least:
        kana = len(_KANA.findall(text))
        return "ja" if kana * 10 >= len(text) else "zh" if not kana else "other"
    if blocks[0x06] >= least:
        return "other" if _PERSIAN.search(text) else "ar"
    if blocks[0x09] >= least:
        return "other" if _MARATHI.search(text) else "hi"
    return None if blocks[0x00] + blocks[0x01] + blocks[0x04] + blocks[0x1E] + blocks[0x20] >= least else "other"


class LanguageMix:
    """Counts texts by language; "unknown" are those whose language is unclear."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def add(self, text: str) -> None:
        self.counts[detect_language(text) or "unknown"] += 1

    def state(self) -> Any:
        return dict(self.counts)

    def merge(self, state: Any) -> None:
        self.counts.update(state)

    @property
    def shares(self) -> dict[str, float]:
        """Return the share of each language among the texts whose language is clear, the largest first; they add up to
        1."""
        known = sum(self.counts.values()) - self.counts["unknown"]
        ordered = sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))
        return {language: count / known for language, count in ordered if language != "unknown" and count}

    @property
    def unknown(self) -> float:
        """Return the share of the texts whose language is unclear."""
        return self.counts["unknown"] / max(1, sum(self.counts.values()))
