"""A small classifier measured on labels that words tell, that nothing tells, and that it cannot be measured on."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.support.rows import chat, write
from tuneport.workflows.advising.classical import ClassifierMeasure, measure_classifier
from tuneport.workflows.check import check

WORDS = {
    "refund": "money back refund charge wrong amount card statement bill paid twice".split(),
    "delivery": "parcel late tracking courier address arrived box door missing shipped".split(),
    "login": "password locked account sign reset code email browser session expired".split(),
}


def measured(path: Path, rows: list[tuple[str, str]]) -> ClassifierMeasure | None:
    return measure_classifier(check(write(path / "train.jsonl", [chat(*row) for row in rows]), task="classification"))


def drawn(count: int, *, told: bool) -> list[tuple[str, str]]:
    draw, labels = random.Random(7), list(WORDS)
    rows = []
    for number in range(count):
        label = labels[number % len(labels)]
        words = WORDS[label] if told else WORDS[draw.choice(labels)]
        others = ["".join(draw.choices("abcdefghijklmnop", k=6)) for _ in range(6)]
        rows.append((" ".join(draw.sample([*draw.sample(words, 4), *others], 10)), label))
    return rows


def test_labels_that_words_tell_are_learnt_and_others_are_not(tmp_path: Path) -> None:
    told = measured(tmp_path, drawn(150, told=True))
    assert told is not None and told.score.total == 150 and told.score.low > 0.95
    assert told.majority == pytest.approx(1 / 3)
    untold = measured(tmp_path, drawn(150, told=False))
    assert untold is not None and untold.score.accuracy < 0.45


def test_inputs_that_are_alike_are_not_learnt_by_heart(tmp_path: Path) -> None:
    """Each odd input stands there three times, with a word more or less, and a label that follows from nothing."""
    draw = random.Random(3)
    rows = []
    for _ in range(40):
        text = " ".join("".join(draw.choices("abcdefghij", k=8)) for _ in range(8))
        label = draw.choice(list(WORDS))
        rows += [(text, label), (f"{text} please", label), (f"so {text}", label)]
    found = measured(tmp_path, rows)
    assert found is not None and found.score.accuracy < 0.6


def test_open_answers_and_rare_labels_are_not_measured(tmp_path: Path) -> None:
    assert measured(tmp_path, [(f"question {n}", "yes" if n % 2 else "no") for n in range(30)]) is None
    texts = [chat(f"tell me of {n}", f"a long answer of its own, number {n}") for n in range(60)]
    assert measure_classifier(check(write(tmp_path / "open.jsonl", texts))) is None
