"""Spoiled answers: nothing there, cut off, over-long, in a loop, in another language."""

from __future__ import annotations

import re
from random import Random
from typing import Any

from tests.data.planted import prose
from tests.data.planted.languages import SENTENCES
from tests.data.planted.planting import answer, asked, with_answer

Spoiled = tuple[str, dict[str, Any]] | None

FUNCTION_WORDS = frozenset(
    "the a an of to and or with for in on at by from that which is are was because than as".split()
)
BLANK = ("", " ", "\n", "\n\n", "\t", " \n ", "\u00a0", "\u200b", "\ufeff", "\u3000")
PLACEHOLDERS = ("...", "-", "\u2014", "N/A", "n/a", "TODO", "null", "None", "[]", "\u2026")


def is_prose(text: str) -> bool:
    """Plain sentences: nothing in it that may end without a full stop."""
    return (
        text.rstrip()[-1:] in ".!?" and text[:1].isupper() and not re.search(r"[`|<>{}*#=_\n\[\]]|https?:|\d\.\s", text)
    )


def empty(row: dict[str, Any], rng: Random) -> Spoiled:
    if rng.random() < 0.8:
        return "blank", with_answer(row, rng.choice(BLANK))
    return "placeholder", with_answer(row, rng.choice(PLACEHOLDERS))


def untrained(row: dict[str, Any], rng: Random) -> Spoiled:
    """No assistant message is in the loss: the record costs and teaches nothing."""
    answers = [message for message in row["messages"] if message["role"] == "assistant"]
    for message in answers:
        message["weight"] = 0
    return "one answer" if len(answers) == 1 else "several answers", row


def truncated(row: dict[str, Any], rng: Random) -> Spoiled:
    """Cut in the second half of the text, within a sentence."""
    text = answer(row)
    if not is_prose(text) or len(text) < 150:
        return None
    variant = rng.choices(("in a word", "after a function word", "after a comma", "after a word"), (35, 35, 10, 20))[0]
    words = [match for match in re.finditer(r"[A-Za-z]+", text) if len(text) * 0.4 < match.start() < len(text) - 25]
    rng.shuffle(words)
    for word in words:
        end = word.end()
        if variant == "in a word" and len(word[0]) >= 6:
            end = word.start() + rng.randint(2, len(word[0]) - 2)
        elif variant == "after a function word" and word[0] in FUNCTION_WORDS and text[end] == " ":
            pass
        elif variant == "after a comma" and text[end] == ",":
            end += 1
        elif variant == "after a word" and len(word[0]) >= 4 and text[end] == " " and word[0] not in FUNCTION_WORDS:
            pass
        else:
            continue
        return variant, with_answer(row, text[:end])
    return None


def overlong(row: dict[str, Any], rng: Random) -> Spoiled:
    """Sensible prose of 12,000 to 30,000 characters, where the others have a few hundred."""
    size, parts = rng.randint(12_000, 30_000), [answer(row)]
    if not is_prose(parts[0]):
        return None
    while sum(map(len, parts)) < size:
        parts.append(prose.paragraph(rng, rng.randint(4, 8)))
    return "prose", with_answer(row, "\n\n".join(parts))


def repeated(row: dict[str, Any], rng: Random) -> Spoiled:
    """What a model in a loop writes: a sentence, line, phrase, word or character without end."""
    text = answer(row)
    if not is_prose(text) or len(text) < 80:
        return None
    variant = rng.choice(("sentence", "line", "phrase", "word", "character", "paragraph", "list"))
    sentences = re.split(r"(?<=[.!?]) ", text)
    times = rng.randint(10, 60)
    if variant == "sentence":
        text += " " + " ".join([sentences[-1]] * times)
    elif variant == "line":
        text += "\n" + "\n".join([sentences[0]] * times)
    elif variant == "phrase":
        words = text.rstrip(".!?").split()
        text += " " + " ".join([" ".join(words[-rng.randint(3, 6) :]) + ","] * times)
    elif variant == "word":
        text += " " + " ".join([rng.choice(("the", "and", "very", "really", "no", "yes"))] * times * 2)
    elif variant == "character":
        text = text.rstrip(".") + rng.choice("aoeh!?-_.~") * times * 5
    elif variant == "paragraph":
        text = "\n\n".join([text] * rng.randint(5, 12))
    else:
        item = " ".join(sentences[-1].split()[:8])
        text = sentences[0] + "\n" + "\n".join(f"{number}. {item}" for number in range(1, times))
    return variant, with_answer(row, text)


def other_language(row: dict[str, Any], rng: Random) -> Spoiled:
    """An English question that asks for no other language, answered in one."""
    words = "translat|language|spanish|german|french|italian|portug|japan|english|latin|foreign|accent"
    if re.search(words, asked(row), re.IGNORECASE) or len(answer(row)) < 60 or not asked(row).isascii():
        return None
    language = rng.choice(list(SENTENCES))
    gap = "" if language == "Japanese" else " "
    return language, with_answer(row, gap.join(rng.sample(SENTENCES[language], rng.randint(1, 5))))
