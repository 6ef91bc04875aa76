"""Detection, streaming, and one clear line for every way in which a file can be bad."""

from __future__ import annotations

import bz2
import json
from pathlib import Path

import pytest

from tests.support.rows import chat, write
from tuneport.data.conversion.convert import convert
from tuneport.data.dataset import Dataset
from tuneport.data.reading import MAX_PROBLEMS, read_records
from tuneport.data.rows.records import Chat, Message, Preference
from tuneport.errors import ConfigError, DatasetError

GOOD = chat("Where is it?", "On its way.")
ALPACA = {"instruction": "a", "input": "", "output": "b"}


def problem_of(path: Path, format: str | None = None) -> DatasetError:
    with pytest.raises(DatasetError) as caught:
        list(read_records(path, format))
    return caught.value


def test_jsonl_is_read_with_lines(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [GOOD, chat("Hi", "Hello", system="Be kind.")])
    records = list(read_records(path))
    assert [line for line, _ in records] == [1, 2]
    assert records[0][1] == Chat([Message("user", "Where is it?"), Message("assistant", "On its way.")])


def test_array_is_read_with_record_numbers(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps([{"instruction": "Add", "input": "1 2", "output": "3"}] * 3, indent=2))
    assert [line for line, _ in read_records(path)] == [1, 2, 3]


def test_json_lines_in_a_json_file_and_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(GOOD).encode() + b"\r\n" + json.dumps(GOOD).encode() + b"\n\n\n")
    assert len(list(read_records(path))) == 2


def test_reading_streams(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [GOOD, GOOD, "{broken"])
    records = read_records(path, "openai")
    assert next(records)[0] == 1  # before the bad line was met


@pytest.mark.parametrize(
    ("row", "format", "confidence"),
    [
        (chat("a", "b", system="c"), "openai", 1.0),
        (chat("a", "b"), "openai", 0.9),
        ({"system": "s", **chat("a", "b")}, "anthropic", 1.0),
        ({"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "x"}]}]}, "anthropic", 1.0),
        ({"instruction": "a", "output": "b"}, "alpaca", 1.0),
        ({"conversations": [{"from": "human", "value": "a"}]}, "sharegpt", 1.0),
        ({"conversations": [{"role": "user", "content": "a"}]}, "sharegpt", 0.9),
        ({"prompt": "a", "completion": "b"}, "prompt-completion", 1.0),
        ({"input": {"messages": []}, "preferred_output": [], "non_preferred_output": []}, "openai-preference", 1.0),
    ],
)
def test_detection(tmp_path: Path, row: dict, format: str, confidence: float) -> None:
    detection = Dataset(write(tmp_path / "a.jsonl", [row])).detection
    assert (detection.format, detection.confidence) == (format, confidence)
    assert detection.reason


def test_one_decisive_row_decides(tmp_path: Path) -> None:
    thought = {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "b"}]}
    rows = [chat("a", "b")] * 9 + [{"messages": [{"role": "user", "content": "a"}, thought]}]
    assert Dataset(write(tmp_path / "a.jsonl", rows)).format == "anthropic"


def test_missing_empty_directory_unreadable(tmp_path: Path) -> None:
    missing = tmp_path / "no.jsonl"
    assert str(problem_of(missing)) == f"{missing}: does not exist; correct the path"
    for text in ("", "\n \n"):
        empty = tmp_path / "empty.jsonl"
        empty.write_text(text)
        assert str(problem_of(empty)) == f"{empty}: is empty; give a file with at least one record"
    array = tmp_path / "empty.json"
    array.write_text("[]")
    assert "is empty" in str(problem_of(array))
    folder = tmp_path / "folder"
    folder.mkdir()
    assert str(problem_of(folder)).startswith(f"{folder}: is a folder without data files; put .jsonl, ")
    loop = tmp_path / "loop.jsonl"
    loop.symlink_to(loop)
    assert str(problem_of(loop)).startswith(f"{loop}: cannot be read: Too many levels")


def test_broken_json_tells_line_and_column(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [GOOD] * 6 + ['{"messages": [}'] + [GOOD])
    error = problem_of(path)
    assert str(error) == f"{path}:7: is not JSON: expecting value at column 15; correct the JSON"
    assert (error.line, error.count) == (7, 1)


def test_broken_array_tells_record_and_column(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('[\n  {"instruction": "a", "output": "b"},\n  {"instruction": }\n]\n')
    assert str(problem_of(path)) == f"{path}, record 2: is not JSON: expecting value at column 17; correct the JSON"
    path.write_text('[\n  {"instruction": "a",\n  "output": }\n,\n5]\n')
    error = problem_of(path)
    assert [problem.line for problem in error.problems] == [1, 2]
    assert str(error.problems[0]) == (
        f"{path}, record 1: is not JSON: expecting value at line 2 of the record, column 13; correct the JSON"
    )
    path.write_text('[\n  {"instruction": "a", "output": "b"},\n  {"instruction": "c"')
    assert str(problem_of(path)) == (
        f"{path}, record 2: ends inside the array at line 3, after record 1; correct the JSON, or get the whole file"
    )
    path.write_text('[{"instruction": "a", "output": "b"}] x')
    assert "goes on after the end of its array" in str(problem_of(path))


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (b'{"messages": "caf\xe9"}', ":2: is not UTF-8 at column 18; save the file as UTF-8"),
        (b'{"weight": NaN}', ":2: NaN is not a JSON value at column 12; use null or a number"),
        (b'{"weight": -Infinity}', ":2: -Infinity is not a JSON value at column 12; use null or a number"),
        (b'{"a": "\\ud83d"}', ":2: holds half of a surrogate pair (\\ud800 to \\udfff); write the character as UTF-8"),
        (b"[1]", ":2: a record must be a JSON object, not a list; write {...} on each line"),
        (b'{"a": ' * 100_000, ":2: is nested too deeply; flatten the record"),
        (b'{"a": 1e999}', ":2: cannot be read: Number out of range"),
    ],
)
def test_bad_lines(tmp_path: Path, line: bytes, text: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(json.dumps(GOOD).encode() + b"\n" + line + b"\n")
    assert text in str(problem_of(path))


def test_blank_line_between_records(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [GOOD, "", GOOD, ""])
    assert str(problem_of(path)) == f"{path}:2: is a blank line between records; remove it"


def test_foreign_files(tmp_path: Path) -> None:
    packed = tmp_path / "a.jsonl"
    packed.write_bytes(bz2.compress(b"{}"))
    assert str(problem_of(packed)).startswith(f"{packed}: is bzip2-compressed, not text; ")
    wide = tmp_path / "b.jsonl"
    wide.write_text(json.dumps(GOOD), encoding="utf-16")
    assert str(problem_of(wide)) == f"{wide}: is UTF-16, not UTF-8; save it as UTF-8"
    table = tmp_path / "c.xlsx"
    table.write_bytes(b"PK\x03\x04")
    assert ".xlsx files are not supported; convert it to .jsonl" in str(problem_of(table))


def test_unknown_formats(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [{"question": "a", "answer": "b"}])
    said = "no known format has such a record (its keys: question, answer); map its columns, as in --map prompt="
    assert said in str(problem_of(path))
    with pytest.raises(ConfigError, match="the format 'opanai' is not known; known formats: openai, openai-preference"):
        list(read_records(path, "opanai"))


def test_every_change_of_format_is_located(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [GOOD] * 3 + [ALPACA] * 2 + [GOOD] * 200 + [ALPACA])
    error = problem_of(path)
    assert str(error.problems[0]) == (
        f"{path}:4: looks like alpaca, while what is before, up to line 3, looks like openai; "
        "put the formats in separate files"
    )
    assert [problem.line for problem in error.problems] == [4, 6, 206]


def test_changes_of_format_after_the_sample_are_located(tmp_path: Path) -> None:
    late = [GOOD] * 150 + [ALPACA] * 2 + [GOOD] * 10 + [{"messages": []}] + [ALPACA] * 100
    path = write(tmp_path / "a.jsonl", late)
    error = problem_of(path)
    assert [problem.line for problem in error.problems[:5]] == [151, 153, 164, 152, 163]
    assert error.problems[3].rule == "looks like alpaca, while the file is read as openai"
    assert (error.count, len(error.problems)) == (104, MAX_PROBLEMS)
    with pytest.raises(DatasetError) as caught:
        convert(path, "alpaca", tmp_path / "b.jsonl")
    assert caught.value.problems == error.problems
    assert problem_of(path, "alpaca").line == 151


def test_one_odd_row_is_a_problem_of_that_row(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [GOOD, {"mesages": []}, GOOD])
    assert str(problem_of(path)) == f"{path}:2: messages: is missing; add the conversation's messages"


def test_all_problems_are_collected_up_to_a_cap(tmp_path: Path) -> None:
    bad = {"messages": [{"role": "usr", "content": "a"}, {"role": "assistant", "content": 5}]}
    path = write(tmp_path / "a.jsonl", [GOOD] + [bad] * 40)
    records = read_records(path)
    assert next(records)[0] == 1
    with pytest.raises(DatasetError) as caught:
        list(records)
    error = caught.value
    assert (error.count, len(error.problems)) == (80, MAX_PROBLEMS)
    assert str(error) == (
        f"{path}:2: messages[0].role: 'usr' is not a role; use one of system, developer, user, assistant, tool "
        "(and 79 more: `tuneport check` lists them)"
    )
    assert error.problems[1].field == "messages[1].content"
    assert error.problems[1].rule == "must be text or a list of parts, not a number"


@pytest.mark.parametrize("tools", [5, "x", [None], {"a": 1}])
def test_odd_values_are_problems_not_accidents(tmp_path: Path, tools: object) -> None:
    path = write(tmp_path / "a.jsonl", [{**GOOD, "tools": tools}])
    for format in (None, "openai", "anthropic"):
        assert problem_of(path, format).field.startswith("tools")


def test_scan_gives_bad_rows_too(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [GOOD, {"messages": []}, GOOD])
    assert [(row.line, row.record is None, len(row.problems)) for row in Dataset(path).scan()] == [
        (1, False, 0),
        (2, True, 1),
        (3, False, 0),
    ]


def test_a_preference_file(tmp_path: Path) -> None:
    row = {
        "input": {"messages": [{"role": "user", "content": "Hi"}]},
        "preferred_output": [{"role": "assistant", "content": "Hello!"}],
        "non_preferred_output": [{"role": "assistant", "content": "What?"}],
    }
    ((_, record),) = read_records(write(tmp_path / "a.jsonl", [row]))
    assert isinstance(record, Preference) and record.rejected[0].content == "What?"


def test_digest_is_of_the_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    assert Dataset(path).digest() == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
