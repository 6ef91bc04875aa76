"""A cleaned dataset has what the checks would keep, and the log the rest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.data.rows import chat, write
from tests.data.test_checks import sentence, stories
from tuneport.data.checks import check
from tuneport.data.clean import clean
from tuneport.errors import ConfigError, DatasetError


def lines_of(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def test_what_teaches_nothing_is_removed_and_logged(tmp_path: Path) -> None:
    rows = stories(40)
    path = write(tmp_path / "d.jsonl", [*rows, rows[3], "{broken", chat(sentence(900), "  "), *stories(45)[40:]])
    made = clean(path, tmp_path / "clean.jsonl")
    source = lines_of(path)
    assert lines_of(made.output) == source[:40] + source[43:]
    assert (made.rows, made.written, made.removed) == (48, 45, 3)
    assert made.why == {"duplicates.exact": 1, "schema.invalid": 1, "answers.empty": 1}
    log = [json.loads(line) for line in lines_of(made.log)]
    assert [(entry["line"], entry["action"]) for entry in log] == [(41, "removed"), (42, "removed"), (43, "removed")]
    assert log[0]["why"] == [{"check": "duplicates.exact", "like_line": 4}]
    assert log[0]["record"] == json.loads(source[40]) and log[1]["record"] == "{broken"
    again = check(made.output)
    assert not set(again.flagged) & {"duplicates.exact", "schema.invalid", "answers.empty"}


def test_kinds_are_kept_and_dropped_by_name(tmp_path: Path) -> None:
    rows = [*stories(30), stories(1)[0], chat(sentence(0), "Something else, told at length.")]
    path = write(tmp_path / "d.jsonl", rows)
    kept = clean(path, tmp_path / "a.jsonl", keep=["duplicates"])
    assert kept.removed == 0 and lines_of(kept.output) == lines_of(path) and lines_of(kept.log) == []
    dropped = clean(path, tmp_path / "b.jsonl", drop=["contradictions.exact"])
    assert dropped.why == {"duplicates.exact": 1, "contradictions.exact": 1}
    with pytest.raises(ConfigError, match="'duplicates.all' is not known; known: answers"):
        clean(path, tmp_path / "c.jsonl", drop=["duplicates.all"])
    with pytest.raises(ConfigError, match="is the input; name another"):
        clean(path, path)


def test_leaks_into_the_hold_out_are_removed(tmp_path: Path) -> None:
    rows = stories(30)
    held_out = write(tmp_path / "v.jsonl", [rows[5], chat(sentence(7_000), sentence(7_001, 30))])
    made = clean(write(tmp_path / "d.jsonl", rows), tmp_path / "clean.jsonl", validation=held_out)
    assert made.why == {"holdout.exact": 1} and made.written == 29


def test_nothing_is_written_where_nothing_would_be_left(tmp_path: Path) -> None:
    path = write(tmp_path / "d.jsonl", [chat(sentence(1), " "), chat(sentence(2), "")])
    with pytest.raises(DatasetError, match="would have no record left"):
        clean(path, tmp_path / "clean.jsonl")
    assert [each for each in tmp_path.iterdir() if each.is_file()] == [path]
