"""Copies of rows: exact, near at a measured similarity, with another answer, and leaked into a validation file."""

from __future__ import annotations

import re
from random import Random
from typing import Any

from tests.data.planted import prose
from tests.data.planted.answers import Spoiled
from tests.data.planted.planting import answer, asked, with_answer
from tests.data.planted.structured import LABELS

BANDS = {"0.75 to 0.8": (0.75, 0.8), "0.8 to 0.9": (0.8, 0.9), "0.9 to 1": (0.9, 1.0)}
NEW_WORDS = prose.listed("""
amber | basket | cedar | dolphin | ember | falcon | glacier | hamlet | ivory | jasmine | kettle | lantern | meadow |
nectar | opal | pebble | quarry | raven | saddle | timber | umbrella | velvet | willow | yonder | zephyr | anchor |
bramble | copper
""")
SYNONYMS = {
    "brought": "carried", "usually": "normally", "insists": "claims", "because": "since", "people": "folks",
    "tried": "attempted", "began": "started", "outcome": "result", "advice": "guidance", "short": "brief",
    "explain": "describe", "approach": "tackle", "handling": "managing", "although": "though", "once": "when",
    "choice": "pick", "idea": "notion", "called": "named", "later": "afterwards", "everything": "all",
    "matters": "counts", "little": "not much", "beginner": "newcomer", "setting": "scene", "whole": "entire",
}  # fmt: skip


def pairs(text: str, pattern: str = r"\w+") -> set[tuple[str, str]]:
    words = re.findall(pattern, text.lower())
    return set(zip(words, words[1:], strict=False))


def similarity(one: str, other: str, pattern: str = r"\w+") -> float:
    """Jaccard: the share of word pairs that both have, of those that either has."""
    first, second = pairs(one, pattern), pairs(other, pattern)
    return len(first & second) / len(first | second) if first | second else 1.0


def within(one: str, other: str, band: tuple[float, float]) -> bool:
    """By words of letters and digits and by words between spaces: in the band, and below 1."""
    return all(band[0] <= similarity(one, other, pattern) < band[1] for pattern in (r"\w+", r"\S+"))


def edited(text: str, band: tuple[float, float], rng: Random) -> str | None:
    """Change words one by one, anywhere, until the similarity falls into the band; None where it falls past it."""
    words = text.split(" ")
    for _ in range(len(words)):
        at = rng.randrange(len(words) - 1)
        kind = rng.choice(("replace", "replace", "drop", "insert", "swap"))
        if kind == "replace":
            words[at] = rng.choice(NEW_WORDS)
        elif kind == "drop":
            del words[at]
        elif kind == "insert":
            words.insert(at, rng.choice(NEW_WORDS))
        else:
            words[at], words[at + 1] = words[at + 1], words[at]
        changed = " ".join(words)
        if similarity(text, changed) < band[0]:
            return None
        # A band's lower half has to be met, too: stop at once in half of the cases only.
        if within(text, changed, band) and rng.random() < 0.5:
            return changed
    return None


def near_copy(row: dict[str, Any], rng: Random) -> Spoiled:
    """Question and answer are both edited into the band, and so is their whole."""
    variant = rng.choice(list(BANDS))
    band = BANDS[variant]
    if len(row["messages"]) != 2 or min(len(pairs(asked(row))), len(pairs(answer(row)))) < 50:
        return None
    for _ in range(100):
        texts = [message["content"] for message in row["messages"]]
        changed = [edited(text, band, rng) for text in texts]
        if all(changed) and within("\n".join(texts), "\n".join(map(str, changed)), band):
            for message, text in zip(row["messages"], changed, strict=True):
                message["content"] = text
            return variant, row
    return None


def exact_copy(row: dict[str, Any], rng: Random) -> Spoiled:
    """The same words; case and space may differ."""
    variant = rng.choice(("as it is", "case", "space", "case and space"))
    for message in row["messages"]:
        text = message["content"]
        if "space" in variant:
            text = rng.choice(("", " ", "\n")) + text.replace(" ", rng.choice(("  ", " \n", "\t"))) + " "
        if "case" in variant:
            text = rng.choice((text.upper(), text.lower(), text.title() if "'" not in text else text.upper()))
        message["content"] = text
    return variant, row


def contradiction(row: dict[str, Any], rng: Random) -> Spoiled:
    """The same question, word for word, with an answer that shares next to nothing."""
    return "same input", with_answer(row, _another(answer(row), rng))


def near_contradiction(row: dict[str, Any], rng: Random) -> Spoiled:
    """The same question in slightly other words (synonyms, a typo, a courtesy), with another answer."""
    text = asked(row)
    variant = rng.choice(("0.8 to 0.9", "0.9 to 1"))
    if len(row["messages"]) - (row["messages"][0]["role"] == "system") != 2 or len(pairs(text)) < 30:
        return None
    for _ in range(60):
        changed = _reworded(text, rng)
        if within(text, changed, BANDS[variant]):
            row["messages"][-2]["content"] = changed
            return variant, with_answer(row, _another(answer(row), rng))
    return None


def _another(text: str, rng: Random) -> str:
    if text in LABELS:
        return rng.choice([label for label in LABELS if label != text])
    while True:
        other = prose.paragraph(rng, rng.randint(2, 6))
        if similarity(text, other) < 0.4:
            return other


def _reworded(text: str, rng: Random) -> str:
    words = text.split(" ")
    known = [at for at, word in enumerate(words) if word.lower() in SYNONYMS]
    long = [at for at, word in enumerate(words) if word.isalpha() and len(word) > 5]
    for at in rng.sample(known, min(len(known), rng.randint(0, 2))):
        words[at] = SYNONYMS[words[at].lower()]
    if long and rng.random() < 0.5:
        at = rng.choice(long)
        words[at] = words[at][:3] + words[at][4:]
    if rng.random() < 0.3:
        words.insert(0, rng.choice(("Please:", "Hello!", "Hi,")))
    return " ".join(words)
