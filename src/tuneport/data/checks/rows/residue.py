"""Characters that were read in the wrong encoding, or lost."""

from __future__ import annotations

import re
from os.path import commonprefix

# What ftfy leaves alone: Cyrillic in UTF-8 read as Mac Roman, Latin letters read as CP1251, and what is lost for good.
_CONTINUED = re.escape(bytes(range(0x80, 0xC0)).decode("mac-roman"))
_BEYOND_REPAIR = re.compile(f"\ufffd|(?:[–—][{_CONTINUED}]){{3}}|Г[©±¤¶\xad]")
_LOST_QUOTE = re.compile(r"\?(?:t|s|re|ll|ve|m|d)\b(?![=&/\w])")  # don?t


def find_mojibake(text: str) -> str | None:
    """Return a place where the text was decoded wrongly once or more, or lost characters, else None."""
    if text.isascii():
        found = _LOST_QUOTE.search(text) if "?" in text else None
        if found and text[found.start() - 1 : found.start()].isalpha() and "://" not in text:
            return _around(text, found.start())
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

    if text.isascii():
        return text
    return "\n".join(map(fix_encoding, text.split("\n")))  # one line may be right, or wrong in another way, by itself


def excerpts_of_repair(text: str, repaired: str) -> tuple[str, str]:
    """Return the surroundings of the first place that was repaired, before and after."""
    place = len(commonprefix((text, repaired)))
    return _around(text, place), _around(repaired, place)


def _around(text: str, place: int) -> str:
    return f"…{' '.join(text[max(0, place - 20) : place + 30].split())}…"
