"""CSV: a header, then a record a line. Cells are text, or JSON in the columns that hold lists (`cells.py`)."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from io import BufferedReader
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import msgspec

from tuneport.data.broken import foreign_start
from tuneport.data.containers.bad_row import MAX_ROW, BadRow, whole
from tuneport.data.containers.cells import RepeatedKeyError, value_of
from tuneport.data.containers.columns import Columns
from tuneport.data.containers.json_text import Row, lines_of
from tuneport.data.repeated_keys import FIX

_encode = msgspec.json.Encoder().encode


def csv_rows(path: Path, file: BufferedReader, columns: Columns) -> Iterator[Row]:
    """The records with the number of their first line. The separator is a comma unless the header has only others."""
    foreign = foreign_start(file.peek(4096)[:4096])
    if foreign:
        raise whole(path, *foreign)
    csv.field_size_limit(MAX_ROW)  # of the whole process, and only ever more lenient: the default is 128 KiB
    encodings = chain(["utf-8-sig"], repeat("utf-8"))
    text = (line.decode(next(encodings), "surrogateescape") for line in lines_of(path, file))
    first = next(text, "")
    separator = next((mark for mark in (",", ";", "\t") if mark in first), ",")
    table = csv.reader(chain([first] if first else [], text), delimiter=separator, strict=True)
    header = _header(path, table, columns)
    blank: list[int] = []
    before = table.line_num
    while True:
        row: bytes
        try:
            cells = next(table)
        except StopIteration:
            return
        except csv.Error as error:
            row = BadRow(f"is not CSV: {error}", "quote the cell, and double the quotes within it")
        else:
            row = _row(header, cells) if cells else b""
        line, before = before + 1, table.line_num
        if not row and not isinstance(row, BadRow):
            blank.append(line)  # one at the end is none
            continue
        yield from ((earlier, b"") for earlier in blank)
        blank.clear()
        yield line, row


def _row(header: list[str], cells: list[str]) -> bytes:
    if len(cells) != len(header):
        words = "cell" if len(cells) == 1 else "cells"
        return BadRow(f"has {len(cells)} {words}, the header {len(header)}", "quote cells that hold the separator")
    row: dict[str, Any] = {}
    try:
        for name, cell in zip(header, cells, strict=True):
            row[name] = value_of(name, cell)
        return _encode({name: value for name, value in row.items() if value is not None})
    except RepeatedKeyError as error:
        return BadRow(str(error), FIX)
    except UnicodeEncodeError:
        return BadRow("is not UTF-8", "save the file as UTF-8")


def _header(path: Path, table: Iterator[list[str]], columns: Columns) -> list[str]:
    try:
        names = [name.strip() for name in next(table, [])]
    except csv.Error as error:
        raise whole(path, f"is not CSV: {error}", "correct the header", 1) from error
    if not names:
        raise whole(path, "is empty", "give a file with a header and at least one record")
    bad = next((name for name in names if not name or names.count(name) > 1), None)
    if bad is not None:
        rule = f"the header has the column {bad!r} twice" if bad else "the header has a column without a name"
        raise whole(path, rule, "give each column a name of its own", 1)
    if not all(name.isprintable() for name in names):
        raise whole(path, "the header is no text", "save the file as CSV in UTF-8", 1)
    renamed = columns.renamed(names)
    if isinstance(renamed, BadRow):
        raise whole(path, renamed.rule, renamed.fix, 1)
    return renamed
