"""JSON lines, and JSON arrays element by element."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from io import BufferedReader
from itertools import islice
from pathlib import Path
from typing import Any

from tuneport.data.containers.bad_row import MAX_ROW, row_too_large_error, unreadable_file_error
from tuneport.data.containers.numbering import RECORD
from tuneport.data.rows.syntax_hints import explain_foreign_file

Row = tuple[int, bytes]
Batch = tuple[Sequence[int], list[bytes]]
"""The numbers of rows, and the rows."""
_BOM = b"\xef\xbb\xbf"
_BLOCK = 1 << 16  # some 70 rows; larger ones cost page faults
_BATCH = 64
_MOST_BLANK = 1 << 20
"""Bytes of blank lines in a row: each is told by its number if rows follow, and a file of nothing else fills the memory
with numbers."""
_SPACE = b" \t\r\n"
_BEGIN, _END = {ord("{")}, {ord("}")}


class LineBlock:
    """Whole lines of JSON lines, with their ends. The first has the number `first`."""

    __slots__ = ("_count", "first", "text")

    def __init__(self, first: int, text: bytes) -> None:
        self.first, self.text = first, text
        self._count = 0

    @property
    def count(self) -> int:
        """Return how many lines there are. Counting takes time: a caller that knows the number sets it."""
        if not self._count:
            self._count = self.text.count(b"\n") + (self.text[-1:] != b"\n")
        return self._count

    @count.setter
    def count(self, count: int) -> None:
        self._count = count


def read_json_rows(path: Path, file: BufferedReader, array: bool) -> Iterator[Row]:
    """Return the rows with their numbers: lines of JSON lines, records of an `array`. They are not decoded: a row may
    be invalid JSON."""
    if array:
        return _array(path, file)
    return ((number, row) for numbers, rows in _lines(path, file) for number, row in zip(numbers, rows, strict=True))


def read_json_batches(path: Path, file: BufferedReader, array: bool) -> Iterator[LineBlock | Batch]:
    """Return the rows of `read_json_rows`, many at a time, which is faster."""
    return batch_rows(_array(path, file)) if array else line_blocks(path, file)


def batch_rows(rows: Iterator[Row]) -> Iterator[Batch]:
    while batch := list(islice(rows, _BATCH)):
        yield [number for number, _ in batch], [row for _, row in batch]


def is_json_array_file(path: Path, file: BufferedReader) -> bool:
    """Return whether the first character begins an array. Raises DatasetError for a file that is not text; skips a byte
    order mark."""
    start = file.peek(4096)[:4096]
    foreign = explain_foreign_file(start)
    if foreign:
        raise unreadable_file_error(path, *foreign)
    if start.startswith(_BOM):
        file.read(len(_BOM))
        start = start.removeprefix(_BOM)
    return start.lstrip()[:1] == b"["


def read_lines(path: Path, file: BufferedReader) -> Iterator[bytes]:
    """Yield physical lines with their ends. Raises DatasetError for a line larger than MAX_ROW."""
    number = 0
    read = file.readline
    while line := read(MAX_ROW + 1):
        number += 1
        if len(line) > MAX_ROW:
            raise row_too_large_error(path, number)
        yield line


def _lines(path: Path, file: BufferedReader) -> Iterator[Batch]:
    """Yield lines without the space around them. Blank lines are yielded as well, except those at the end."""
    blank = 0
    for block in line_blocks(path, file):
        lines = block.text.split(b"\n")
        if not lines[-1]:
            lines.pop()
        block.count = len(lines)
        if not blank and are_bare_objects(lines):
            yield range(block.first, block.first + len(lines)), lines
            continue
        numbers, rows = number_lines(block.first, lines, blank)
        blank = block.first + len(lines) - 1 - numbers[-1] if rows else blank + len(lines)
        if rows:
            yield numbers, rows


def number_lines(first: int, lines: Iterable[bytes], blank: int) -> tuple[list[int], list[bytes]]:
    """Return the lines, stripped, down to the last that is not blank; `blank` of them came before the first."""
    numbers: list[int] = []
    rows: list[bytes] = []
    for number, line in enumerate(map(bytes.strip, lines), start=first):
        if not line:
            blank += 1
            continue
        numbers += range(number - blank, number + 1)
        rows += [b""] * blank
        rows.append(line)
        blank = 0
    return numbers, rows


def are_bare_objects(lines: list[bytes]) -> bool:
    """Return whether each line is an object without space around it, judged by its ends: the usual case."""
    return all(lines) and {line[0] for line in lines} == _BEGIN and {line[-1] for line in lines} == _END


def line_blocks(path: Path, file: BufferedReader[Any], size: int | None = None) -> Iterator[LineBlock]:
    """Yield the lines from here on that begin within `size` bytes. Raises DatasetError for a line larger than
    MAX_ROW."""
    first, blank = 1, 0
    while text := file.read(_BLOCK if size is None else max(0, min(_BLOCK, size))):
        if text[-1:] != b"\n":
            text += file.readline(MAX_ROW + 1)
            if len(text) > MAX_ROW and len(text) - text.rfind(b"\n", 0, -1) - 1 > MAX_ROW:
                raise row_too_large_error(path, first + text.count(b"\n", 0, -1))
        blank = blank + len(text) if text.isspace() else 0
        if blank > _MOST_BLANK:
            raise unreadable_file_error(path, "has more than 1 MiB of blank lines in a row", "remove them", first)
        if size is not None:
            size -= len(text)
        block = LineBlock(first, text)
        yield block
        first += block.count


def _nested(depth: int) -> bytes:
    """Return a pattern for a bracket with all that it holds, down to `depth` further brackets. It never backtracks."""
    text = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
    inner = rb'[^\[\]{}"]++|' + text
    pattern = rb"[\[{](?:" + inner + rb")*+[\]}]"
    for _ in range(depth):
        pattern = rb"[\[{](?:" + inner + rb"|" + pattern + rb")*+[\]}]"
    return rb"\s*+(" + pattern + rb"|" + text + rb'|[^\[\]{}",\s]++)\s*+([,\]])'


_ELEMENT = re.compile(_nested(6), re.DOTALL)
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[\[\]{}]', re.DOTALL)


def _array(path: Path, file: BufferedReader) -> Iterator[Row]:
    """Yield the elements, which brackets separate; the reader of rows finds out whether each is valid JSON."""
    buffer = file.read(_BLOCK)
    position = buffer.index(b"[") + 1
    number, newlines, more = 0, buffer.count(b"\n", 0, position), True
    while True:
        found = _ELEMENT.match(buffer, position)
        span = found.span(1) if found else None
        end = found.end() if found else 0
        if span is None:
            span, end = _deep_element(buffer, position)
        if span is not None:
            number += 1
            yield number, buffer[span[0] : span[1]]
            newlines += buffer.count(b"\n", position, end)
            position = end
            if buffer[end - 1 : end] == b"]":
                return _no_more(path, file, buffer[position:])
            continue
        rest = buffer[position:].lstrip(_SPACE)
        if rest[:1] == b"]" and not number:
            return _no_more(path, file, rest[1:])
        chunk = file.read(max(_BLOCK, len(buffer) - position)) if more else b""
        if not chunk:
            raise _broken_off(path, buffer, position, number, newlines)
        buffer, position = buffer[position:] + chunk, 0
        if len(buffer) > 2 * MAX_ROW:
            raise row_too_large_error(path, number + 1, unit=RECORD)


def _deep_element(buffer: bytes, start: int) -> tuple[tuple[int, int] | None, int]:
    """Return the element and the end of its comma, for brackets deeper than the pattern knows."""
    first = len(buffer) - len(buffer[start:].lstrip(_SPACE))
    if buffer[first : first + 1] not in (b"{", b"["):
        return None, 0
    depth = 0
    for token in _TOKEN.finditer(buffer, first):
        bracket = token[0]
        if bracket in b"[{":
            depth += 1
        elif bracket in b"]}":
            depth -= 1
            if not depth:
                after = re.compile(rb"\s*([,\]])").match(buffer, token.end())
                return ((first, token.end()), after.end()) if after else (None, 0)
    return None, 0


def _no_more(path: Path, file: BufferedReader, rest: bytes) -> None:
    while rest or (rest := file.read(_BLOCK)):
        if rest.strip(_SPACE):
            raise unreadable_file_error(path, "goes on after the end of its array", "remove what is after the last ]")
        rest = b""


def _broken_off(path: Path, buffer: bytes, position: int, number: int, newlines: int) -> Exception:
    rest = buffer[position:]
    space = len(rest) - len(rest.lstrip(_SPACE))
    line = newlines + rest.count(b"\n", 0, space) + 1
    what = "ends inside the array" if rest[space:][:1] in (b"", b"{", b"[", b'"') else "is not JSON: expecting a record"
    where = f"at line {line}" + (f", after record {number}" if number else "")
    return unreadable_file_error(
        path, f"{what} {where}", "correct the JSON, or get the whole file", number + 1, unit=RECORD
    )
