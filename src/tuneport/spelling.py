"""Finds the names that a misspelt one may stand for."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from difflib import SequenceMatcher

ALIKE = 0.75
"""The least likeness (0 to 1) of a name that is suggested."""
BEGINNING, BEGUN = 4, 0.9
"""The characters from which a beginning suggests a name, and the likeness that it then has."""
AS_GOOD = 0.08
"""A name that is less like what was written than the best one by more than this is not suggested with it."""
_SIGNS = re.compile(r"[-. ]")


def nearest_names(written: str, known: Iterable[str], *, most: int = 1, key: Callable[[str], str] = str) -> list[str]:
    """Return the known names most like the written one, best first, and none if none is like it.

    A name is like another by its letters, if it begins with it or nearly so, or if its words have these initials
    ("lr"). `key` is the part of a name that counts. Case does not, and the signs between words make little difference.
    """
    plain = _plain(key(written))
    likeness = {name: _likeness(plain, _plain(key(name))) for name in known}
    least = max(ALIKE, max(likeness.values(), default=0.0) - AS_GOOD)
    return sorted((name for name, like in likeness.items() if like >= least), key=lambda name: -likeness[name])[:most]


def did_you_mean(written: str, known: Iterable[str]) -> str:
    """Return "; did you mean NAME?", or "" if no known name is like the written one."""
    found = nearest_names(written, known)
    return f"; did you mean {found[0]}?" if found else ""


def _plain(name: str) -> str:
    return name.lower().replace("_", "-")


def _likeness(written: str, name: str) -> float:
    if written == name:
        return 1.0
    if len(written) > 1 and written == "".join(word[:1] for word in name.split("-")):
        return 0.95
    short, long = _SIGNS.sub("", written), _SIGNS.sub("", name)
    begins = len(short) >= BEGINNING and long.startswith(short)
    ratio = max(SequenceMatcher(None, *pair, autojunk=False).ratio() for pair in ((written, name), (short, long)))
    head = 0.0
    if BEGINNING + 2 <= len(short) < len(long):  # a misspelt beginning
        head = BEGUN * SequenceMatcher(None, short, long[: len(short) + 1], autojunk=False).ratio()
    return max(ratio, head, BEGUN if begins else 0.0)
