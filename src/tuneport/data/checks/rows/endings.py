"""Tells whether an answer is complete or was cut off.

Precision first: what may end without a full stop (labels, lists, verse, titles, equations, code, names) is left alone.
"""

from __future__ import annotations

import re
from enum import StrEnum

from tuneport.data.checks.rows.shapes import parse_row_answer_json, row_looks_like_code


class Ending(StrEnum):
    ENDED = "ended"  # as sentences end
    OPEN = "open"  # prose without an end: cut off, unless this dataset ends its sentences so
    CUT = "cut"  # cannot be meant
    OTHER = "other"  # no prose: nothing to say


_TERMINAL = frozenset(".!?…。！？｡．।॥؟۔։။")
_CLOSING = "\"'”’»›)]}*_`」』）】”~"
_WIDE = frozenset("。！？")
_SIGNED = re.compile(r"[-–—]\s?(?:[A-Z]\S*\s?){1,4}$")  # a quotation and who said it
_SALUTATION = re.compile(r"regards|sincerely|yours|wishes|cheers|love|thanks|thank you|truly", re.IGNORECASE)
_EMPTY_ITEM = re.compile(r"(?:^|\n)[ \t]*(?:\d{1,2}[.)]|[-*•+])[ \t]*\Z")
_ITEM = re.compile(r"[ \t]*(?:\d{1,3}[.)]|[-*•+–]|[A-Za-z][.)])[ \t]+\S")
_SENTENCE_END = re.compile(r"[.!?][\"”’)]*\s+[\"“‘(¿¡]?[^\W\d_a-z]")
_NO_SENTENCE_MARKS = re.compile("[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff]\\Z")  # Thai, Lao, Tibetan, Burmese, Khmer
_DANGLING = frozenset(
    """the a an of and or with from into but because than which whose our your their my its while are was were has had
    will would could should must such
    der die das und oder von zu mit für dem den des ein eine einen einem einer im dass weil wird sind sehr
    le la les de des du et ou un une pour dans par avec que qui est sont leur leurs
    el los las del y para con una por sus
    il lo gli della delle dei nel nella e di che per
    o os uma com dos das em à ao
    het een van met voor dat die zijn
    och att som med för på av den det
    i w na że który z do
    и в на что с для или который""".split()
)
LONG = 12  # words: no title, no name
MIN_WORDS = 6  # in the last line, for it to be a sentence at all


def classify_row_answer_ending(text: str) -> tuple[Ending, str]:
    """Return the kind of ending, and the message if the answer is cut off or unfinished."""
    text = text.rstrip()
    if not text:
        return Ending.OTHER, ""
    if "```" in text:
        if text.count("```") % 2:
            return Ending.CUT, "a code fence is not closed"
        if text.endswith("```"):
            return Ending.OTHER, ""
    last = text[-1]
    if last in _TERMINAL:
        if last == "." and _EMPTY_ITEM.search(text[-6:] if "\n" in text[-6:] else text[-40:]):
            return _empty_item(text)
        return Ending.ENDED, ""
    if last in "-*•+)" and _EMPTY_ITEM.search(text[-6:]):
        return _empty_item(text)
    if text[0] in "{[" and (text[1:2] in '"{[\n ' or text[0] == "{") and parse_row_answer_json(text) is None:
        if text.count("{") > text.count("}") or text.count("[") > text.count("]"):
            return Ending.CUT, "its brackets are not closed"
        return Ending.OTHER, ""
    if row_looks_like_code(text):
        if text.count("{") > text.count("}") and "```" not in text:
            return Ending.CUT, "its brackets are not closed"
        return Ending.OTHER, ""
    return _prose_ending(text, last)


def _empty_item(text: str) -> tuple[Ending, str]:
    line = text.rpartition("\n")[2].strip()
    return (Ending.CUT, f"it ends with the empty list item {line!r}") if "\n" in text else (Ending.OTHER, "")


def _prose_ending(text: str, last: str) -> tuple[Ending, str]:
    line = text.rpartition("\n")[2].strip()
    words = line.split()
    if last in ",;([{" and (len(words) > 4 or last in "([{"):
        return Ending.CUT, f"it ends with {last!r}"
    if last == ":" and len(text) > 20:
        return Ending.CUT, "it ends with ':'"
    if last == "-" and len(words) >= MIN_WORDS and text[-2:-1].isalpha():
        return Ending.CUT, "it ends within a word"
    if last in _CLOSING:
        return (Ending.ENDED if text.rstrip(_CLOSING)[-1:] in _TERMINAL else Ending.OTHER), ""
    if not last.isalnum() or _NO_SENTENCE_MARKS.search(text):
        return Ending.OTHER, ""
    if last >= "\u3040" and last.isalpha():
        # Chinese and Japanese: only a text that has ended a sentence with a mark is held to it. Korean has spaces.
        return (Ending.OPEN, _tail(text)) if not _WIDE.isdisjoint(text) and last < "\uac00" else (Ending.OTHER, "")
    if len(words) >= MIN_WORDS and words[-1] in _DANGLING:
        return Ending.CUT, f"it ends with the word {words[-1]!r}"
    return (Ending.OPEN, _tail(text)) if _lacks_its_end(text, line, words) else (Ending.OTHER, "")


def _lacks_its_end(text: str, line: str, words: list[str]) -> bool:
    item = _ITEM.match(line)
    if item:
        before = _items_before(text, item[0][0].isdigit())
        ended = [_ends(each) for each in before]
        return ended[:1] == [True] and 3 * sum(ended) >= 2 * len(ended) and not any(mark in line for mark in "=|<>")
    word = words[-1]
    if not word[-1].isalpha() or any(mark in word for mark in "#@/\\=<>_$"):
        return False  # a number, a tag, an address
    if any(mark in line for mark in "=|\t<>×→"):
        return False
    sentences = _SENTENCE_END.search(line) is not None
    title = 2 * sum(each[0].isupper() for each in words) > len(words)
    if not word.islower():  # a name ends many things, but hardly a long sentence
        initials = words[-2][-2:-1].isupper() if len(words) > 1 else False
        if _SIGNED.search(line):
            return False
        return len(words) >= LONG and word[0].isupper() and not initials and not title
    if sentences and len(words) >= MIN_WORDS:
        return True
    lines = [each.strip() for each in text.splitlines() if len(each.split()) >= 3]
    if len(lines) >= 3 and sum(map(_ends, lines[:-1])) * 2 < len(lines) - 1:
        return False  # verse, headings, a list without marks
    if title:
        return False  # or a signature
    if len(words) >= 2 and _SALUTATION.search(line) is None and _ends(text.rpartition("\n\n")[0].rstrip()[-20:]):
        return True  # the first words of one more paragraph
    earlier = _SENTENCE_END.search(text) is not None
    return len(words) >= MIN_WORDS or sentences or (earlier and len(words) >= 4 and len(line) >= 20)


def _items_before(text: str, numbered: bool) -> list[str]:
    """Return the items of the same list right before the last one, three at most."""
    found: list[str] = []
    for line in reversed(text.splitlines()[:-1]):
        item = _ITEM.match(line)
        if item and item[0].lstrip()[0].isdigit() == numbered:
            found.append(line)
            if len(found) == 3:
                break
    return found


def _ends(line: str) -> bool:
    return line.rstrip(_CLOSING)[-1:] in _TERMINAL or line.endswith((":", ",", ";"))


def _tail(text: str) -> str:
    return f"it ends abruptly: …{' '.join(text[-60:].split())}"
