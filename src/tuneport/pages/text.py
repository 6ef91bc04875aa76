"""Anything at all as text of a page."""

from __future__ import annotations

from html import escape


def html_text(value: object, most: int = 2000) -> str:
    """Return any value as HTML that can neither end its element nor turn the direction of its neighbours."""
    return f'<bdi dir="auto">{escape_html(value, most)}</bdi>'


def escape_html(value: object, most: int = 2000) -> str:
    """Escape text, cut to `most` characters; what has no place in a document (controls, half surrogates) is U+FFFD."""
    return escape(printable_html_text(value, most), quote=True)


def printable_html_text(value: object, most: int = 2000) -> str:
    """Return the same without escaping: for templates that escape by themselves."""
    plain = str(value)
    if len(plain) > most:
        plain = f"{plain[:most]}…"
    return "".join(each if _allowed(each) else "\ufffd" for each in plain)


def _allowed(character: str) -> bool:
    if character in "\n\t":
        return True
    return not (character < " " or "\x7f" <= character <= "\x9f" or "\ud800" <= character <= "\udfff")
