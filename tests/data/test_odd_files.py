"""Files as people have them: what is wrong is called by its name, and what is harmless is read."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
import zstandard

from tests.support.rows import chat, write
from tuneport.data.checks import check_dataset
from tuneport.data.containers.source import RowSource
from tuneport.data.conversion.convert import convert
from tuneport.data.dataset import Dataset
from tuneport.data.reading import read_records
from tuneport.errors import DatasetError

ROWS = [chat(f"question {number}", f"answer {number}") for number in range(4)]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + LINES.encode(),
        LINES.replace("\n", "\r\n").encode(),
        LINES.encode() + b"\n\n",
        json.dumps(ROWS, indent=2).encode(),
        b"  " + json.dumps(ROWS).encode(),
    ],
    ids=["byte order mark", "CRLF", "blank end", "pretty array", "indented array"],
)
@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.ndjson"])
def test_what_is_harmless_is_read(tmp_path: Path, content: bytes, name: str) -> None:
    (tmp_path / name).write_bytes(content)
    assert len(list(read_records(tmp_path / name))) == 4


@pytest.mark.parametrize(
    ("start", "said"),
    [
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "a picture"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", "a picture"),
        (b"GIF89a\x01\x00\x01\x00", "a picture"),
        (b"RIFF\x24\x00\x00\x00WEBPVP8 ", "a picture"),
        (b"RIFF\x24\x00\x00\x00WAVEfmt ", "a sound"),
        (b"ID3\x04\x00\x00\x00\x00", "a sound"),
        (b"\x00\x00\x00\x20ftypisom", "a film, a sound or a picture"),
        (b"%PDF-1.7\n", "a PDF document"),
        (b"GGUF\x03\x00\x00\x00", "a model or a program"),
    ],
)
@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "photo.png"])
def test_a_picture_is_called_one(tmp_path: Path, name: str, start: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(start + bytes(range(256)) * 8)
    with pytest.raises(DatasetError, match=f"{name}: is {said}, not a dataset; name a dataset: .jsonl") as raised:
        _ = Dataset(tmp_path / name).detection
    assert raised.value.count == 1


def test_a_table_may_begin_as_a_sound_does(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("ID3,prompt,completion\n1,a,b\n")
    (tmp_path / "b.csv").write_text("col_ftyp,prompt,completion\n1,a,b\n")
    assert [Dataset(tmp_path / name).format for name in ("a.csv", "b.csv")] == ["prompt-completion"] * 2


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (LINES.encode("utf-16"), "a.jsonl: is UTF-16, not UTF-8; save it as UTF-8"),
        (LINES.replace("]}\n", "],}\n").encode(), ":1: is not JSON: a comma before the closing } at column"),
        (LINES.replace('"}]}', '"},]}').encode(), ":1: is not JSON: a comma before the closing ] at column"),
        (LINES.replace("]}\n", "]},\n").encode(), ":1: is not JSON: a comma after the record at column"),
        (LINES.replace("question 1", "question \0").encode(), ":2: holds NUL bytes at column"),
        ("".join(f"{row}\n" for row in ROWS).encode(), ":1: is not JSON but Python: single quotes at column 2"),
        (LINES.encode()[:-8], ":4: is not JSON: unterminated string starting at column"),
        (
            "".join(json.dumps(row, indent=2) + "\n" for row in ROWS).encode(),
            ":1: a record begins here and goes on over",
        ),
        (json.dumps({"data": ROWS}).encode(), ":1: is one object, which seems to hold the records as 'data'; give"),
        (b'{"weight": True, "text": "a"}\n', ":1: is not JSON but Python: True at column 12"),
        (b'{"instruction": "a", "output": ["b"]}\n', ":1: output: must be text, not a list; write it as a JSON"),
        (b'{"messages": "a"}\n', ":1: messages: must be a list, not text"),
        (b'{"question": "a", "answer": "b"}\n', "map its columns, as in --map prompt=question --map completion=answer"),
    ],
)
def test_what_is_wrong_is_called_by_its_name(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(content)
    with pytest.raises(DatasetError) as error:
        list(read_records(path))
    assert said in str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        "prompt,completion\nwhat?,this\n",
        '\ufeffprompt;completion\r\n"what?";"this"\r\n',
        "prompt\tcompletion\nwhat?\tthis\n",
        '"completion";"a, b, c";"prompt"\n"this";"";"what?"\n',
    ],
    ids=["commas", "Excel's semicolons", "tabs", "commas within names"],
)
def test_separators_are_found_out(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(text.encode())
    ((_, record),) = read_records(path)
    assert (record.prompt, record.completion) == ("what?", "this")  # type: ignore[union-attr]


def test_an_empty_column_without_a_name_is_left_out_and_told(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("prompt,completion,,\nwhat?,this,,\nwho?,that, ,\n")
    report = convert(path, "openai", tmp_path / "b.jsonl")
    assert report.notes == ("a.csv: columns 3, 4 without a name, empty and left out",) and report.rows == 2
    assert check_dataset(path).notes == report.notes
    path.write_text(",prompt,completion\n0,what?,this\n")
    with pytest.raises(DatasetError) as error:
        list(read_records(path))
    assert str(error.value) == (
        f"{path}:2: the column 1 has no name in the header, and holds '0' here; name it in the header, or remove it"
    )
    path.write_text("prompt,completion,\nwhat?,this\n")
    assert len(list(read_records(path))) == 1
    path.write_text("prompt,,completion\nwhat?,this\n")
    with pytest.raises(DatasetError, match="has 2 cells, the header 3"):
        list(read_records(path))


@pytest.mark.parametrize("suffix", [".tsv", ".tsv.gz", ".tsv.zst", ".ndjson", ".ndjson.gz", ".ndjson.zst"])
def test_tabs_and_ndjson_are_written_and_read(tmp_path: Path, suffix: str) -> None:
    rows = [*ROWS, chat("tab\t, comma", 'a "quote"\nand a line')]
    source, out = write(tmp_path / "a.jsonl", rows), tmp_path / f"b{suffix}"
    assert convert(source, "openai", out).written == 5
    raw = out.read_bytes()
    text = gzip.decompress(raw) if suffix.endswith(".gz") else raw
    text = zstandard.ZstdDecompressor().decompressobj().decompress(raw) if suffix.endswith(".zst") else text
    assert text.startswith(b"messages" if ".tsv" in suffix else b'{"messages"')
    assert [record for _, record in read_records(out)] == [record for _, record in read_records(source)]
    assert Dataset(out).format == "openai" and RowSource(out).files == [out]


def test_columns_that_travel_along_are_named_once(tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", [{**row, "id": number, "origin": "x"} for number, row in enumerate(ROWS)])
    report = convert(source, "anthropic", tmp_path / "b.jsonl")
    assert report.notes == ("columns that are not part of the format, kept as columns: id, origin",)
    assert '"origin":"x"' in (tmp_path / "b.jsonl").read_text()


def test_a_context_that_is_not_known_is_said(tmp_path: Path) -> None:
    assert (
        "add --model NAME (or --context) to check whether they fit"
        in check_dataset(write(tmp_path / "a.jsonl", ROWS)).finding("lengths").message
    )
