"""Every container in and out: the same records, the right numbers, and one line for what is damaged."""

from __future__ import annotations

import gzip
import json
import pickle
import tracemalloc
from pathlib import Path
from typing import Any

import datasets
import pyarrow
import pyarrow.parquet
import pytest
import zstandard

from tests.support.folders import FIXTURES
from tests.support.rows import chat, write
from tuneport.data.checks import check_dataset
from tuneport.data.containers import json_text
from tuneport.data.containers.bad_row import MAX_ROW, BadRow
from tuneport.data.containers.source import RowSource
from tuneport.data.conversion.convert import convert
from tuneport.data.dataset import Dataset
from tuneport.data.reading import read_records
from tuneport.data.rows.records import Chat, Record
from tuneport.errors import ConfigError, ConversionLossError, DatasetError

TRAIN = FIXTURES / "datasets" / "support_intents.train.jsonl"
TOOLS = FIXTURES / "datasets" / "support_tools.jsonl"
SUFFIXES = [f"{kind}{packing}" for kind in (".jsonl", ".json", ".csv") for packing in ("", ".gz", ".zst")] + [
    ".parquet"
]
PAIRS = {"prompt": "a", "completion": "b"}


def records(path: Path | str, **options: Any) -> list[Record]:
    return [record for _, record in Dataset(path, **options).records()]


def refusal(path: Path | str, **options: Any) -> DatasetError:
    with pytest.raises(DatasetError) as caught:
        list(Dataset(path, **options).records())
    return caught.value


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("source", [TRAIN, TOOLS], ids=["plain", "tools"])
def test_there_and_back_is_the_same_file(tmp_path: Path, source: Path, suffix: str) -> None:
    there, back = tmp_path / f"there{suffix}", tmp_path / "back.jsonl"
    report = convert(source, "openai", there)
    assert (report.written, report.losses) == (len(source.read_bytes().splitlines()), ())
    assert records(there) == records(source)
    convert(there, "openai", back)
    convert(source, "openai", tmp_path / "first.jsonl")
    assert back.read_bytes() == (tmp_path / "first.jsonl").read_bytes()
    if suffix != ".parquet":
        assert convert(source, "openai", tmp_path / f"again{suffix}").written
        assert (tmp_path / f"again{suffix}").read_bytes() == there.read_bytes()


def test_packing_is_told_by_the_bytes(tmp_path: Path) -> None:
    packed = tmp_path / "a.jsonl"
    packed.write_bytes(gzip.compress(TRAIN.read_bytes()))
    assert records(packed) == records(TRAIN)
    members = tmp_path / "b.jsonl.gz"
    members.write_bytes(b"".join(gzip.compress(line) for line in TRAIN.read_bytes().splitlines(keepends=True)))
    assert records(members) == records(TRAIN)
    frames = tmp_path / "c.jsonl.zst"
    frames.write_bytes(b"".join(zstandard.compress(line) for line in TRAIN.read_bytes().splitlines(keepends=True)))
    assert records(frames) == records(TRAIN)
    packed.rename(tmp_path / "d.jsonl.zst")
    assert records(tmp_path / "d.jsonl.zst") == records(TRAIN)


@pytest.mark.parametrize("packing", [".gz", ".zst"])
def test_damaged_packing_is_told(tmp_path: Path, packing: str) -> None:
    text = TRAIN.read_bytes()
    content = gzip.compress(text) if packing == ".gz" else zstandard.ZstdCompressor(write_checksum=True).compress(text)
    path = tmp_path / f"a.jsonl{packing}"
    path.write_bytes(content[:-20])
    assert str(refusal(path)) == (f"{path}: is cut short: its packing does not end; get an undamaged copy of the file")
    path.write_bytes(content[:500] + bytes(100) + content[600:])
    assert f"{path}: is damaged: " in str(refusal(path))
    path.write_bytes(text)
    assert f"is not what {packing} files are" in str(refusal(path))


def test_a_bomb_is_refused_before_it_fills_the_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        for _ in range(2 * MAX_ROW >> 20):
            file.write(b" " * (1 << 20))
    assert str(refusal(path)).startswith(f"{path}:1: the record is larger than 64 MiB; ")
    frames = tmp_path / "b.json.zst"
    frames.write_bytes(zstandard.compress(b'["' + b"a" * 3 * MAX_ROW))
    assert str(refusal(frames)).startswith(f"{frames}, record 1: the record is larger than 64 MiB; ")


def test_arrays_are_streamed_whatever_their_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [json.loads(line) for line in TOOLS.read_bytes().splitlines()]
    rows[1]["deep"] = {"a": [[[[[[[[[{"b]": '}]"\\'}]]]]]]]]]}
    expected = records(write(tmp_path / "a.jsonl", rows))
    path = tmp_path / "a.json"
    for block in (7, 100, 1 << 16):
        monkeypatch.setattr(json_text, "_BLOCK", block)
        for indent, separators in ((None, (",", ":")), (4, None), (None, (" , ", " : "))):
            path.write_text(json.dumps(rows, indent=indent, separators=separators))
            assert records(path) == expected


@pytest.mark.parametrize(
    ("text", "rule", "line"),
    [
        ('[{"prompt": "a", "completion": "b"},]', "is not JSON: expecting a record at line 1, after record 1", 2),
        ('[{"prompt": "a", "completion": "b"}\n{}]', "ends inside the array at line 1", 1),
        ('[{"prompt": "a", "completion": "b"}', "ends inside the array at line 1", 1),
        ('[{"prompt": "a", "completion": "b"},\n {"prompt": "]', "ends inside the array at line 2, after record 1", 2),
        ('[{"prompt": "a", "completion": "b"}]]', "goes on after the end of its array", None),
        ("[", "ends inside the array at line 1", 1),
    ],
)
def test_broken_arrays(tmp_path: Path, text: str, rule: str, line: int | None) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    error = refusal(path)
    assert (error.rule, error.line) == (rule, line)


def test_elements_are_told_apart_as_they_stand_whether_or_not_they_are_json(tmp_path: Path) -> None:
    elements = [
        b'{"a" :1,  "a": 2}', b'{"a": tru, "b": [1}}', b'"\xff\x85 \\q, ]"', b"01", b"1.", b"9" * 5000, b"NaN",
        b"truth", b'["' + b"x" * 200_000 + b'"]', b"[" * 2000 + b"]" * 2000, b"{}",
    ]  # fmt: skip
    path = tmp_path / "a.json"
    path.write_bytes(b"\xef\xbb\xbf\n[ " + b"\r\n,\t".join(elements) + b"\n]\n")
    with path.open("rb") as file:
        array = json_text.is_json_array_file(path, file)
        assert list(json_text.read_json_rows(path, file, array)) == list(enumerate(elements, start=1))


def test_csv_as_spreadsheets_write_it(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('\ufeffprompt;completion\r\n"two\r\nlines; and ""quotes""";b\r\n;c\r\n\r\n', encoding="utf-8")
    rows = [(line, json.loads(raw)) for line, raw in RowSource(path).rows()]
    assert rows == [
        (2, {"prompt": 'two\r\nlines; and "quotes"', "completion": "b"}),
        (4, {"prompt": "", "completion": "c"}),
    ]


def test_csv_cells_are_text_unless_their_column_holds_messages(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    messages = json.dumps(chat("a", "b")["messages"]).replace('"', '""')
    path.write_text(f'messages,tools,note\n"{messages}",,"[1]"\n')
    ((_, record),) = read_records(path)
    assert isinstance(record, Chat) and record.metadata == {"note": "[1]"} and not record.tools
    path.write_text('prompt,completion\n"{""a"": 1}","[{""name"": ""x""}]"\n')
    assert records(path) == records(
        write(tmp_path / "b.jsonl", [{"prompt": '{"a": 1}', "completion": '[{"name": "x"}]'}])
    )


def test_bad_csv_is_told_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b'prompt,completion\na,b\nc\nd,e,f\n\n"g"h,i\nj,caf\xe9\nk,l\n"m')
    error = refusal(path)
    assert [(problem.line, problem.rule) for problem in error.problems] == [
        (3, "has 1 cell, the header 2"),
        (4, "has 3 cells, the header 2"),
        (5, "is a blank line between records"),
        (6, "is not CSV: ',' expected after '\"'"),
        (7, "is not UTF-8"),
        (9, "is not CSV: unexpected end of data"),
    ]
    path.write_text("prompt,prompt\na,b\n")
    assert str(refusal(path)).startswith(f"{path}:1: the header has the column 'prompt' twice; ")
    path.write_text("prompt,completion\n")
    assert "is empty" in str(refusal(path))


def test_what_a_table_cannot_hold_is_a_loss(tmp_path: Path) -> None:
    rows = [{**PAIRS, "score": 1, "maybe": "x"}, PAIRS]
    source = write(tmp_path / "a.jsonl", rows)
    with pytest.raises(ConversionLossError) as caught:
        convert(source, "prompt-completion", tmp_path / "b.csv")
    assert [(loss.field, loss.count, loss.lines) for loss in caught.value.losses] == [
        ("score", 2, (1, 2)),
        ("maybe", 1, (2,)),
    ]
    assert not (tmp_path / "b.csv").exists()
    assert convert(source, "prompt-completion", tmp_path / "b.parquet").losses == ()
    assert records(tmp_path / "b.parquet") == records(source)


def test_parquet_columns_without_a_common_type_are_json(tmp_path: Path) -> None:
    mixed = [{**PAIRS, "note": note} for note in ({"a": 1}, {"a": "x"}, {"a": None}, [])]
    source = write(tmp_path / "a.jsonl", mixed)
    report = convert(source, "prompt-completion", tmp_path / "b.parquet", allow_loss=True)
    assert [(loss.field, loss.count) for loss in report.losses] == [("note", 4)]
    table = pyarrow.parquet.read_table(tmp_path / "b.parquet")
    assert table.column("note").to_pylist() == ['{"a":1}', '{"a":"x"}', '{"a":null}', "[]"]
    convert(TOOLS, "openai", tmp_path / "tools.parquet")
    assert pyarrow.types.is_list(pyarrow.parquet.read_schema(tmp_path / "tools.parquet").field("messages").type)


def test_damaged_parquet_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    convert(TRAIN, "openai", path)
    content = path.read_bytes()
    for damaged in (content[:-100], content[:1000] + bytes(400) + content[1400:], b"PAR1", b"text"):
        path.write_bytes(damaged)
        assert str(refusal(path)).startswith(f"{path}: cannot be read: ")


def test_a_folder_is_one_dataset_and_problems_name_the_file(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    (folder / "more").mkdir(parents=True)
    write(folder / "a.jsonl", [chat("a", "b")] * 3)
    (folder / "b.json").write_text(json.dumps([chat("c", "d")] * 2))
    inner = write(folder / "more" / "c.jsonl", [chat("e", "f"), {"messages": []}])
    (folder / "README.md").write_text("nothing")
    error = refusal(folder)
    assert (error.path, error.line, error.field) == (str(inner), 2, "messages")
    inner.write_text(json.dumps(chat("e", "f")) + "\n")
    assert [line for line, _ in read_records(folder)] == [1, 2, 3, 4, 5, 6]
    source = RowSource(folder)
    assert [source.locate(line) for line, _ in source.rows()][-2:] == [
        (folder / "b.json", 2, "record"),
        (inner, 1, "line"),
    ]
    assert (
        Dataset(folder).format == "openai" and check_dataset(folder).rows == 6 and len(Dataset(folder).digest()) == 64
    )
    assert convert(folder, "alpaca", tmp_path / "out.jsonl").rows == 6
    with pytest.raises(ConfigError, match="is the input"):
        convert(folder, "alpaca", folder / "a.jsonl")


def test_splits_are_never_joined(tmp_path: Path) -> None:
    folder = tmp_path / "checkout"
    (folder / "data").mkdir(parents=True)
    for split, rows in (("train", 3), ("test", 2)):
        table = pyarrow.Table.from_pylist([chat("a", "b")] * rows)
        pyarrow.parquet.write_table(table, folder / "data" / f"{split}-00000-of-00001.parquet")
    assert str(refusal(folder)) == f"{folder}: holds the splits test, train; name one of them: {folder}#train"
    assert len(records(f"{folder}#train")) == 3 and len(records(f"{folder}#test")) == 2
    assert "has no split 'validation'; use one of: test, train" in str(refusal(f"{folder}#validation"))


def test_what_datasets_saved_is_read(tmp_path: Path) -> None:
    rows = [json.loads(line) for line in TRAIN.read_bytes().splitlines()]
    saved = datasets.Dataset.from_list(rows)
    saved.save_to_disk(tmp_path / "one", num_shards=2)
    assert records(tmp_path / "one") == records(TRAIN)
    datasets.DatasetDict(train=saved, validation=saved.select(range(5))).save_to_disk(tmp_path / "splits")
    assert records(f"{tmp_path / 'splits'}#train") == records(tmp_path / "splits" / "train") == records(TRAIN)
    assert len(records(f"{tmp_path / 'splits'}#val")) == 5
    assert "holds the splits train, validation" in str(refusal(tmp_path / "splits"))


def test_the_hub_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert "hf://ours/intents: cannot be downloaded from the hub, and is not in its cache" in str(
        refusal("hf://ours/intents")
    )
    assert "hf download --repo-type dataset ours/intents" in str(refusal(Path("hf://ours/intents")))
    cached = tmp_path / "datasets--ours--intents"
    snapshot = cached / "snapshots" / ("0" * 40) / "data"
    snapshot.mkdir(parents=True)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("0" * 40)
    convert(TRAIN, "openai", snapshot / "train-00000-of-00001.parquet")
    for path in (
        "hf://ours/intents",
        Path("hf://ours/intents"),
        "hf://datasets/ours/intents",
        "hf://ours/intents#train",
    ):
        assert records(path) == records(TRAIN)


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".parquet"])
def test_columns_are_mapped(tmp_path: Path, suffix: str) -> None:
    rows = [{"question": f"q{at}", "answer": "a", "id": "x"} for at in range(120)]
    expected = [{"instruction": row["question"], "output": "a", "id": "x"} for row in rows]
    path = tmp_path / f"a{suffix}"
    if suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    elif suffix == ".json":
        path.write_text(json.dumps(rows))
    elif suffix == ".csv":
        path.write_text("question,answer,id\n" + "".join(f"{row['question']},a,x\n" for row in rows))
    else:
        write(path, rows)
    columns = {"instruction": "question", "output": "answer"}
    assert records(path, columns=columns) == records(write(tmp_path / "b.jsonl", expected))
    assert Dataset(path, columns).format == "alpaca"
    assert convert(path, "openai", tmp_path / "c.jsonl", columns=columns).rows == 120
    for wrong in ({"instruction": "questoin", "output": "answer"}, {"output": "answer", "instruction": "id", "x": "y"}):
        message = str(refusal(path, columns=wrong))
        assert message.startswith(f"{path}: no record has the column ")
        assert message.endswith("map one of its columns: question, answer, id")
        with pytest.raises(DatasetError, match="no record has the column"):
            convert(path, "openai", tmp_path / "d.jsonl", format="alpaca", columns=wrong)
        assert not (tmp_path / "d.jsonl").exists()


def test_a_column_that_is_there_twice_after_mapping(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [{"question": "q", "prompt": "p", "completion": "a"}])
    assert "has a column 'prompt' besides 'question'" in str(refusal(path, columns={"prompt": "question"}))
    swapped = records(path, columns={"prompt": "question", "question": "prompt"})
    assert swapped == records(write(tmp_path / "b.jsonl", [{"question": "p", "prompt": "q", "completion": "a"}]))
    with pytest.raises(ConfigError, match="the column 'a' is mapped to 'prompt' and 'completion'"):
        records(path, columns={"prompt": "a", "completion": "a"})


def test_bad_rows_travel_between_processes() -> None:
    row = pickle.loads(pickle.dumps(BadRow("is bad", "mend it")))
    assert (row, row.rule, row.fix) == (b"", "is bad", "mend it")


def test_a_file_made_to_unpack_to_more_than_any_disk_holds_is_one_line(tmp_path: Path) -> None:
    """Ten gigabytes of rows in ten megabytes, and zstd's half a gigabyte in a few kilobytes: given up early."""
    import zstandard

    row = b'{"messages": [{"role": "user", "content": "' + b"a" * 2000 + b'"}]}\n'
    member = gzip.compress(row * 4096)
    bombs = {"b.jsonl.gz": member * 1200, "b.jsonl.zst": zstandard.compress(row * (2**29 // len(row)), 1)}
    for name, content in bombs.items():
        (tmp_path / name).write_bytes(content)
        tracemalloc.start()
        with pytest.raises(DatasetError, match=r"unpacks to more than (200|500) times its size"):
            for _ in RowSource(tmp_path / name).batches():
                pass
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert most < 200 * 2**20, name


def test_blank_lines_without_end_do_not_fill_the_memory(tmp_path: Path) -> None:
    path = tmp_path / "b.jsonl"
    path.write_bytes(b'{"a": 1}\n' + b"\n" * 2**23 + b'{"a": 2}\n')
    with pytest.raises(DatasetError, match="more than 1 MiB of blank lines"):
        list(RowSource(path).rows())
