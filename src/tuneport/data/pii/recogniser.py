"""Recognisers and their matches."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

CONTEXT_BEFORE = 60  # characters in which a word may say what a number is
CONTEXT_AFTER = 40


@dataclass(frozen=True)
class PIIMatch:
    """`start` and `end` bound it in the text; `masked` shows its shape, and the kind of an issued key, and hides the
    rest."""

    kind: str
    masked: str
    start: int = 0
    end: int = 0


@dataclass(frozen=True)
class Recogniser:
    """A shape with what makes it more than a shape.

    `digits` is how many digits a value can have. `cut` shortens what the pattern found to what belongs to it,
    `accept` is the check. With `context`, a word must stand near (60 characters before, 40 after) that says what the
    number is; `unless_named` gives up a number which the words right before it call something else.
    """

    kind: str
    digits: range
    pattern: re.Pattern[str]
    accept: Callable[[str], bool]
    context: re.Pattern[str] | None = None
    unless_named: bool = False
    cut: Callable[[str], str] | None = None

    def search(self, text: str, start: int, end: int) -> list[tuple[int, int]]:
        """Return the spans within `text[start:end]` that it recognises."""
        spans = []
        for found in self.pattern.finditer(text, start, end):
            first, last = found.span()
            value = found[0]
            if self.cut is not None:
                value = self.cut(value)
                last = first + len(value)
            if value and self._fits(text, first, last) and self.accept(value):
                spans.append((first, last))
        return spans

    def _fits(self, text: str, first: int, last: int) -> bool:
        if self.unless_named and _OTHER_NAME.search(text, max(0, first - 32), first):
            return False
        return self.context is None or is_word_nearby(self.context, text, first, last)


_OTHER_NAME = re.compile(
    r"(?:order|track|tracking|invoice|isbn|issn|ean|upc|gtin|imei|serial|ticket|part|sku|model|version|build|release|"
    r"article|batch|lot|case|reference|ref|transaction|artikel|bestell|auftrags?|rechnungs?|sendungs?|commande|facture|"
    r"suivi|pedido|factura|seguimiento|ordine|fattura|uuid|guid|hash|commit|doi|timestamp)"
    r"[ _-]?(?:id|no|nr|num|number|nummer|code|numéro|número|numero|n°|nº)?"
    r"(?: (?:is|was|ist|est|es|è))?[\s.:#='\"]{0,4}\Z",
    re.IGNORECASE,
)


def is_word_nearby(words: re.Pattern[str], text: str, first: int, last: int) -> bool:
    """Return whether one of the words stands near `text[first:last]`."""
    before = words.search(text, max(0, first - CONTEXT_BEFORE), first)
    return bool(before or words.search(text, last, last + CONTEXT_AFTER))


def whole_words(*alternatives: str) -> re.Pattern[str]:
    """Compile a pattern for any of these, as whole words; a hyphen, an underscore or a digit may follow."""
    return re.compile(rf"(?<![^\W_])(?:{'|'.join(alternatives)})(?![^\W\d_])", re.IGNORECASE)


@cache
def stdnum_module(name: str) -> Any:
    """Return a module of python-stdnum, loaded when the first number is checked: it brings `ssl` and `pydoc`."""
    return import_module(f"stdnum.{name}")


def mask(kind: str, value: str, issued: str = "") -> str:
    """Return the value with most of it hidden; `issued` says what kind of key it is, if that is known."""
    if kind == "email":
        name, _, domain = value.partition("@")
        return f"{name[:1]}***@{domain[:1]}***.{domain.rpartition('.')[2]}"
    if kind == "api_key":
        return f"{value[:4]}*** ({issued})" if issued else f"{value[:4]}***"
    if kind in ("secret", "url_credentials"):
        return f"{value[:1]}***"
    return f"{value[:2]}***{value[-2:]}"
