"""Characters that were read in the wrong encoding, or lost."""

from __future__ import annotations

import re

_CP1252 = {
    ord(bytes([code]).decode("cp1252")): code for code in range(0x80, 0xA0) if code not in b"\x81\x8d\x8f\x90\x9d"
}
_BYTES = {**{code: code for code in range(0x80, 0x100)}, **_CP1252}
_HIGH = re.compile(f"[{re.escape(''.join(map(chr, _BYTES)))}]{{2,}}")
_CERTAIN = re.compile(  # begins with a set, which is quickly searched for
    "[\ufffd\x80-\x84\x86-\x9f‚√&Ãï]"
    "(?:(?<=[\ufffd\x80-\x84\x86-\x9f])|(?<=‚)Ä[ôúùìî¢ôò]|(?<=√)[©®±≥°§∂ºüßä†°¢Æ´]"  # also Mac Roman
    "|(?<=&)Atilde;|(?<=Ã)\x83|(?<=ï)¿½)"
)
_CONTINUATION = bytes(range(0x80, 0xC0))  # what is not the first byte of a character in UTF-8
_FIRST_BYTES = b"_" * 0x80 + b"x" * 0x80
_CONTINUED = "".join(bytes([code]).decode("cp1251", "ignore") for code in range(0x80, 0xC0))
_CYRILLIC = re.compile(f"вЂ[{re.escape(_CONTINUED)}]|(?:[РС][{re.escape(_CONTINUED)}]){{3}}|Г[©ЁјЎ±і¤¶џ]")  # in CP1251
_CYRILLIC_SIGNS = ("вЂ", "Рё", "Рѕ", "Рµ", "Р°", "Г")
_SIGNS = "ÂÃâðÐÑÎÏÅÄãåæçäèé√‚ï\ufffd\x80\x91\x92\x93\x94\x96\x97\x99"  # one of them is in any misread text
_LOST_QUOTE = re.compile(r"\?(?:t|s|re|ll|ve|m|d)\b(?![=&/\w])")  # don?t


def find_mojibake(text: str) -> str | None:
    """Return a place where the text was decoded wrongly once or more, or lost characters, else None."""
    if text.isascii():
        if "?" in text:
            found = _LOST_QUOTE.search(text)
            if found and text[found.start() - 1 : found.start()].isalpha() and "://" not in text:
                return _around(text, found.start())
        return None
    for sign in _SIGNS:
        if sign in text:
            return _misread_in(text)
    for sign in _CYRILLIC_SIGNS:
        if sign in text:
            return _misread_cyrillic(text)
    return None


def _misread_cyrillic(text: str) -> str | None:
    found = _CYRILLIC.search(text)
    return _around(text, found.start()) if found else None


def _misread_in(text: str) -> str | None:
    raw = text.encode("utf-8", "surrogatepass")
    if b"xx" not in raw.translate(_FIRST_BYTES, _CONTINUATION):
        # No two characters beyond ASCII stand together, as in most languages: only these are a sign when alone.
        if b"\xc2" not in raw and "\ufffd" not in text and "&Atilde;" not in text:
            return None
    found = _CERTAIN.search(text)
    if found:
        return _around(text, found.start())
    misread = 0
    first = -1
    for run in _HIGH.finditer(text):
        places = _misread(run[0])
        if places:
            misread += places
            first = run.start() if first < 0 else first
            if misread >= 2:
                return _around(text, first)
    return _misread_cyrillic(text)


def _misread(run: str) -> int:
    """Return how many characters of a run of Latin-1 or CP1252 characters are really UTF-8; 2 if one alone is
    certain."""
    code = run.translate(_BYTES).encode("latin-1")
    count = position = 0
    while position < len(code):
        lead = code[position]
        size = 2 if 0xC2 <= lead <= 0xDF else 3 if 0xE0 <= lead <= 0xEF else 4 if 0xF0 <= lead <= 0xF4 else 1
        piece = code[position : position + size]
        if size > 1:
            try:
                character = piece.decode()
            except UnicodeDecodeError:
                position += 1
                continue
            # Ã© and â€™ mean nothing in any language; others, as in "Spaß“", may stand together by right.
            count += 2 if lead in b"\xc2\xc3\xe2\xf0" else 1 if 0x100 <= ord(character) < 0x530 or size == 3 else 0
        position += max(1, size)
    return count


def _around(text: str, place: int) -> str:
    return f"…{' '.join(text[max(0, place - 20) : place + 30].split())}…"
