"""Text of others (a provider, a dataset, a model, a file) in a form that a terminal shows and never interprets."""

from __future__ import annotations

from unicodedata import category


def terminal_text(words: object) -> str:
    """Return text of many lines with U+FFFD for control characters and for invisible ones or those that change the
    direction of others."""
    text = str(words)
    return text if text.isprintable() else "".join(each if _is_seen(each) else "\ufffd" for each in text)


def _is_seen(mark: str) -> bool:
    return mark.isprintable() or mark in "\n\t" or category(mark) == "Zs"


def escape_markup(words: object) -> str:
    """Return text of others on one line for a console: without markup or control characters."""
    from rich.markup import escape

    return escape(terminal_line(words))


def terminal_line(words: object) -> str:
    """Return text of others on one line without control characters."""
    return terminal_text(" ".join(str(words).split()))
