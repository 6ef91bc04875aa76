"""Plain text, as for continued pre-training: a record is a paragraph of a `.txt`, or a section of a `.md`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from io import BufferedReader
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec

from tuneport.data.containers.bad_row import MAX_ROW, BadRow, row_too_large_error, unreadable_file_error
from tuneport.data.containers.folder import TEXTS, container_suffix
from tuneport.data.containers.json_text import Row, read_lines
from tuneport.data.rows.syntax_hints import explain_foreign_file

Lines = Iterator[tuple[int, bytes]]
"""Lines with their ends and numbers."""
_BOM = b"\xef\xbb\xbf"
_JSON = re.compile(rb"\s*(?:\[\s*)?\{\s*[\"'}]|\s*\[\s*\]")
_LOOKED_AT = 1 << 20
"""Bytes: a text that has no blank line in so many has a record on each line."""
_HEADING = re.compile(rb" {0,3}#{1,2}(?:[ \t\r\n]|$)")
_ANY_HEADING = re.compile(rb" {0,3}#{1,6}(?:[ \t\r\n]|$)")
_FENCE = re.compile(rb" {0,3}(```|~~~)")
_encode = msgspec.json.Encoder().encode


def is_plain_text_file(path: Path, file: BufferedReader[Any]) -> bool:
    """Return whether the file is a text by its name, and does not begin as JSON does: lists of records have any name.

    Raises DatasetError for a file that is not text.
    """
    if container_suffix(path) not in TEXTS:
        return False
    start = file.peek(4096)[:4096]
    if foreign := explain_foreign_file(start):
        raise unreadable_file_error(path, *foreign)
    return _JSON.match(start.removeprefix(_BOM)) is None


def text_rows(path: Path, file: BufferedReader[Any]) -> Iterator[Row]:
    """Yield `{"text": ...}` with the number of its first line.

    In a `.txt` blank lines part the records; without one, each line is a record. In a `.md` headings of the first two
    levels begin one, outside of code. What is not UTF-8 is a `BadRow`. Raises DatasetError for a record larger than
    MAX_ROW.
    """
    lines = enumerate(read_lines(path, file), 1)
    parts = _sections(lines) if container_suffix(path) == ".md" else _paragraphs(lines)
    for number, part in _bounded(path, parts):
        text = part.removeprefix(_BOM).strip()
        if text:
            yield number, _row(text)


def _row(text: bytes) -> bytes:
    if b"\0" in text:
        return BadRow("holds NUL bytes", "remove them: the file is incomplete, or not a text")
    try:
        return _encode({"text": text.decode("utf-8").replace("\r\n", "\n")})
    except UnicodeDecodeError:
        return BadRow("is not UTF-8", "save the file as UTF-8")


def _bounded(path: Path, parts: Iterator[list[tuple[int, bytes]]]) -> Iterator[tuple[int, bytes]]:
    for part in parts:
        text = b"".join(line for _, line in part)
        if len(text) > MAX_ROW:
            raise row_too_large_error(path, part[0][0])
        yield part[0][0], text


def _paragraphs(lines: Lines) -> Iterator[list[tuple[int, bytes]]]:
    held, parted = _look(lines)
    part: list[tuple[int, bytes]] = []
    size = 0
    for number, line in chain(held, lines):
        blank = not line.strip()
        if part and (blank or not parted or size > MAX_ROW):
            yield part
            part, size = [], 0
        if not blank:
            part.append((number, line))
            size += len(line)
    if part:
        yield part


def _look(lines: Lines) -> tuple[list[tuple[int, bytes]], bool]:
    """Return the first lines, and whether a blank line parts two of them."""
    held: list[tuple[int, bytes]] = []
    size, text, gap = 0, False, False
    for number, line in lines:
        held.append((number, line))
        size += len(line)
        blank = not line.removeprefix(_BOM).strip()
        if gap and not blank:
            return held, True
        text, gap = text or not blank, text and blank
        if size > _LOOKED_AT:
            break
    return held, False


def _sections(lines: Lines) -> Iterator[list[tuple[int, bytes]]]:
    """Yield sections. Headings with nothing below them begin the section after them."""
    part: list[tuple[int, bytes]] = []
    fence = b""
    told, size = False, 0
    for number, line in lines:
        if not part and not line.strip():
            continue
        mark = found[1] if (found := _FENCE.match(line)) else b""
        heading = not fence and _HEADING.match(line.removeprefix(_BOM)) is not None
        if part and ((heading and told) or size > MAX_ROW):
            yield part
            part, told, size = [], False, 0
        if mark:
            fence = mark if not fence else b"" if mark == fence else fence
        told = told or bool(line.strip()) and (bool(fence) or _ANY_HEADING.match(line.removeprefix(_BOM)) is None)
        part.append((number, line))
        size += len(line)
    if part:
        yield part
