"""What is said and what the data shows, put together."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import tuneport
from tests.support.folders import FIXTURES
from tuneport.advisor import Approach, Need, Task, Tried
from tuneport.errors import ConfigError
from tuneport.workflows.advise import advise_option, gather_advice_facts

TRAIN = FIXTURES / "datasets" / "support_intents.train.jsonl"
TEST = FIXTURES / "datasets" / "support_intents.test.jsonl"
TRIED = {"prompt": "fails", "few_shot": "partly"}


def write(path: Path, pairs: list[tuple[str, str]], **columns: str) -> Path:
    rows = [
        {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}], **columns}
        for question, answer in pairs
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_the_data_says_the_task_the_count_and_what_is_held_out() -> None:
    made = tuneport.advise(TRAIN, need=["task"], validation=TEST, **TRIED)
    situation = made.situation
    assert (situation.task, situation.examples, situation.has_evaluation) == (Task.CLASSIFICATION, 240, True)
    assert situation.inconsistent == 0 and situation.generated_only is None
    assert made.advice.approach is Approach.FINE_TUNE and made.fine_tune
    evidence = {pitfall.name: pitfall.evidence for pitfall in made.advice.pitfalls}
    assert "240 records" in evidence["too few examples"] and "80 records held out" in evidence["no evaluation set"]


def test_a_held_out_file_that_leaks_is_no_evaluation_set() -> None:
    made = tuneport.advise(TRAIN, need=["task"], validation=TRAIN, **TRIED)
    pitfall = next(each for each in made.advice.pitfalls if each.name == "no evaluation set")
    assert pitfall.applies and "leak" in pitfall.evidence


def test_data_that_contradicts_itself_is_told_with_its_lines(tmp_path: Path) -> None:
    pairs = [(f"Where is parcel {number}, please?", "tracking") for number in range(60)]
    pairs += [(f"Where is parcel {number}, please?", "refund") for number in range(30)]
    made = tuneport.advise(write(tmp_path / "data.jsonl", pairs), need=["behaviour"], **TRIED)
    assert made.situation.inconsistent == pytest.approx(30 / 90)
    pitfall = next(each for each in made.advice.pitfalls if each.name == "inconsistent format")
    assert pitfall.applies and "30 of 90 rows (33%)" in pitfall.evidence and "line" in pitfall.evidence
    assert made.advice.approach is Approach.FEW_SHOT


def test_data_that_is_marked_as_generated_and_checked_by_nobody_is_a_pitfall(tmp_path: Path) -> None:
    pairs = [(f"Question number {number}?", f"An answer about {number} things.") for number in range(40)]
    made = tuneport.advise(write(tmp_path / "data.jsonl", pairs, generated_by="gpt-4.1"), need=["style"], **TRIED)
    pitfall = next(each for each in made.advice.pitfalls if each.name == "generated data only")
    assert pitfall.applies and "40 records" in pitfall.evidence
    people = tuneport.advise(tmp_path / "data.jsonl", need=["style"], generated_only=False, **TRIED)
    assert people.situation.generated_only is False  # what is said goes before what the data shows
    assert "generated_only" not in people.situation.evidence


def test_plain_text_is_text_to_learn_from_and_no_example(tmp_path: Path) -> None:
    path = tmp_path / "corpus.jsonl"
    path.write_text("".join(json.dumps({"text": f"Paragraph {number} of the corpus."}) + "\n" for number in range(30)))
    situation = tuneport.advise(path, need=["language"]).situation
    assert situation.examples == 0 and situation.text_tokens and situation.task is None


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"need": ["speed"]}, "'speed' is no need; known: task, format"),
        ({"need": ["style"], "prompt": "perhaps"}, "'perhaps' is no result of the prompt"),
        ({"need": []}, "say what has to change"),
        ({"need": ["style"], "validation": TEST}, "give DATA as well"),
    ],
)
def test_what_makes_no_sense_is_one_line(said: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        tuneport.advise(**said)  # type: ignore[arg-type]


def test_the_document_has_it_all() -> None:
    document = json.loads(
        json.dumps(advise_option(gather_advice_facts(needs=["knowledge", "style"], sources=True)).as_dict())
    )
    assert document["fine_tune"] is False and document["approach"] == "rag" and document["reason"]
    assert document["situation"]["needs"] == [Need.KNOWLEDGE, Need.STYLE]
    assert document["situation"]["prompt"] == Tried.NO
    assert len(document["options"]) == 7 and len(document["pitfalls"]) == 8
