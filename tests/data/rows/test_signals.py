"""Columns that hold training signal stop a job; those that only look like it do not."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from tests.support.rows import chat, write
from tuneport.data.conversion.prepare import prepare_dataset
from tuneport.data.dataset import Dataset
from tuneport.data.rows.records import PlainText
from tuneport.data.rows.signals import UnusedSignals
from tuneport.errors import DatasetError

ASKED = chat("Where?", "There.")
UNTRAINED = {"messages": [ASKED["messages"][0], {**ASKED["messages"][1], "train": False}]}


def prepared(folder: Path, rows: list[dict[str, Any]], columns: dict[str, str] | None = None) -> int:
    data = Dataset(write(folder / "a.jsonl", rows), columns)
    return prepare_dataset(data, "openai", folder / "files").rows


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([{**ASKED, "image": "a"}] * 2, "a.jsonl:1: image: 2 of 2 records have it, and the model would not see it"),
        ([ASKED, {**ASKED, "Image_Path": "a.jpg"}], "a.jsonl:2: Image_Path: 1 of 2 records"),
        ([{"prompt": "a", "completion": "b", "video": "a.mp4"}], "--ignore video"),
        ([{**ASKED, "label": 1}, {**ASKED, "label": 0}], "label: 2 of 2 .* --method kto"),
        ([{**ASKED, "feedback": "bad"}], "feedback: 1 of 1 "),
        ([{**ASKED, "rating": 4}, {**ASKED, "rating": 2}], "rating: 2 of 2 "),
        ([{**ASKED, "rejected_messages": [1]}], "rejected_messages: 1 of 1 "),
        ([{**ASKED, "rejected": "Nowhere."}], "rejected: 1 of 1 .* --method dpo"),
        ([{"prompt": "a", "completion": "b", "context": "c d"}], "context: 1 of 1 .* put it into the prompt"),
        ([{"prompt": "a", "completion": "b", "documents": [{"id": 7, "text": "c d"}]}], "documents: 1 of 1 "),
        ([{"prompt": "a", "completion": "b", "system": "Be kind."}], "system: 1 of 1 "),
        ([UNTRAINED], r"messages\[\]\.train: 1 of 1 "),
        ([chat("<image>\nWhat is it?", "A cat.")], "marks of pictures in the texts: 1 of 1 "),
        ([chat("What is it? <video>", "A cat.")], "marks of pictures"),
        ([chat("Picture 1: <img>/data/1.jpg</img>\nWhat?", "A cat.")], "marks of pictures"),
    ],
)
def test_signal_that_would_be_left_out_stops_the_job(tmp_path: Path, rows: list[dict[str, Any]], told: str) -> None:
    with pytest.raises(DatasetError, match=told):
        prepared(tmp_path, rows)
    assert not list((tmp_path / "files").glob("*.jsonl"))


@pytest.mark.parametrize(
    "rows",
    [
        [{**ASKED, "id": 1, "source": "a", "category": "b"}],
        [{**ASKED, "images": [], "label": None, "system": None, "audio": ""}] * 2,
        [{**ASKED, "label": "billing"}, {**ASKED, "label": "refund"}],
        [{**ASKED, "score": 0.31}, {**ASKED, "score": 0.72}],
        [{**ASKED, "rating": 5}] * 2,
        [{**ASKED, "label": 1}] * 2,
        [{"prompt": "Given: c d. What?", "completion": "b", "context": " c d"}],
        [{"prompt": "Given: c d. What?", "completion": "b", "documents": [{"id": 7, "text": "c d"}]}],
        [{"text": "a long text", "score": 1}, {"text": "another", "score": 0}],
        [chat("Close the tag <image> in <image>a</image>", "Yes.")],
        [chat("What does the <image> element do?", "It shows one.")],
        [chat("How do I write one in HTML?", "<image>\n")],
    ],
)
def test_other_columns_and_texts_do_not(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    data = Dataset(write(tmp_path / "a.jsonl", rows))
    target = "text" if "text" in rows[0] else "openai"
    assert prepare_dataset(data, target, tmp_path / "files").rows == len(rows)


def test_all_of_them_are_named_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(DatasetError) as raised:
        prepared(tmp_path, [{**ASKED, "videos": ["a.mp4"], "rejected": "No."}, {**ASKED, "videos": ["a.mp4"]}])
    assert "videos: 2 of 2 records have it, and the model would not see it, nor rejected (1); films and" in str(
        raised.value
    )


def test_a_column_is_left_out_on_purpose_by_another_name(tmp_path: Path) -> None:
    assert prepared(tmp_path, [{**ASKED, "image": "a.jpg"}], {"ignored_image": "image"}) == 1


@pytest.mark.parametrize(("column", "value"), [("image", "a.jpg"), ("images", ["a.jpg"])])
def test_pictures_are_ignored_on_purpose(tmp_path: Path, column: str, value: Any) -> None:
    path = write(tmp_path / "a.jsonl", [{**ASKED, column: value}])
    with pytest.raises(DatasetError, match="1 of 1 records show pictures by a path"):
        prepare_dataset(path, "openai", tmp_path / "files")
    told = prepare_dataset(Dataset(path, ignored_columns=(column,)), "openai", tmp_path / "files")
    assert told.rows == 1 and told.left_out == (f"ignored_{column}",)


@pytest.mark.parametrize(
    ("row", "ignored"),
    [
        ({**ASKED, "image": "a"}, "image"),
        (UNTRAINED, "messages[].train"),
        (chat("<image>\nWhat is it?", "A cat."), "marks"),
    ],
)
def test_a_column_is_ignored_on_purpose_as_the_error_says(tmp_path: Path, row: dict[str, Any], ignored: str) -> None:
    path = write(tmp_path / "a.jsonl", [row])
    with pytest.raises(DatasetError) as raised:
        prepare_dataset(path, "openai", tmp_path / "files")
    said = shlex.split(str(raised.value).rpartition("leave it out on purpose: ")[2])
    assert said == ["--ignore", ignored]
    told = prepare_dataset(Dataset(path, ignored_columns=(ignored,)), "openai", tmp_path / "files")
    assert told.rows == 1 and ("ignored_image" in told.left_out) is (ignored == "image")
    with pytest.raises(DatasetError):
        prepare_dataset(Dataset(path, ignored_columns=("other",)), "openai", tmp_path / "files")


def test_a_grader_is_given_all_columns(tmp_path: Path) -> None:
    data = write(tmp_path / "a.jsonl", [{**ASKED, "label": 1}, {**ASKED, "label": 0}])
    assert prepare_dataset(data, "openai-reinforcement", tmp_path / "files", questions=True).rows == 2


@pytest.mark.parametrize("name", ["category", "intent", "Answer", "class", "label"])
def test_a_text_with_its_answer_beside_it_is_no_text_alone(name: str) -> None:
    found = UnusedSignals()
    for line, value in enumerate(("card arrival", "lost card", "card arrival"), start=1):
        found.add(line, PlainText("Where is it?", metadata={name: value, "id": line}))
    (signal,) = found.found()
    assert (signal.name, signal.kind, signal.count) == (name, "answer", 3)
    assert f"--map prompt=text --map completion={name}" in signal.fix and f"--ignore {name}" in signal.fix
    same = UnusedSignals()
    for line in (1, 2):
        same.add(line, PlainText("A page.", metadata={name: "news", "url": "u"}))
    assert same.found() == []
