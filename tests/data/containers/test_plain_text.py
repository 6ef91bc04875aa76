"""Texts for continued pre-training: where a record begins and ends, and what is no text after all."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from tests.support.commands import Run
from tests.support.rows import chat, write
from tests.support.tiny import tiny_model
from tuneport.data.containers.bad_row import BadRow
from tuneport.data.containers.plain_text import text_rows
from tuneport.data.containers.source import RowSource
from tuneport.data.dataset import Dataset
from tuneport.errors import DatasetError


def texts(path: Path) -> list[tuple[int, str]]:
    return [(number, json.loads(raw)["text"]) for number, raw in RowSource(path).rows()]


def given(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@pytest.mark.parametrize(
    ("name", "text", "records"),
    [
        ("a.txt", "One.\nStill one.\n\n\n Two.\n", [(1, "One.\nStill one."), (5, "Two.")]),
        ("a.txt", "One.\nTwo.\nThree.\n\n\n", [(1, "One."), (2, "Two."), (3, "Three.")]),
        ("a.txt", "\n\nOne.\n\nTwo.", [(3, "One."), (5, "Two.")]),
        ("a.txt", "\ufeffOne.\r\nStill.\r\n \r\nTwo.\r\n", [(1, "One.\nStill."), (4, "Two.")]),
        ("a.txt", '{{Infobox}}\n\n[1] A note, "quoted".', [(1, "{{Infobox}}"), (3, '[1] A note, "quoted".')]),
        ("a.md", "Before.\n\n# A\n\nText.\n\n### B\nMore.\n", [(1, "Before."), (3, "# A\n\nText.\n\n### B\nMore.")]),
        ("a.md", "# T\n\n## First\nOne.\n## Second\nTwo.", [(1, "# T\n\n## First\nOne."), (5, "## Second\nTwo.")]),
        ("a.md", "# A\n```sh\n# no heading\n```\n~~~\n```\n# nor this\n~~~\n# B\nb", [
            (1, "# A\n```sh\n# no heading\n```\n~~~\n```\n# nor this\n~~~"), (9, "# B\nb")]),
        ("a.md", "No heading.\n\nAt all, #hashtag.\n", [(1, "No heading.\n\nAt all, #hashtag.")]),
    ],
)  # fmt: skip
def test_records_of_a_text(tmp_path: Path, name: str, text: str, records: list[tuple[int, str]]) -> None:
    path = given(tmp_path, name, text)
    assert texts(path) == records
    packed = tmp_path / f"{name}.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert texts(packed) == records
    assert Dataset(path).format == "text" and [line for line, _ in Dataset(path).records()] == [n for n, _ in records]
    assert [list(batch[0]) for batch in RowSource(path).batches()] == [[number for number, _ in records]]  # type: ignore[index]
    assert RowSource(path).lines_file() is None


def test_a_text_of_many_lines_without_a_blank_one_is_not_held(tmp_path: Path) -> None:
    """Beyond the first MiB a blank line is only that."""
    path = given(tmp_path, "a.txt", "word " * 9 + "\n" + ("a line\n" * 200_000) + "\n\nthe end")
    with path.open("rb") as file:
        rows = text_rows(path, file)
        next(rows)
        assert file.tell() < 2 << 20
    assert sum(1 for _ in RowSource(path).rows()) == 200_002


def test_what_holds_json_is_read_as_json(tmp_path: Path) -> None:
    rows = write(tmp_path / "a.txt", [chat("a", "b")] * 3)
    assert Dataset(rows).format == "openai" and [line for line, _ in Dataset(rows).records()] == [1, 2, 3]
    array = given(tmp_path, "b.txt", json.dumps([chat("a", "b")] * 2))
    assert Dataset(array).format == "openai"
    python = given(tmp_path, "c.txt", "{'messages': []}\n")
    with pytest.raises(DatasetError, match="is not JSON but Python"):
        list(Dataset(python).records())


def test_what_is_no_text_is_said(tmp_path: Path) -> None:
    latin = given(tmp_path, "a.txt", "Fine.\n\nGr\xfc\xdfe.\n\nFine.".encode("latin-1"))
    bad = [(number, raw) for number, raw in RowSource(latin).rows() if isinstance(raw, BadRow)]
    assert [(number, raw.rule) for number, raw in bad] == [(3, "is not UTF-8")]
    with pytest.raises(DatasetError, match=r"a\.txt:3: is not UTF-8"):
        list(Dataset(latin).records())
    for content, words in ((b"\x89PNG\r\n\x1a\n\x00", "is a picture"), (b" \n \n", "is empty"), (b"", "is empty")):
        with pytest.raises(DatasetError, match=words):
            list(RowSource(given(tmp_path, "b.md", content)).rows())
    nul = given(tmp_path, "c.txt", b"One.\n\nTw\0o.")
    assert [raw.rule for _, raw in RowSource(nul).rows() if isinstance(raw, BadRow)] == ["holds NUL bytes"]


def test_a_folder_of_texts_is_a_dataset_and_a_readme_beside_data_is_none(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    given(tmp_path, "README.md", "# About\n\nThese texts.")
    with pytest.raises(DatasetError, match="is a folder without data files; put .*, .txt, .md files into it"):
        RowSource(tmp_path)
    given(tmp_path, "a.txt", "One.\n\nTwo.")
    given(tmp_path / "more", "b.md", "# B\n\nThree.")
    assert texts(tmp_path) == [(1, "One."), (3, "Two."), (4, "# B\n\nThree.")]
    write(tmp_path / "c.jsonl", [{"text": "Four."}])
    assert texts(tmp_path) == [(1, "Four.")]


def test_a_text_is_checked_split_and_shown_to_a_model(run: Run, tmp_path: Path) -> None:
    book = given(tmp_path, "book.txt", "\n\n".join(f"Chapter {n} is about the number {n * n}." for n in range(60)))
    code, document, error = run("check", str(book), "--json")
    assert document["format"]["format"] == "text" and document["rows"] == 60, error
    assert run("split", str(book), "-o", str(tmp_path))[0] == 0 and (tmp_path / "book.train.jsonl").exists()
    model = str(tiny_model(tmp_path / "tiny"))
    code, document, error = run("preview", str(book), "--model", model, "--backend", "local", "--json")
    assert code == 0 and document["trained_tokens"] > 1_000 and document["left_out"] == [], error
