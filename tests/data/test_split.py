"""The hold-out: its size, its classes, and nothing in both files."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from tests.support.rows import chat, write
from tuneport.data.checks import check_dataset
from tuneport.data.reading import read_records
from tuneport.data.split import split
from tuneport.errors import ConfigError, DatasetError


def test_classes_keep_their_shares_and_inputs_stay_together(tmp_path: Path) -> None:
    rows = [chat(f"message {i} of {label}", label) for label, n in (("a", 100), ("b", 40), ("c", 10)) for i in range(n)]
    rows += [chat(f"Message  {i} OF a", "a") for i in range(20)]  # the same inputs again, spelled otherwise
    made = split(write(tmp_path / "d.jsonl", rows), 0.2, 7, output=tmp_path / "out")
    train = [json.loads(line) for line in made.train.read_text().splitlines()]
    held_out = [json.loads(line) for line in made.validation.read_text().splitlines()]
    assert made.stratified and (made.train_rows, made.validation_rows) == (len(train), len(held_out))
    assert len(train) + len(held_out) == len(rows)
    shares = Counter(row["messages"][1]["content"] for row in held_out)
    assert (shares["b"], shares["c"]) == (8, 2) and 22 <= shares["a"] <= 25
    inputs = [
        {" ".join(row["messages"][0]["content"].casefold().split()) for row in side} for side in (train, held_out)
    ]
    assert not inputs[0] & inputs[1]
    assert train == [row for row in rows if row in train]  # in the order of the source


def test_the_seed_decides(tmp_path: Path) -> None:
    path = write(tmp_path / "d.jsonl", [chat(f"question {i}", f"answer {i} " * 9) for i in range(50)])
    texts = [
        split(path, 0.1, seed, output=tmp_path / name).validation.read_text()
        for name, seed in zip("abc", (1, 1, 2), strict=True)
    ]
    assert texts[0] == texts[1] != texts[2]
    assert len(texts[0].splitlines()) == 5


def test_an_array_becomes_lines_in_its_own_format(tmp_path: Path) -> None:
    path = tmp_path / "d.json"
    path.write_text(
        json.dumps([{"instruction": f"do {i}", "input": "", "output": "x " * 40} for i in range(20)], indent=1)
    )
    made = split(path, output=tmp_path)
    assert (made.train.name, made.train_rows, made.validation_rows) == ("d.train.jsonl", 18, 2)
    assert len(list(read_records(made.train, "alpaca"))) == 18


def test_what_cannot_be_split(tmp_path: Path) -> None:
    same = write(tmp_path / "a.jsonl", [chat("a", "b")] * 9)
    with pytest.raises(DatasetError, match="has too few different inputs to hold any out; add records"):
        split(same, output=tmp_path)
    for share in (0, 0.6, float("nan")):
        with pytest.raises(ConfigError, match="cannot be held out; give one above 0, at most 0.5"):
            split(same, share, output=tmp_path)


def test_the_input_is_not_overwritten_and_names_stay_apart(tmp_path: Path) -> None:
    rows = [chat(f"question number {i} about {i * 7}", f"answer {i} " * 9) for i in range(30)]
    path = write(tmp_path / "d.train.jsonl", rows)
    before = path.read_text()
    made = split(path, output=tmp_path)
    assert (made.train.name, path.read_text()) == ("d.train.train.jsonl", before)
    again = write(tmp_path / "d.jsonl", rows)
    (tmp_path / "d.train.jsonl").unlink()
    (tmp_path / "d.train.jsonl").hardlink_to(again)
    with pytest.raises(ConfigError, match="is the input"):
        split(again, output=tmp_path)


def test_never_much_more_than_the_share_is_held_out(tmp_path: Path) -> None:
    path = write(tmp_path / "d.jsonl", [chat("the same question", f"answer {i} " * 9) for i in range(60)] + [
        chat(f"another question, number {i} of five", f"answer {i} " * 9) for i in range(5)
    ])  # fmt: skip
    assert {split(path, 0.1, seed, output=tmp_path / "out").validation_rows for seed in range(8)} == {5} - {0}
    two = write(tmp_path / "e.jsonl", [chat("a question", "yes")] * 5 + [chat("some other thing", "no")] * 5)
    made = split(two, 0.2, output=tmp_path / "out")  # each class has one input: held out all the same
    assert made.validation_rows == 5 and not made.stratified


def test_plain_text_is_split_by_the_seed_and_copies_stay_together(tmp_path: Path) -> None:
    texts = [f"{' '.join(str(i * k) for k in range(3, 40))} and so on" for i in range(40)]
    path = write(tmp_path / "d.jsonl", [{"text": text} for text in [*texts, *texts]])
    held = [set(split(path, 0.2, seed, output=tmp_path / "out").validation.read_text().splitlines()) for seed in (1, 2)]
    assert held[0] != held[1] and all(len(each) == 8 for each in held)
    assert check_dataset(path, validation=path).finding("hold-out").verdict == "fail"


def test_inputs_from_one_template_are_told_apart(tmp_path: Path) -> None:
    """A long instruction before each short text, as many classification sets have it."""
    instruction = " ".join(f"rule{i} says that a message of kind{i} is handled by team{i}." for i in range(12))
    rows = [chat(f"{instruction} Message: parcel {i} of {i * 31} is {i * 17}", "abc"[i % 3]) for i in range(60)]
    path = write(tmp_path / "d.jsonl", rows)
    made = split(path, 0.2, output=tmp_path / "out")
    assert (made.train_rows, made.validation_rows, made.stratified) == (48, 12, True)
    report = check_dataset(made.train, validation=made.validation)
    assert report.finding("hold-out").verdict == "pass" and "duplicates.near" not in report.flagged
