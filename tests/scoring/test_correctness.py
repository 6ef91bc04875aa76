"""When an answer is right, and which records can be asked and answered in text."""

from __future__ import annotations

import pytest

from tuneport.data.rows.records import Chat, ImagePart, Labelled, Message, PlainText, Preference, PromptCompletion, Tool
from tuneport.scoring.accuracy import AccuracyScore, score_accuracy
from tuneport.scoring.correctness import scored_correctness_for
from tuneport.scoring.examples import make_scoring_example
from tuneport.scoring.metrics.token_f1 import token_f1

ASKED, SAID = Message("user", "Where is it?"), Message("assistant", "On its way.")


@pytest.mark.parametrize(
    ("task", "expected", "answer", "right"),
    [
        ("classification", "refund", " Refund.", True),
        ("classification", "refund", "The label is refund", False),
        ("extraction", '{"a": 1, "b": [2]}', '```json\n{"b": [2], "a": 1}\n```', True),
        ("extraction", '{"a": 1}', '{"a": "1"}', False),
        ("extraction", '{"a": 1}', "a is 1", False),
        ("extraction", "name: Ada", "name:  Ada", True),
        ("style", "Ahoy there, matey mine", "ahoy matey", True),
        ("style", "Ahoy there, matey mine", "Good morning to you", False),
    ],
)
def test_an_answer_is_right_by_its_task(task: str, expected: str, answer: str, right: bool) -> None:
    assert scored_correctness_for(task).same(expected, answer) is right


def test_words_decide_nothing_where_the_answer_is_open() -> None:
    assert {
        task: scored_correctness_for(task).decides
        for task in ("classification", "extraction", "style", "domain", "code")
    } == {
        "classification": True,
        "extraction": True,
        "style": False,
        "domain": False,
        "code": False,
    }
    assert token_f1("a b c d", "a b x") == pytest.approx(4 / 7)
    assert token_f1("a a b", "a") == pytest.approx(0.5)
    assert token_f1("", "") == 0


def test_the_interval_is_wilsons() -> None:
    """By hand: 10 of 30, z = 1.96."""
    score = AccuracyScore(10, 30)
    assert (score.low, score.high) == pytest.approx((0.1923, 0.5122), abs=5e-4)
    assert (AccuracyScore(0, 30).low, AccuracyScore(30, 30).high) == (0.0, 1.0)
    assert score_accuracy(["?"], ["a"], ["b"], same=lambda want, got: (want, got) == ("a", "b")).correct == 1


def test_which_records_are_a_question_and_its_answer() -> None:
    developer = Message("developer", "Be brief.")
    example = make_scoring_example(Chat(messages=[developer, ASKED, SAID]))
    assert example is not None and example.expected == "On its way."
    assert [message["role"] for message in example.messages] == ["system", "user"]
    assert make_scoring_example(PromptCompletion(prompt="2+2", completion="4")) is not None
    assert (
        make_scoring_example(Preference(context=[ASKED], chosen=[SAID], rejected=[Message("assistant", "No.")]))
        is not None
    )
    image = Message("user", [ImagePart(url="https://example.com/a.png")])
    for record in (
        PlainText(text="words"),
        Labelled(messages=[ASKED, SAID], label=False),
        Chat(messages=[ASKED, SAID, ASKED]),
        Chat(messages=[image, SAID]),
        Chat(messages=[SAID]),
        Chat(messages=[ASKED, SAID], tools=[Tool("look_up")]),
    ):
        assert make_scoring_example(record) is None, record
