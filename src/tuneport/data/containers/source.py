"""A dataset wherever it lies: a file, a folder or the hub, as rows of JSON with their numbers."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from io import BufferedReader, FileIO
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from tuneport.data.containers.arrow import SUFFIXES as ARROW
from tuneport.data.containers.arrow import arrow_rows
from tuneport.data.containers.bad_row import unreadable_file_error
from tuneport.data.containers.csv_table import csv_rows
from tuneport.data.containers.folder import TEXTS, container_suffix, list_data_files, list_splits, split_name
from tuneport.data.containers.hub import download_hub_dataset, hub_dataset_name
from tuneport.data.containers.json_text import (
    Batch,
    LineBlock,
    Row,
    batch_rows,
    is_json_array_file,
    read_json_batches,
    read_json_rows,
)
from tuneport.data.containers.limits import large_files_allowed
from tuneport.data.containers.mapping.columns import ColumnMapping
from tuneport.data.containers.mapping.row_prompts import RowPrompts
from tuneport.data.containers.numbering import LINE, RECORD, RowNumbering, RowPosition
from tuneport.data.containers.plain_text import is_plain_text_file, text_rows
from tuneport.data.containers.unpacking import open_unpacked
from tuneport.errors import DatasetError

_ROW_BY_ROW = {".csv", ".tsv", *ARROW, *TEXTS}
_FOREIGN = {".xlsx", ".xls", ".ods", ".zip", ".tar", ".tgz", ".bz2", ".xz", ".7z"}


class LinesFile(NamedTuple):
    """The first line begins at the byte `start`."""

    path: Path
    start: int
    size: int


class RowSource:
    """The rows of a dataset.

    `path` is a file, a folder or `hf://owner/name`; a split of the latter two is named as in `folder#train`. `columns`
    maps the names that a format expects to those in the files; `template` and `system` are those of `RowPrompts`.
    Numbers are lines in JSON lines, CSV and texts, records elsewhere; in a folder they go on from file to file, and
    `numbering` says which file and line a number is, once it was read.
    """

    def __init__(
        self,
        path: Path | str,
        columns: Mapping[str, str] | None = None,
        *,
        template: str | None = None,
        system: str | None = None,
    ) -> None:
        self.path = Path(path)
        self._mapping, self._template, self._system = columns, template, system
        self._columns = ColumnMapping(columns)
        self._prompts = RowPrompts(template, system, columns)
        self._allow_large = large_files_allowed()
        self.files = list_dataset_files(self.path)
        self.numbering = self._unread()
        self.notes: list[str] = []
        """What reading has left out that holds nothing."""

    @property
    def missing(self) -> list[str]:
        """Return the columns that are mapped or in the template, and that no row had so far."""
        return [*self._columns.missing, *self._prompts.missing]

    def rows(self) -> Iterator[Row]:
        """Yield each row's JSON, undecoded. Raises DatasetError for a file that is missing, empty or unreadable, and at
        the end for a mapped column that no row had."""
        self._columns = ColumnMapping(self._mapping)
        self._prompts = RowPrompts(self._template, self._system, self._mapping)
        self.numbering = numbering = self._unread()
        numbering.starts.clear()
        self.notes.clear()
        before = 0
        for file in self.files:
            numbering.starts.append(before)
            rows = self._prompted(self._read(file)) if self._prompts else self._read(file)
            first = next(rows, None)
            if first is None:
                raise empty_file_error(file)
            if file is self.files[-1] and not before:  # the usual case, without a loop of Python
                yield first
                yield from rows
                break
            number = 0
            for number, raw in chain([first], rows):
                yield before + number, raw
            before += number
        if self._columns.missing:
            raise self._columns.absent(self.path)
        if self._prompts.missing:
            raise self._prompts.absent(self.path)

    def batches(self) -> Iterator[LineBlock | Batch]:
        """Yield the same rows, many at a time: few enough that one odd row sends few others the slow way."""
        if len(self.files) == 1 and self._is_as_written and container_suffix(self.files[0]) not in _ROW_BY_ROW:
            file = self.files[0]
            self.numbering = self._unread()
            with open_unpacked(file, allow_large=self._allow_large) as unpacked:
                found = False
                for batch in read_json_batches(file, unpacked, self._is_array(file, unpacked)):
                    found = True
                    yield batch
            if not found:
                raise empty_file_error(file)
        else:
            yield from batch_rows(self.rows())

    def lines_file(self) -> LinesFile | None:
        """Return the dataset as lines that can be read from any position: a single file of JSON lines, or None for
        anything else. Raises DatasetError for a file that cannot be read or is empty."""
        file = self.files[0]
        if (
            len(self.files) > 1
            or not self._is_as_written
            or container_suffix(file) in _ROW_BY_ROW
            or not file.is_file()
        ):
            return None
        with open_unpacked(file, allow_large=self._allow_large) as unpacked:
            size = file.stat().st_size
            if isinstance(unpacked.raw, FileIO) and size and not is_json_array_file(file, unpacked):
                self.numbering = self._unread()
                self.numbering.units.append(LINE)
                return LinesFile(file, unpacked.tell(), size)
        return None

    def locate(self, number: int) -> RowPosition:
        """Return the file of a row that was read, and its line or record number there."""
        return self.numbering.place(number)

    @property
    def _is_as_written(self) -> bool:
        """Return whether rows are read as they are in the file."""
        return not self._columns and not self._prompts

    def _prompted(self, rows: Iterator[Row]) -> Iterator[Row]:
        make = self._prompts.row
        for number, raw in rows:
            yield number, make(raw)

    def _unread(self) -> RowNumbering:
        return RowNumbering(self.path.parent if self.files == [self.path] else self._folder(), self.files)

    def _folder(self) -> Path:
        """Return the folder that all the files are in."""
        return Path(os.path.commonpath([file.parent for file in self.files]))

    def _is_array(self, file: Path, unpacked: BufferedReader[Any]) -> bool:
        array = is_json_array_file(file, unpacked)
        self.numbering.units.append(RECORD if array else LINE)
        return array

    def _read(self, file: Path) -> Iterator[Row]:
        suffix = container_suffix(file)
        if suffix in ARROW and file.suffix.lower() == suffix:
            self.numbering.units.append(RECORD)
            yield from arrow_rows(file, self._columns, allow_large=self._allow_large)
            return
        if suffix in ARROW:
            raise unreadable_file_error(file, f"is a packed {suffix} file", "unpack it first")
        with open_unpacked(file, allow_large=self._allow_large) as unpacked:
            if suffix in (".csv", ".tsv"):
                self.numbering.units.append(LINE)
                yield from csv_rows(file, unpacked, self._columns, self.notes)
                return
            if is_plain_text_file(file, unpacked):
                self.numbering.units.append(LINE)
                rows = text_rows(file, unpacked)
            else:
                rows = read_json_rows(file, unpacked, self._is_array(file, unpacked))
            if self._columns:
                rename = self._columns.row
                for number, raw in rows:
                    yield number, rename(raw)
            else:
                yield from rows


def list_dataset_files(path: Path) -> list[Path]:
    """Return the files of a dataset, in reading order.

    A single file may be missing. Raises DatasetError for a folder that cannot be read and for an unknown kind of file.
    """
    try:
        folder, split = _folder_and_split(path)
        if folder is not None:
            return list_data_files(folder, split)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise unreadable_file_error(path, f"cannot be read: {reason}", "check the path and its permissions") from error
    if container_suffix(path) in _FOREIGN and path.is_file():
        raise unreadable_file_error(
            path, f"{path.suffix} files are not supported", "convert it to .jsonl, one JSON object a line"
        )
    return [path]


def _folder_and_split(path: Path) -> tuple[Path | None, str | None]:
    """Return the folder of a dataset, downloaded if it is the hub's, and the named split; no folder for a file."""
    name = hub_dataset_name(path)
    if name is not None:
        name, _, named = name.partition("#")
        return download_hub_dataset(name), named or None
    if "#" in path.name and not path.exists():
        stem, _, named = path.name.rpartition("#")
        folder = path.parent / stem
        if folder.is_dir():
            return folder, named
    return (path, None) if path.is_dir() else (None, None)


def find_dataset_held_out_split(path: Path) -> Path | None:
    """Return the split that a folder holds out, for its split `train`, or None if there is none."""
    try:
        folder, split = _folder_and_split(path)
    except (OSError, ValueError):
        return None  # its reader says so
    if folder is None or split is None or split_name(split) != "train":
        return None
    splits = list_splits(folder)
    name = next((name for name in ("validation", "test") if name in splits), None)
    return None if name is None else path.with_name(f"{path.name.rpartition('#')[0]}#{name}")


def empty_file_error(file: Path) -> DatasetError:
    return unreadable_file_error(file, "is empty", "give a file with at least one record")
