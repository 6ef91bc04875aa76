"""The advisor against scenarios that were labelled apart from its rules. `benchmarks/advice.py` prints the same."""

from __future__ import annotations

import tomllib
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.advice import SCENARIOS, precision, recall, score
from tuneport.advisor import Approach


def test_the_advisor_agrees_with_people(capsys: pytest.CaptureFixture[str]) -> None:
    found = score()
    with capsys.disabled():
        print("", *found.lines(), sep="\n")
    assert found.scenarios >= 40
    assert found.share >= 0.9 and found.strict >= 0.85 * found.scenarios
    assert recall(found.refusals) >= 0.9 and precision(found.refusals) >= 0.9
    assert recall(found.pitfalls) >= 0.9 and precision(found.pitfalls) >= 0.9


def test_every_answer_is_among_the_labels_and_most_are_not_to_fine_tune() -> None:
    answers = Counter(row["answer"] for row in tomllib.loads(SCENARIOS.read_text())["scenario"])
    assert set(answers) == {approach.value for approach in Approach}
    assert sum(count for answer, count in answers.items() if not Approach(answer).trains) >= 20


def test_a_wrong_label_lowers_the_score(tmp_path: Path) -> None:
    """So that the agreement above means something."""
    text = SCENARIOS.read_text(encoding="utf-8").replace('answer = "prompt"', 'answer = "continued-pretraining"')
    other = tmp_path / "scenarios.toml"
    other.write_text(text, encoding="utf-8")
    before, after = score(), score(other)
    assert after.strict < before.strict and precision(after.refusals) < precision(before.refusals)
