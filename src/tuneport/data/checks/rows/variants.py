"""Texts that were meant to be the same and are not: system prompts and labels in several spellings."""

from __future__ import annotations

import re
from collections import Counter
from difflib import SequenceMatcher

from tuneport.data.checks.near.line_index import RowLineIndex

FREQUENT = 0.1  # share of the rows with a prompt, for its near twins to be accidents of it
MAX_VARIANT = 0.1  # of the frequent one's rows; above it, a variant is meant
MAX_FILLINGS = 5  # different words in one place: more are a slot of a template, filled on purpose
TYPO = 0.75  # with this similarity of two words, one is the other misspelt

MAX_MISSPELT = 0.05  # of the rows of the label that was meant
MIN_MISSPELT = 5  # letters of a label

_NO_WORD = re.compile(r"[\W_]+")
_LABEL_GAP = re.compile(r"[\s_-]+")
_LABEL_END = " \t\r\n.,;:!?\"'`“”‘’«»*"


def prompt_variants(prompts: RowLineIndex[str]) -> dict[str, tuple[str, str]]:
    """Return for each prompt that varies by accident the intended one, and the difference."""
    found: dict[str, tuple[str, str]] = {}
    spelt: dict[str, str] = {}
    for prompt in prompts:
        usual = spelt.setdefault(_NO_WORD.sub(" ", prompt.casefold()).strip(), prompt)
        if usual is not prompt:
            found[prompt] = (usual, "case, space or punctuation")
    frequent = [
        prompt for prompt in prompts if prompts.count(prompt) >= FREQUENT * prompts.rows and prompt not in found
    ]
    for usual in frequent:
        for prompt, what in _one_word_away(prompts, usual).items():
            found.setdefault(prompt, (usual, what))
    return found


def _one_word_away(prompts: RowLineIndex[str], usual: str) -> dict[str, str]:
    """Return the rare prompts that differ from a frequent one by one word, and the difference; words that fill a slot
    are meant."""
    found: dict[str, str] = {}
    words = Counter(_words(usual))
    most = MAX_VARIANT * prompts.count(usual)
    replaced: dict[str, dict[str, str]] = {}
    for prompt in prompts:
        if prompt == usual or prompts.count(prompt) > most:
            continue
        change = _one_word(words, Counter(_words(prompt)))
        if change is None:
            continue
        gone, new = change
        if gone and new and SequenceMatcher(None, gone, new).ratio() >= TYPO:
            found[prompt] = f"{new!r} for {gone!r}"
        else:
            replaced.setdefault(gone, {})[prompt] = new
    for gone, fillings in replaced.items():
        if gone and len(set(fillings.values())) > MAX_FILLINGS:
            continue
        for prompt, new in fillings.items():
            found[prompt] = (
                f"{new!r} for {gone!r}" if gone and new else f"{gone!r} left out" if gone else f"{new!r} added"
            )
    return found


def _words(text: str) -> list[str]:
    return _NO_WORD.sub(" ", text.casefold()).split()


def _one_word(one: Counter[str], other: Counter[str]) -> tuple[str, str] | None:
    """Return the one word in which each differs from the other, or None if more differ, or numbers do."""
    if one.total() < 4 or abs(one.total() - other.total()) > 1:
        return None
    gone, new = list((one - other).elements()), list((other - one).elements())
    if len(gone) > 1 or len(new) > 1 or not (gone or new):
        return None
    pair = gone[0] if gone else "", new[0] if new else ""
    return None if any(letter.isdigit() for letter in "".join(pair)) else pair


def label_spelling_key(label: str) -> str:
    """Return the key by which spellings are one label: case, space, `_` and `-`, and punctuation around do not
    count."""
    return _LABEL_GAP.sub("", label.casefold()).strip(_LABEL_END)


def label_variants(labels: RowLineIndex[str]) -> dict[str, str]:
    """Return for each rarer spelling of a label the usual one: other case, space or marks, a prefix, or one misspelt
    word."""
    usual: dict[str, str] = {}
    rows: Counter[str] = Counter()
    found: dict[str, str] = {}
    for label in labels:
        key = label_spelling_key(label) or label
        rows[key] += labels.count(label)
        first = usual.setdefault(key, label)
        if first is not label:
            found[label] = first
    for label in labels:
        key = label_spelling_key(label) or label
        prefix, colon, rest = label.rpartition(":")
        meant = label_spelling_key(rest) if colon and prefix else ""
        if meant not in usual:
            meant = _misspelt(key, rows)
        if meant and meant != key and rows[key] <= MAX_MISSPELT * rows[meant]:
            found[label] = usual[meant]
    return found


def _misspelt(key: str, rows: Counter[str]) -> str:
    """Return the much more frequent label that differs from this one in one letter, else nothing.

    Not if the first letter differs (moral, amoral), nor a digit, nor in short words (cat, car): those are other words.
    """
    for other, count in rows.items():
        if rows[key] <= MAX_MISSPELT * count and other[:1] == key[:1] and abs(len(other) - len(key)) <= 1:
            if min(len(key), len(other)) >= MIN_MISSPELT and _one_letter_apart(key, other):
                return other
    return ""


def _one_letter_apart(one: str, other: str) -> bool:
    """Return whether one letter more, less or another, or two exchanged neighbours, are the only difference."""
    start = 0
    while start < min(len(one), len(other)) and one[start] == other[start]:
        start += 1
    rest, rest_of_other = one[start:], other[start:]
    if any(letter.isdigit() or not letter.isalpha() for letter in rest[:1] + rest_of_other[:1]):
        return False
    return (
        rest[1:] == rest_of_other
        or rest == rest_of_other[1:]
        or rest[1:] == rest_of_other[1:]
        or (rest[:2] == rest_of_other[1::-1] and rest[2:] == rest_of_other[2:])
    )
