"""Conversion of files: losses stop it, and the output appears whole or not at all."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.support.rows import chat, write
from tuneport.data.conversion.conversion_loss import write_converted_row
from tuneport.data.conversion.convert import convert
from tuneport.data.reading import read_records
from tuneport.errors import ConfigError, ConversionLoss, ConversionLossError, DatasetError, StorageError

WEIGHTED = chat("a", "b")
WEIGHTED["messages"][1]["weight"] = 0


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_file())


def test_a_lossless_conversion(tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", [chat("a", "b", system="s"), chat("ä", "b")])
    report = convert(source, "alpaca", tmp_path / "b.jsonl")
    assert (report.source_format, report.rows, report.written, report.losses) == ("openai", 2, 2, ())
    assert [json.loads(line) for line in (tmp_path / "b.jsonl").read_text(encoding="utf-8").splitlines()] == [
        {"instruction": "a", "input": "", "output": "b", "system": "s"},
        {"instruction": "ä", "input": "", "output": "b"},
    ]
    assert report.as_dict()["output"] == str(tmp_path / "b.jsonl")


def test_an_array_is_written_where_the_name_asks_for_one(tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", [chat("a", "b"), chat("c", "d")])
    convert(source, "openai", tmp_path / "b.json")
    assert json.loads((tmp_path / "b.json").read_text()) == [chat("a", "b"), chat("c", "d")]
    assert len(list(read_records(tmp_path / "b.json"))) == 2


def test_losses_stop_and_leave_nothing(tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", [chat("a", "b"), *[WEIGHTED] * 7])
    with pytest.raises(ConversionLossError) as caught:
        convert(source, "alpaca", tmp_path / "b.jsonl")
    assert caught.value.losses == [
        ConversionLoss(
            "messages[].weight", 7, (2, 3, 4, 5, 6), "there are no weights of messages", "lines 2, 3, 4, 5, 6"
        )
    ]
    assert files(tmp_path) == ["a.jsonl"]
    report = convert(source, "alpaca", tmp_path / "b.jsonl", allow_loss=True)
    assert (report.written, len(report.losses)) == (8, 1)


def test_records_without_a_form_are_left_out_and_counted(tmp_path: Path) -> None:
    good = {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}], "label": True}
    source = write(tmp_path / "a.jsonl", [good, {**good, "label": False}])
    report = convert(source, "openai", tmp_path / "b.jsonl", allow_loss=True)
    assert (report.rows, report.written) == (2, 1)
    assert ("record", (2,)) in [(loss.field, loss.lines) for loss in report.losses]
    with pytest.raises(DatasetError, match="no record can be written as openai-preference: there is no rejected"):
        convert(source, "openai-preference", tmp_path / "c.jsonl", allow_loss=True)


def test_a_bad_source_leaves_the_old_output_alone(tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", [chat("a", "b"), "{", chat("c", "d"), "{"])
    output = tmp_path / "b.jsonl"
    output.write_text("precious")
    with pytest.raises(DatasetError) as caught:
        convert(source, "alpaca", output)
    assert [problem.line for problem in caught.value.problems] == [2, 4]
    assert output.read_text() == "precious"
    assert files(tmp_path) == ["a.jsonl", "b.jsonl"]


def test_outputs_that_are_refused(tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", [chat("a", "b")])
    link = tmp_path / "link.jsonl"
    link.symlink_to(source)
    hard = tmp_path / "hard.jsonl"
    hard.hardlink_to(source)
    for output in (source, link, hard, tmp_path / "." / "a.jsonl"):
        with pytest.raises(ConfigError, match="is the input; name another"):
            convert(source, "alpaca", output)
    with pytest.raises(ConfigError, match="must end in .jsonl, .ndjson, .json, .csv or .tsv, each also packed"):
        convert(source, "alpaca", tmp_path / "b.xlsx")
    with pytest.raises(ConfigError, match="the format 'alpacca' is not known; known formats: openai"):
        convert(source, "alpacca", tmp_path / "b.jsonl")
    with pytest.raises(StorageError, match="the folder does not exist; create it"):
        convert(source, "alpaca", tmp_path / "no" / "b.jsonl")
    assert len(list(read_records(source))) == 1


def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    source = write(tmp_path / "a.jsonl", [chat("a", "b")])
    with pytest.raises(StorageError, match="cannot be written: No space left on device; free some space"):
        convert(source, "alpaca", tmp_path / "b.jsonl")
    assert files(tmp_path) == ["a.jsonl"]


def test_a_disk_that_is_full_before_the_end_is_told_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The operating system tells whoever asks first, and nobody else."""
    refused = threading.Event()

    def refuse(_: int) -> None:
        refused.set()
        raise OSError(28, "No space left on device")

    def tardy(*arguments: Any) -> Any:
        assert refused.wait(60)
        return write_converted_row(*arguments)

    monkeypatch.setattr(os, "fdatasync", refuse, raising=False)
    monkeypatch.setattr("tuneport.data.conversion.conversion.write_converted_row", tardy)
    source = write(tmp_path / "a.jsonl", [{**chat("a", "b"), "id": 1}])
    with pytest.raises(StorageError, match="cannot be written: No space left on device; free some space"):
        convert(source, "openai", tmp_path / "b.jsonl")
    assert files(tmp_path) == ["a.jsonl"]


def test_what_reading_did_is_noted(tmp_path: Path) -> None:
    rows = [{"instruction": "a", "input": "", "output": "b"}, {"instruction": "a", "input": "c", "output": "b"}]
    report = convert(write(tmp_path / "a.jsonl", rows), "openai", tmp_path / "b.jsonl")
    assert report.notes == ("instruction and input are joined by a newline",)
    assert convert(tmp_path / "b.jsonl", "alpaca", tmp_path / "c.jsonl").notes == ()
