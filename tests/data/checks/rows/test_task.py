"""The guess of the task, and its reason."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.folders import FIXTURES
from tuneport.data.checks.rows.task import MAX_CLASSES, DatasetTaskGuess
from tuneport.data.reading import read_records
from tuneport.data.rows.text import record_messages_as_text, split_record_answer

MEDICAL = [
    "The patient has chronic hypertension; raise the dosage to {0} mg and check renal function in {0} weeks.",
    "An MRI of the lesion and a biopsy come first. Without a diagnosis no therapy is started in week {0}.",
    "Antibiotics do not help against this infection. Treat the symptoms and watch patient {0} for a fever.",
]


def guess(
    answer: Callable[[int], str], question: Callable[[int], str] = lambda i: f"Text {i}", rows: int = 60
) -> DatasetTaskGuess:
    found = DatasetTaskGuess()
    for i in range(rows):
        found.add(answer(i), question(i))
    return found


@pytest.mark.parametrize(
    ("name", "answer", "question", "reason"),
    [
        ("classification", lambda i: ("yes", "No ")[i % 2], None, "only 2 different ones"),
        ("classification", lambda i: f"label {i % 12}", None, "only 12 different ones"),
        ("extraction", lambda i: json.dumps({"name": f"n{i}"}), None, "100% of the answers are JSON"),
        ("extraction", lambda i: f'```json\n{{"n": {i}}}\n```', None, "JSON"),
        ("extraction", lambda i: f'look_up({{"order": {i}}})', None, "calls of tools"),
        ("extraction", lambda i: f"Name: lamp {i}\nColour: red\nPrice: {i} EUR", None, "`name: value`"),
        ("code", lambda i: f"def f{i}(x):\n    return x + {i}", None, "have code"),
        ("code", lambda i: f"Use this:\n```js\nlet a = {i};\n```", None, "have code"),
        ("code", lambda i: f"SELECT name FROM lamps WHERE id = {i}", None, "have code"),
        ("domain", lambda i: MEDICAL[i % 3].format(i), None, "speak of medicine"),
        (
            "style",
            lambda i: f"Arr, the lamp {i} be in the hold, matey.",
            lambda i: "Rewrite it as a pirate.",
            "a persona",
        ),
        ("style", lambda i: f"The lamp with the number {i} stands in the hall near the door.", None, "nothing points"),
    ],
)
def test_each_task_and_why(
    name: str, answer: Callable[[int], str], question: Callable[[int], str] | None, reason: str
) -> None:
    found = guess(answer, question) if question else guess(answer)
    assert (found.name, reason in found.reason) == (name, True), found.reason


def test_a_few_defects_do_not_hide_a_classification() -> None:
    found = guess(lambda i: ("yes", "no", "maybe")[i % 3], rows=95)
    for text in (
        "",
        "I'm sorry, but as an AI language model I can't tell you what the label of this text should be.",
        "Yse",
    ):
        found.add(text)
    assert found.name == "classification"


def test_short_answers_that_are_no_labels() -> None:
    assert guess(lambda i: f"Lamp {i} is there.").name == "style"
    assert guess(lambda i: f"city {i}" if i % 2 else "yes").name == "style"


def test_it_is_the_same_however_it_is_divided() -> None:
    answers = [("yes", "No", "YES ", MEDICAL[i % 3].format(i), f"Name: {i}\nSize: {i}")[i % 5] for i in range(200)]
    whole, one, other = DatasetTaskGuess(), DatasetTaskGuess(), DatasetTaskGuess()
    for i, text in enumerate(answers):
        whole.add(text)
        (one, other)[i % 2].add(text)
    other.merge(pickle.loads(pickle.dumps(one.state())))
    assert (other.rows, other.name, other.reason, other.classes) == (
        whole.rows,
        whole.name,
        whole.reason,
        whole.classes,
    )


def test_memory_is_bounded() -> None:
    found = guess(lambda i: f"answer {i}", rows=3 * MAX_CLASSES)
    assert len(found.classes) == MAX_CLASSES and found.name == "style"


def test_the_demo_and_real_files(shared_data: Path) -> None:
    names = {}
    files = [*sorted(shared_data.glob("*.json*")), FIXTURES / "datasets" / "support_intents.train.jsonl"]
    for path in files:
        found = DatasetTaskGuess()
        for _, record in read_records(path):
            context, answer = split_record_answer(record)
            found.add(record_messages_as_text(answer), record_messages_as_text(context))
        names[path.name.split("_")[0]] = found.name
    general = dict.fromkeys(("alpaca", "dpo", "glaive", "gpt", "toy"), "style")
    assert names == {**general, "support": "classification"}
