"""Text of others (a provider, a dataset, a model, a file) in a form that a terminal shows and never interprets."""

from __future__ import annotations

from unicodedata import category


def visible(words: object) -> str:
    """Return text of many lines with U+FFFD for control characters and for invisible ones or those that change the
    direction of others."""
    text = str(words)
    return text if text.isprintable() else "".join(each if _is_seen(each) else "\ufffd" for each in text)


def _is_seen(mark: str) -> bool:
    return mark.isprintable() or mark in "\n\t" or category(mark) == "Zs"


def plain(words: object) -> str:
    """Return text of others on one line for a console: without markup or control characters."""
    from rich.markup import escape

    return escape(readable(words))


def readable(words: object) -> str:
    """Return text of others on one line without control characters."""
    return visible(" ".join(str(words).split()))
