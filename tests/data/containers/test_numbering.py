"""Where something is, in words: lines of text files, records of arrays and tables, FILE:LINE in folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.rows import chat, write
from tuneport.data.checks import check_dataset
from tuneport.data.checks.finding import differing_row_excerpts
from tuneport.data.clean import clean
from tuneport.data.containers.source import RowSource
from tuneport.data.conversion.convert import convert
from tuneport.data.reading import read_records
from tuneport.data.review.session import ReviewSession
from tuneport.errors import ConversionLossError, DatasetError
from tuneport.workflows.checking.page import render_check_page

BAD: dict[str, Any] = {"messages": []}
WEIGHTED = chat("a", "b")
WEIGHTED["messages"][1]["weight"] = 0


def array(path: Path, rows: list[Any]) -> Path:
    path.write_text(json.dumps(rows, indent=1))
    return path


def rows(count: int = 12) -> list[Any]:
    return [chat(f"question number {number} about thing {number * 7}", f"answer {number}.") for number in range(count)]


def evidence(path: Path, name: str) -> list[str]:
    report = check_dataset(path)
    return [each.told(report.numbering.words) for each in report.finding(name).evidence]


def test_lines_of_lines_and_records_of_arrays(tmp_path: Path) -> None:
    lines = write(tmp_path / "a.jsonl", [*rows(), BAD])
    records = array(tmp_path / "a.json", [*rows(), BAD])
    said = "messages is empty; add the conversation's messages"
    assert evidence(lines, "schema") == [f"line 13: {said}"]
    assert evidence(records, "schema") == [f"record 13: {said}"]
    for path, place in ((lines, ":13"), (records, ", record 13")):
        with pytest.raises(DatasetError) as error:
            list(read_records(path))
        assert str(error.value).startswith(f"{path}{place}: messages: is empty")
    named_array = tmp_path / "array.jsonl"  # what it is tells, not what it is called
    named_array.write_text(records.read_text())
    assert evidence(named_array, "schema") == [f"record 13: {said}"]


def test_file_and_line_in_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    (folder / "more").mkdir(parents=True)
    write(folder / "a.jsonl", rows())
    array(folder / "b.json", [chat("again", "one"), chat("other", "thing.")])
    write(folder / "more" / "c.jsonl", [chat("again", "two"), BAD])
    assert evidence(folder, "schema") == [
        "more/c.jsonl:2: messages is empty; add the conversation's messages",
    ]
    (said,) = evidence(folder, "contradictions")
    assert said.startswith("b.json record 1, more/c.jsonl:1: 'again' is answered 'one' and 'two'")
    report = check_dataset(folder)
    assert "more/c.jsonl:2" in render_check_page(report)
    document = report.as_dict()
    assert document["files"] == [
        {"path": str(folder / "a.jsonl"), "before": 0, "unit": "line"},
        {"path": str(folder / "b.json"), "before": 12, "unit": "record"},
        {"path": str(folder / "more" / "c.jsonl"), "before": 14, "unit": "line"},
    ]
    assert document["findings"][0]["evidence"][0]["at"] == "more/c.jsonl:2"
    clean(folder, tmp_path / "out.jsonl")
    log = [json.loads(line) for line in (tmp_path / "out.jsonl.log.jsonl").read_text().splitlines()]
    assert [(entry["line"], entry["at"]) for entry in log] == [(16, "more/c.jsonl:2")]
    assert {shown.at for shown in ReviewSession(folder, sample=20).shown} >= {"a.jsonl:1", "b.json record 2"}


def test_losses_say_where_and_not_too_much(tmp_path: Path) -> None:
    records = array(tmp_path / "a.json", [*rows(3), WEIGHTED, WEIGHTED])
    with pytest.raises(ConversionLossError, match=r"there are no weights of messages \(records 4, 5\); pass"):
        convert(records, "alpaca", tmp_path / "b.jsonl")
    many = chat("a", "b", **{f"column_{number}": number for number in range(20)})
    many["messages"][1] |= {"name": "n", "weight": 0, "reasoning_content": "r", "x": 1, "y": 2}
    with pytest.raises(ConversionLossError) as error:
        convert(write(tmp_path / "c.jsonl", [many]), "alpaca", tmp_path / "d.jsonl")
    assert len(error.value.losses) == 5 and len(error.value.as_dict()["losses"]) == 5  # type: ignore[arg-type]
    assert "; and 2 more, which --json lists; pass --allow-loss" in str(error.value)


def test_a_hold_out_in_a_folder_names_its_file(tmp_path: Path) -> None:
    train = write(tmp_path / "train.jsonl", rows())
    held = tmp_path / "held"
    held.mkdir()
    write(held / "a.jsonl", [chat("something else", "x")])
    write(held / "b.jsonl", rows(1))
    found = check_dataset(train, validation=held).finding("hold-out")
    assert found.evidence[0].text.startswith("the same input is on b.jsonl:1: ")
    found = check_dataset(train, validation=held / "b.jsonl").finding("hold-out")
    assert found.evidence[0].text.startswith("the same input is on line 1 of b.jsonl: ")


def test_the_split_that_a_folder_holds_out_is_looked_at(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    write(folder / "train.jsonl", rows())
    write(folder / "dev.jsonl", [chat("something else", "x")])
    write(folder / "test.jsonl", rows(1))
    report = check_dataset(Path(f"{folder}#train"))
    assert report.notes == (
        f"compared with {folder}#validation, the folder's held-out split (--validation names another)",
    )
    assert report.finding("hold-out").verdict == "pass" and "1 record held out" in report.finding("hold-out").message
    report = check_dataset(Path(f"{folder}#train"), validation=Path(f"{folder}#test"))
    assert report.finding("hold-out").verdict == "fail" and report.notes == ()
    assert check_dataset(Path(f"{folder}#dev")).notes == ()


def test_numbers_and_places_are_inverse(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", rows(3))
    array(tmp_path / "b.json", rows(2))
    source = RowSource(tmp_path)
    numbers = [number for number, _ in source.rows()]
    for number in numbers:
        place = source.locate(number)
        assert source.numbering.number(place.file, place.number) == number


@pytest.mark.parametrize(
    ("one", "other", "shown"),
    [
        ("short", "shirt", ("short", "shirt")),
        ("x" * 100 + "yes", "x" * 100 + "no", ("…" + "x" * 12 + "yes", "…" + "x" * 12 + "no")),
        ("same " * 50, "same " * 50 + "and more", None),
        ("a" * 500, "b" * 500, ("a" * 39 + "…", "b" * 39 + "…")),
    ],
)
def test_excerpts_show_the_difference(one: str, other: str, shown: tuple[str, str] | None) -> None:
    first, second = differing_row_excerpts(one, other, 40)
    assert first != second and max(len(first), len(second)) <= 40
    assert shown is None or (first, second) == shown


def test_contradictions_and_duplicates_are_cut_around_the_difference(tmp_path: Path) -> None:
    long = "the parcel left our warehouse on Monday and will be with you soon, so please wait " * 3
    path = write(tmp_path / "a.jsonl", [*rows(), chat("where is it?", long + "yes"), chat("where is it?", long + "no")])
    (said,) = evidence(path, "contradictions")
    assert "yes'" in said and "no'" in said
    path = write(tmp_path / "b.jsonl", [*rows(), chat(long + "red", "sure."), chat(long + "blue", "sure.")])
    assert any("red'" in said and "blue'" in said for said in evidence(path, "duplicates"))
