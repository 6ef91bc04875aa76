"""CSV: a header, then a record a line. Cells are text, or JSON in the columns that hold lists (`cells.py`)."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator
from io import BufferedReader
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import msgspec

from tuneport.data.containers.bad_row import MAX_ROW, BadRow, unreadable_file_error
from tuneport.data.containers.cells import RepeatedKeyError, parse_dataset_cell
from tuneport.data.containers.folder import container_suffix
from tuneport.data.containers.json_text import Row, read_lines
from tuneport.data.containers.mapping.columns import ColumnMapping
from tuneport.data.rows.repeated_keys import FIX
from tuneport.data.rows.syntax_hints import explain_foreign_file

_SEPARATORS = (",", ";", "\t")
_QUOTED = re.compile(r'"[^"]*"')
_OPEN_QUOTE = (
    f"a quoted cell does not end within {MAX_ROW >> 20} MiB",
    "add the closing quote, and double the quotes within the cell",
)
_encode = msgspec.json.Encoder().encode


def csv_rows(path: Path, file: BufferedReader, columns: ColumnMapping, notes: list[str]) -> Iterator[Row]:
    """Yield the records with the number of their first line. `.tsv` files are separated by tabs, others by the most
    frequent of comma, semicolon and tab in their header.

    A column without a name is left out if it is empty, which is added to `notes`.
    """
    foreign = explain_foreign_file(file.peek(4096)[:4096])
    if foreign:
        raise unreadable_file_error(path, *foreign)
    csv.field_size_limit(MAX_ROW)  # of the whole process, and only ever more lenient: the default is 128 KiB
    encodings = chain(["utf-8-sig"], repeat("utf-8"))
    text = (line.decode(next(encodings), "surrogateescape") for line in read_lines(path, file))
    first = next(text, "")
    separator = "\t" if container_suffix(path) == ".tsv" else _separator(first)
    table = csv.reader(chain([first] if first else [], text), delimiter=separator, strict=True)
    header, unnamed = _header(path, table, columns)
    if unnamed:
        places = ", ".join(str(index + 1) for index in unnamed)
        notes.append(
            f"{path.name}: column{'s' if len(unnamed) > 1 else ''} {places} without a name, empty and left out"
        )
    nameless = frozenset(unnamed)
    blank: list[int] = []
    before = table.line_num
    while True:
        row: bytes
        try:
            cells = next(table)
        except StopIteration:
            return
        except csv.Error as error:
            if "larger than field limit" in str(error):  # what follows is the rest of that cell, not rows
                raise unreadable_file_error(path, *_OPEN_QUOTE, before + 1) from error
            row = BadRow(f"is not CSV: {error}", "quote the cell, and double the quotes within it")
        else:
            row = _row(header, _named(path, header, nameless, cells, before + 1)) if cells else b""
        line, before = before + 1, table.line_num
        if not row and not isinstance(row, BadRow):
            blank.append(line)  # one at the end is none
            continue
        yield from ((earlier, b"") for earlier in blank)
        blank.clear()
        yield line, row


def _row(header: list[str], cells: list[str] | BadRow) -> bytes:
    if isinstance(cells, BadRow):
        return cells
    row: dict[str, Any] = {}
    try:
        for name, cell in zip(header, cells, strict=True):
            row[name] = parse_dataset_cell(name, cell)
        return _encode({name: value for name, value in row.items() if value is not None})
    except RepeatedKeyError as error:
        return BadRow(str(error), FIX)
    except UnicodeEncodeError:
        return BadRow("is not UTF-8", "save the file as UTF-8")


def _separator(header: str) -> str:
    counts = Counter(_QUOTED.sub("", header))
    return max(_SEPARATORS, key=lambda mark: counts[mark])


def _named(path: Path, header: list[str], unnamed: frozenset[int], cells: list[str], line: int) -> list[str] | BadRow:
    """Return the cells without those of columns that have no name. Raises DatasetError if one of these holds
    something."""
    width = len(header) + len(unnamed)
    if len(cells) != width:
        if unnamed and len(cells) == len(header) == min(unnamed):
            return cells  # what has no name comes last, and is not there either
        words = "cell" if len(cells) == 1 else "cells"
        return BadRow(f"has {len(cells)} {words}, the header {width}", "quote cells that hold the separator")
    if not unnamed:
        return cells
    for index in sorted(unnamed):
        if cells[index].strip():
            rule = f"the column {index + 1} has no name in the header, and holds {cells[index][:40]!r} here"
            raise unreadable_file_error(path, rule, "name it in the header, or remove it", line)
    return [cell for index, cell in enumerate(cells) if index not in unnamed]


def _header(path: Path, table: Iterator[list[str]], columns: ColumnMapping) -> tuple[list[str], list[int]]:
    """Return the names, and the positions of columns without one."""
    try:
        names = [name.strip() for name in next(table, [])]
    except csv.Error as error:
        raise unreadable_file_error(path, f"is not CSV: {error}", "correct the header", 1) from error
    unnamed = [index for index, name in enumerate(names) if not name]
    names = [name for name in names if name]
    if not names:
        raise unreadable_file_error(
            path, "is empty" if not unnamed else "has no header", "give a file with a header and records"
        )
    bad = next((name for name, count in Counter(names).items() if count > 1), None)
    if bad is not None:
        raise unreadable_file_error(
            path, f"the header has the column {bad!r} twice", "give each column a name of its own", 1
        )
    if not all(name.isprintable() for name in names):
        raise unreadable_file_error(path, "the header is not text", "save the file as CSV in UTF-8", 1)
    renamed = columns.renamed(names)
    if isinstance(renamed, BadRow):
        raise unreadable_file_error(path, renamed.rule, renamed.fix, 1)
    return renamed, unnamed
