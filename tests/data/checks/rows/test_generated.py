"""What is marked as generated is counted; what only reads so is said of the whole and of no record."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

from tests.data.checks.rows.test_answers import example, examples
from tests.support.rows import chat
from tuneport.data.checks.finding import Finding
from tuneport.data.checks.rows.generated import GeneratedTextCheck
from tuneport.data.reading import read_records

PEOPLE = [
    "Yep, got it. Take the number 4 bus to the depot and ask for Ray, he has had your lamp since Tuesday.",
    "Two screws under the base, undo both. The plate drops off and the fuse sits right behind it, the small glass one.",
    "No refund on bulbs once they are out of the box. We can swap it though if you still have the slip from the till.",
]
MODELS = [
    "Certainly! It's important to note that lamps come in a wide range of styles. I hope this helps you choose.",
    "Great question! Let us delve into the rich tapestry of lamps, a testament to all. Feel free to ask.",
    "Of course! Lamps play a crucial role in every home, from the hall to the kitchen. Let me know if you need more.",
]


def judged(rows: list[dict[str, Any]]) -> tuple[GeneratedTextCheck, Finding]:
    check = GeneratedTextCheck()
    for each in examples(rows):
        check.add(each)
    return check, check.finding()


def rows(answers: list[str], count: int = 60, **columns: Any) -> list[dict[str, Any]]:
    return [chat(f"Lamp {i}?", f"{answers[i % len(answers)]} ({i})", **columns) for i in range(count)]


@pytest.mark.parametrize(
    "columns",
    [
        {"synthetic": True},
        {"is_generated": "yes"},
        {"generated_by": "our pipeline"},
        {"generator": "gpt-4o"},
        {"model": "claude-3-opus"},
        {"source": "GPT-4"},
        {"source": "self-instruct"},
        {"origin": "AI generated"},
        {"metadata": {"source": "synthetic"}},
        {"tags": ["lamps", "AI-generated"]},
        {"source": "llama3"},
    ],
)
def test_marks_of_generated_data(columns: dict[str, Any]) -> None:
    check, finding = judged(rows(PEOPLE, **columns))
    assert (finding.verdict, finding.count) == ("warn", 60)
    assert finding.message == "60 records (100%) marked as generated, none as checked by people"
    assert list(check.hits.lines["marked"]) == list(range(1, 61))


@pytest.mark.parametrize(
    "columns",
    [
        {"synthetic": False},
        {"source": "support desk"},
        {"source": "machine learning textbook"},
        {"source": "Palm Springs travel guide"},
        {"annotator": "anna"},
        {"generator": "human"},
        {"id": "gpt-4"},
        {"model": ""},
        {"tags": ["generated income", "reviewed"]},
    ],
)
def test_what_is_no_mark(columns: dict[str, Any]) -> None:
    finding = judged(rows(PEOPLE, **columns))[1]
    assert (finding.verdict, finding.count) == ("pass", 0)


def test_data_that_people_checked_will_do() -> None:
    generated = rows(MODELS, 60, source="gpt-4")
    checked = rows(MODELS, 6, source="gpt-4", validated_by="ray")
    assert judged(generated)[1].verdict == "warn"
    finding = judged([*generated, *checked])[1]
    assert finding.verdict == "pass" and "6 records as checked by people" in finding.message
    assert judged([*generated[:30], *rows(PEOPLE, 60, source="human")])[1].verdict == "pass"


def test_answers_that_read_like_a_model() -> None:
    finding = judged(rows(MODELS))[1]
    assert (finding.verdict, finding.count, finding.evidence) == ("warn", 0, ())
    assert "none is marked as generated, but the answers read as a model's" in finding.message
    assert finding.details["signs"]["phrases"] > 0.5
    few = judged([*rows(PEOPLE, 100), *rows(MODELS, 5)])[1]
    assert few.verdict == "pass"
    assert judged(rows(MODELS, 10))[1].verdict == "pass"  # too few to say


def test_it_is_the_same_however_it_is_divided() -> None:
    both = [*rows(MODELS), *rows(PEOPLE, 20, source="gpt-4"), *rows(PEOPLE, 5, reviewed=True)]
    whole = judged(both)[1]
    one, other = GeneratedTextCheck(), GeneratedTextCheck()
    for each in examples(both):
        (one, other)[each.line % 2].add(each)
    other.merge(pickle.loads(pickle.dumps(one.state())))
    assert other.finding() == whole


def test_real_files_have_no_marks(shared_data: Path) -> None:
    """All three are a model's answers. glaive's read so; alpaca's and dpo's show fewer signs than are needed."""
    verdicts = {}
    for name in ("alpaca_en_demo.json", "glaive_toolcall_en_demo.json", "dpo_en_demo.json"):
        check = GeneratedTextCheck()
        for line, record in read_records(shared_data / name):
            check.add(example(line, record))
        assert check.finding().count == 0
        verdicts[name.split("_")[0]] = check.finding().verdict.value
    assert verdicts == {"alpaca": "pass", "glaive": "warn", "dpo": "pass"}
