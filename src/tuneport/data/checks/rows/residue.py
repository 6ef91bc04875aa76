"""Characters that were read in the wrong encoding, or lost."""

from __future__ import annotations

import re
from os.path import commonprefix

# What ftfy leaves alone: Cyrillic in UTF-8 read as Mac Roman, Latin letters read as CP1251, and what is lost for good.
_CONTINUED = re.escape(bytes(range(0x80, 0xC0)).decode("mac-roman"))
_BEYOND_REPAIR = re.compile(f"\ufffd|(?:[–—][{_CONTINUED}]){{3}}|Г[©±¤¶\xad]")
# A character of UTF-8 has two bytes and more, which are read as two characters, unless the second one is a space. Ten
# times as quick as to look closer, and most texts in Latin letters have no two such characters side by side.
_MAY_BE_WRONG = re.compile("[^\x00-\x7f]{2}|[\x80-\x9fÂÃ\ufffd]")
_LOST_QUOTE = re.compile(r"\?(?:t|s|re|ll|ve|m|d)\b(?![=&/\w])")  # don?t


def find_mojibake(text: str) -> str | None:
    """Return a place where the text was decoded wrongly once or more, or lost characters, else None."""
    if text.isascii():
        found = _LOST_QUOTE.search(text) if "?" in text else None
        if found and text[found.start() - 1 : found.start()].isalpha() and "://" not in text:
            return _around(text, found.start())
        return None
    if not _MAY_BE_WRONG.search(text):
        return None
    found = _BEYOND_REPAIR.search(text)
    if found:
        return _around(text, found.start())
    repaired = repair_mojibake(text)
    return None if repaired == text else excerpts_of_repair(text, repaired)[0]


def repair_mojibake(text: str) -> str:
    """Return the text as it was before it was decoded wrongly, once or more. Returns the text itself if nothing shows
    that, or nothing tells what it was: of lost characters, say."""
    from ftfy import fix_encoding

    if not _MAY_BE_WRONG.search(text):
        return text
    return "\n".join(map(fix_encoding, text.split("\n")))  # one line may be right, or wrong in another way, by itself


def excerpts_of_repair(text: str, repaired: str) -> tuple[str, str]:
    """Return the surroundings of the first place that was repaired, before and after."""
    place = len(commonprefix((text, repaired)))
    return _around(text, place), _around(repaired, place)


def _around(text: str, place: int) -> str:
    return f"…{' '.join(text[max(0, place - 20) : place + 30].split())}…"
