"""The ways in which two answers count as the same. Each way has a name, so that a score names its rule."""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Callable, Mapping

from tuneport.data.checks.rows.shapes import parse_row_answer_json, strip_row_code_fence

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?|-?\.\d+")


def normalise_answer(text: str) -> str:
    """Normalise text: NFKC, case folded, white space collapsed, a final full stop dropped."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split()).removesuffix(".")


def is_same_answer(expected: str, answer: str) -> bool:
    return normalise_answer(expected) == normalise_answer(answer)


def same_characters(expected: str, answer: str) -> bool:
    return expected == answer


def same_words(expected: str, answer: str) -> bool:
    """Compare as SQuAD's evaluation does (Rajpurkar 2016): lower case, without punctuation and English articles."""
    return _squad(expected) == _squad(answer)


def same_json(expected: str, answer: str) -> bool:
    """Compare as JSON values; key order, space and a code fence do not matter. Compares the text if no JSON is
    expected."""
    want = parse_json_answer(expected)
    return is_same_answer(expected, answer) if want is None else want == parse_json_answer(answer)


def same_number(expected: str, answer: str) -> bool:
    """Compare the last number of each, since answers to sums may show their working; commas for thousands are
    ignored."""
    want, got = _last_number(expected), _last_number(answer)
    return want is not None and want == got


SAME: Mapping[str, Callable[[str, str], bool]] = {
    "text": is_same_answer,
    "strict": same_characters,
    "squad": same_words,
    "json": same_json,
    "number": same_number,
}
"""The ways, by their names in `exact_match:NAME`."""


def parse_json_answer(text: str) -> object:
    """Parse an object or a list, with or without a code fence. Returns None for anything else."""
    inside = strip_row_code_fence(text)
    return parse_row_answer_json(text if inside is None else inside)


def _squad(text: str) -> str:
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split())


def _last_number(text: str) -> float | None:
    found = _NUMBER.findall(text)
    return float(found[-1].replace(",", "")) if found else None
