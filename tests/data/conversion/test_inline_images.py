"""Pictures that records name by a path are read into them, from one folder alone."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.support.rows import write
from tuneport.cli.main import main
from tuneport.data.conversion.convert import convert
from tuneport.data.conversion.inline_images import MOST_BYTES, picture_kind
from tuneport.data.conversion.prepare import prepare_dataset
from tuneport.data.dataset import Dataset
from tuneport.errors import ConfigError, ConversionLossError, DatasetError

PNG = b"\x89PNG\r\n\x1a\n" + bytes(24)
JPEG = b"\xff\xd8\xff\xe0" + bytes(24)
WEBP = b"RIFF\x10\x00\x00\x00WEBPVP8 " + bytes(24)


def asked(*images: str) -> dict[str, Any]:
    turns = [{"role": "user", "content": "<image>" * len(images) + "What is it?"}]
    return {"messages": [*turns, {"role": "assistant", "content": "A cat."}], "images": list(images)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "data"
    (found / "pictures").mkdir(parents=True)
    for name, content in (("a.png", PNG), ("b.jpg", JPEG), ("c.webp", WEBP)):
        (found / "pictures" / name).write_bytes(content)
    (tmp_path / "secret.png").write_bytes(PNG)
    return found


def urls(file: Path) -> list[list[str]]:
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    return [[part["image_url"]["url"] for part in row["messages"][0]["content"][:-1]] for row in rows]


def data_url(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def test_pictures_are_read_in_their_places(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = str(folder / "pictures" / "c.webp")
    web = "https://example.com/a.png"
    rows = [asked("pictures/a.png", "pictures/b.jpg"), asked("data/pictures/a.png", web), asked(whole)]
    data, out = write(folder / "a.jsonl", rows), tmp_path / "out.jsonl"
    assert main(["convert", str(data), "--to", "openai", "-o", str(out), "--inline-images"]) == 0
    assert "4 pictures, 132 B, read into the rows from" in " ".join(capsys.readouterr().err.split())
    png, jpeg, webp = data_url("png", PNG), data_url("jpeg", JPEG), data_url("webp", WEBP)
    assert urls(out) == [[png, jpeg], [png, web], [webp]]
    prepared = prepare_dataset(Dataset(data, inline_images=True), "openai", tmp_path / "files")
    assert urls(prepared.path) == urls(out)


def test_without_the_option_a_job_stops_with_the_number_of_records(folder: Path, tmp_path: Path) -> None:
    data = write(folder / "a.jsonl", [asked("pictures/a.png"), asked("https://example.com/a.png")])
    with pytest.raises(DatasetError, match="1 of 2 records show pictures by a path, .*--inline-images"):
        prepare_dataset(data, "openai", tmp_path / "files")
    assert not list((tmp_path / "files").glob("*.jsonl"))


def test_a_job_is_not_told_of_an_option_that_it_has_not(folder: Path, tmp_path: Path) -> None:
    data = write(folder / "a.jsonl", [asked("https://example.com/a.png")])
    with pytest.raises(ConversionLossError, match="by URL is left out .*; change these records, or train") as raised:
        prepare_dataset(data, "together", tmp_path / "files")
    assert "pass --allow-loss" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("pictures/none.png", "a.jsonl:2: image: pictures/none.png: there is no such file in "),
        ("../secret.png", "secret.png: lies outside of .*, and only pictures in it are read; .* --image-folder DIR"),
        ("/etc/passwd", "/etc/passwd: lies outside of "),
        ("pictures/out.png", "out.png: lies outside of "),
        ("pictures/circle.png", "circle.png: (is no path that can be followed|there is no such file|lies outside)"),
        ("pictures", "pictures: (is not a file|cannot be read)"),
        ("pictures/pipe.png", "pipe.png: is not a file"),
        ("pictures/words.png", "words.png: is no picture; PNG, JPEG and WEBP are taken"),
        ("pictures/a.gif", "a.gif: is a GIF, and PNG, JPEG and WEBP are taken; convert it"),
        ("pictures/large.png", "large.png: is larger than 10 MB"),
        ("a\x00.png", "is no path that can be followed"),
    ],
)
def test_other_files_are_not_read(folder: Path, tmp_path: Path, name: str, told: str) -> None:
    pictures = folder / "pictures"
    (pictures / "out.png").symlink_to(tmp_path / "secret.png")
    (pictures / "circle.png").symlink_to(pictures / "circle.png")
    (pictures / "words.png").write_text("root:x:0:0")
    (pictures / "a.gif").write_bytes(b"GIF89a" + bytes(8))
    with (pictures / "large.png").open("wb") as file:
        file.write(PNG)
        file.truncate(MOST_BYTES + 1)
    os.mkfifo(pictures / "pipe.png")
    data = write(folder / "a.jsonl", [asked("pictures/a.png"), asked(name)])
    with pytest.raises(DatasetError, match=told):
        convert(data, "openai", tmp_path / "out.jsonl", inline_images=True)
    with pytest.raises(DatasetError, match=told):
        prepare_dataset(Dataset(data, inline_images=True), "openai", tmp_path / "files")
    assert not (tmp_path / "out.jsonl").exists()


def test_a_link_within_the_folder_is_followed(folder: Path, tmp_path: Path) -> None:
    (folder / "here.png").symlink_to(folder / "pictures" / "a.png")
    data = write(folder / "a.jsonl", [asked("here.png")])
    convert(data, "openai", tmp_path / "out.jsonl", inline_images=True)
    assert urls(tmp_path / "out.jsonl") == [[data_url("png", PNG)]]


def test_another_folder_is_named(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    data = write(tmp_path / "elsewhere" / "a.jsonl", [asked("a.png")])
    convert(data, "openai", tmp_path / "out.jsonl", inline_images=True, image_folder=folder / "pictures")
    assert urls(tmp_path / "out.jsonl") == [[data_url("png", PNG)]]
    with pytest.raises(ConfigError, match="--inline-images only"):
        convert(data, "openai", tmp_path / "out.jsonl", image_folder=folder)
    with pytest.raises(ConfigError, match="is not there; name one that is"):
        convert(data, "openai", tmp_path / "out.jsonl", inline_images=True, image_folder=tmp_path / "none")


def test_more_than_ten_in_a_record_are_told(folder: Path, tmp_path: Path) -> None:
    data = write(folder / "a.jsonl", [asked(*["pictures/a.png"] * 10), asked(*["pictures/a.png"] * 11)])
    with pytest.raises(DatasetError, match="a.jsonl:2: image: shows 11 pictures, and 10 are taken"):
        convert(data, "openai", tmp_path / "out.jsonl", inline_images=True)


@pytest.mark.parametrize(("content", "kind"), [(PNG, "png"), (JPEG, "jpeg"), (WEBP, "webp"), (b"GIF87a", "gif")])
def test_a_picture_is_known_by_its_bytes(content: bytes, kind: str) -> None:
    assert picture_kind(content) == kind
    assert picture_kind(b"%PDF-1.7") is picture_kind(b"RIFF\0\0\0\0WAVE") is picture_kind(b"") is None
