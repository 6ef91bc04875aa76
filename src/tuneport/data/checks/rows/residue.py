"""Characters that were read in the wrong encoding, or lost."""

from __future__ import annotations

import re
from os.path import commonprefix

# What ftfy leaves alone: UTF-8 of Cyrillic read as Mac Roman, that of Latin letters as CP1251, and what is lost for good.
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
    return None if repaired == text else _around(text, len(commonprefix((text, repaired))))


def repair_mojibake(text: str) -> str:
    """Return the text as it was before it was decoded wrongly, once or more. Returns the text itself if nothing shows
    that, or nothing tells what it was: of lost characters, say."""
    from ftfy import fix_encoding

    return fix_encoding(text)


def _around(text: str, place: int) -> str:
    return f"…{' '.join(text[max(0, place - 20) : place + 30].split())}…"
