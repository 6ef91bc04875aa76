"""Texts that were meant to be the same and are not: system prompts and labels in several spellings."""

from __future__ import annotations

import re
from collections import Counter
from difflib import SequenceMatcher

from tuneport.data.checks.places import Places

DOMINANT = 0.5  # share of the rows with a prompt, for its near twins to be accidents of it
MAX_VARIANT = 0.1  # of the dominant one's rows; above it, a variant is meant
MAX_FILLINGS = 5  # different words in one place: more are a slot of a template, filled on purpose
TYPO = 0.75  # similarity of two words, from which one is the other misspelt

_NO_WORD = re.compile(r"[\W_]+")
_LABEL_END = " \t\r\n.,;:!?\"'`“”‘’«»*"


def prompt_variants(prompts: Places[str]) -> dict[str, tuple[str, str]]:
    """For each prompt that varies by accident: the one it was meant to be, and what differs."""
    found: dict[str, tuple[str, str]] = {}
    spelt: dict[str, str] = {}
    for prompt in prompts:
        usual = spelt.setdefault(_NO_WORD.sub(" ", prompt.casefold()).strip(), prompt)
        if usual is not prompt:
            found[prompt] = (usual, "case, space or punctuation")
    dominant = next(iter(prompts), "")
    if prompts.count(dominant) < DOMINANT * prompts.rows:
        return found
    words = Counter(dominant.split())
    most = MAX_VARIANT * prompts.count(dominant)
    replaced: dict[str, dict[str, str]] = {}
    for prompt in prompts:
        if prompt == dominant or prompt in found or prompts.count(prompt) > most:
            continue
        change = _one_word(words, Counter(prompt.split()))
        if change is None:
            continue
        gone, new = change
        if gone and new and SequenceMatcher(None, gone.casefold(), new.casefold()).ratio() >= TYPO:
            found[prompt] = (dominant, f"{new!r} for {gone!r}")
        else:
            replaced.setdefault(gone, {})[prompt] = new
    for gone, fillings in replaced.items():
        if gone and len(fillings) > MAX_FILLINGS:
            continue
        for prompt, new in fillings.items():
            what = f"{new!r} for {gone!r}" if gone and new else f"{gone!r} left out" if gone else f"{new!r} added"
            found[prompt] = (dominant, what)
    return found


def _one_word(one: Counter[str], other: Counter[str]) -> tuple[str, str] | None:
    """The word that only one has and the word that only the other has; None if more differ, or numbers do."""
    if one.total() < 4 or abs(one.total() - other.total()) > 1:
        return None
    gone, new = list((one - other).elements()), list((other - one).elements())
    if len(gone) > 1 or len(new) > 1 or not (gone or new):
        return None
    pair = gone[0] if gone else "", new[0] if new else ""
    return None if any(letter.isdigit() for letter in "".join(pair)) else pair


def label_key(label: str) -> str:
    """Labels of one key are one label: case, space, `_` and `-` for space, and punctuation around do not tell apart."""
    return " ".join(label.casefold().replace("_", " ").replace("-", " ").split()).strip(_LABEL_END)


def label_variants(labels: Places[str]) -> dict[str, str]:
    """For each rarer spelling of a label, the usual one."""
    usual: dict[str, str] = {}
    found: dict[str, str] = {}
    for label in labels:
        first = usual.setdefault(label_key(label) or label, label)
        if first is not label:
            found[label] = first
    return found
