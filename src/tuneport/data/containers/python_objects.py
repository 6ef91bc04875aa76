"""Rows that are Python objects: lists of dicts, pandas DataFrames and `datasets.Dataset`, as a file of JSON lines.

A cell of a DataFrame or a `datasets.Dataset` that is missing (None, NaN, NaT, NA) leaves its key out, as in a Parquet
file. In plain dicts only NaN does, which is how pandas marks what is missing; None is JSON's null.
"""

from __future__ import annotations

import math
import os
import shutil
import sys
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, time
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import msgspec

from tuneport import private
from tuneport.errors import DatasetError, DatasetProblem, StorageError

AT_ONCE = 2_000
"""Rows of a table that are Python objects at the same time."""
PROBLEMS_LISTED = 50
UNIT = "row"
_JSON_TYPES = (str, int, bool, type(None))


class TableLike(Protocol):
    """The shared interface of a pandas DataFrame and a `datasets.Dataset`; neither library is imported for it."""

    def __len__(self) -> int: ...

    def to_dict(self, *args: Any, **options: Any) -> Any: ...


Rows: TypeAlias = Iterable[Mapping[str, Any]] | TableLike
"""A list (or another iterable) of dicts, a pandas DataFrame, or a `datasets.Dataset`."""


class RowsFile:
    """A private file with the rows. It is deleted when nothing refers to this object any more, at exit at the latest.

    Raises DatasetError that names each row with a value that JSON cannot hold, TypeError for an object that is no
    dataset, and StorageError if the file cannot be written.
    """

    def __init__(self, rows: Rows) -> None:
        self.kind, found = _rows_of(rows)
        try:
            folder = tempfile.mkdtemp(prefix="tuneport-rows-")
        except OSError as error:
            raise _unwritable(tempfile.gettempdir(), error) from error
        self.path = Path(folder, f"{self.kind}.jsonl")
        self._delete = weakref.finalize(self, _remove, folder, os.getpid())
        try:
            self.count = _write(found, self.path, self.kind)
        except OSError as error:
            self._delete()
            raise _unwritable(folder, error) from error
        except BaseException:
            self._delete()
            raise


def _remove(folder: str, process: int) -> None:
    if os.getpid() == process:  # a forked child leaves its parent's file alone
        shutil.rmtree(folder, ignore_errors=True)


def _unwritable(folder: str, error: OSError) -> StorageError:
    reason = error.strerror or str(error)
    return StorageError(f"the rows cannot be written to {folder}: {reason}; make room, or set TMPDIR to another folder")


def _write(rows: Iterator[Mapping[str, Any]], path: Path, kind: str) -> int:
    """Write the rows as they come, one in memory at a time, and return how many there are."""
    problems: list[DatasetProblem] = []
    number = wrong = 0
    encode = msgspec.json.Encoder().encode
    with open(path, "xb", opener=private.private_file_opener) as file:
        for number, row in enumerate(rows, start=1):
            try:
                if not isinstance(row, Mapping):
                    raise ValueError(f"is a {type(row).__name__}, not a dict")
                line = encode(_plain(row))
            except (ValueError, TypeError, OverflowError, RecursionError) as error:
                wrong += 1
                if wrong <= PROBLEMS_LISTED:
                    problems.append(_problem(kind, number, row, error))
                continue
            if not wrong:
                file.write(line)
                file.write(b"\n")
    if wrong:
        raise DatasetError(problems, count=wrong)
    if not number:
        raise DatasetError(DatasetProblem(f"the {kind}", None, "", "has no rows", "give at least one record"))
    return number


def _problem(kind: str, number: int, row: object, error: Exception) -> DatasetProblem:
    field, rule = _place_of(row)
    if isinstance(error, RecursionError):
        rule = "is nested too deeply, or holds itself"
    fix = "give text, numbers, lists and dicts"
    return DatasetProblem(f"the {kind}", number, field, rule or str(error), fix, UNIT)


def _place_of(value: object, depth: int = 0) -> tuple[str, str]:
    """Return where the value that JSON cannot hold is, such as `messages[0].content`, and what is wrong with it."""
    inside: Iterable[tuple[str, object]] = ()
    if isinstance(value, Mapping):
        inside = ((str(key), item) for key, item in value.items())
    elif isinstance(value, list | tuple):
        inside = ((f"[{place}]", item) for place, item in enumerate(value))
    for name, item in inside:
        try:
            msgspec.json.encode(_plain(item))
        except (ValueError, TypeError, OverflowError) as error:
            if depth > 20:
                return name, str(error)
            below, rule = _place_of(item, depth + 1)
            return name + (below if below[:1] in ("", "[") else f".{below}"), rule or str(error)
        except RecursionError:
            return name, ""
    return "", ""


def _plain(value: Any) -> Any:
    """Return the value as JSON has it. ValueError for what JSON cannot hold without a change of its meaning."""
    kind = type(value)
    if kind in _JSON_TYPES:
        return value
    if kind is dict or isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise ValueError(f"has the key {key!r}, which is no text")
        return {str(key): _plain(item) for key, item in value.items() if not _is_missing(item)}
    if kind is list or kind is tuple:
        return [None if _is_missing(item) else _plain(item) for item in value]
    if _is_numpy(value, "ndarray"):
        return _plain(value.tolist())
    if _is_numpy(value, "generic"):
        return _plain(value.item())
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"is {value}, which JSON cannot hold")
        return float(value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, date | time):  # a datetime is a date
        return value.isoformat()
    raise ValueError(f"is a {kind.__module__}.{kind.__qualname__}, which JSON cannot hold")


def _is_numpy(value: Any, kind: str) -> bool:
    """Return whether the value is of that class of numpy, which is loaded if there is such a value."""
    return (numpy := sys.modules.get("numpy")) is not None and isinstance(value, getattr(numpy, kind))


def _is_missing(value: Any) -> bool:
    """Return whether pandas would call it missing: NaN, NaT or NA. None is JSON's own."""
    if isinstance(value, float):
        return value != value
    return type(value).__name__ in ("NAType", "NaTType")


# --- the rows of each kind ------------------------------------------------------------------------------------------


def _rows_of(given: Any) -> tuple[str, Iterator[Mapping[str, Any]]]:
    """Return what messages call it, and its rows."""
    if (pandas := sys.modules.get("pandas")) is not None and isinstance(given, pandas.DataFrame):
        return "DataFrame", _of_frame(given)
    if (datasets := sys.modules.get("datasets")) is not None:
        if isinstance(given, datasets.Dataset):
            return "Dataset", _of_dataset(given)
        if isinstance(given, datasets.IterableDataset):
            return "IterableDataset", map(_without_missing, given.with_format(None))
        if isinstance(given, datasets.DatasetDict | datasets.IterableDatasetDict):
            raise TypeError(f"a DatasetDict has several splits ({', '.join(given)}); give one, such as data['train']")
    if isinstance(given, Mapping) or not isinstance(given, Iterable):
        raise TypeError(
            f"a dataset is a path, a list of dicts, a pandas DataFrame or a datasets.Dataset, not a {_name(given)}"
        )
    return "list", iter(given)


def _name(given: object) -> str:
    return type(given).__name__


def _of_frame(frame: Any) -> Iterator[Mapping[str, Any]]:
    names = list(frame.columns)
    if repeated := sorted({str(name) for name in names if names.count(name) > 1}):
        raise DatasetError(
            DatasetProblem("the DataFrame", None, repeated[0], "is the name of several columns", "rename all but one")
        )
    for start in range(0, len(frame), AT_ONCE):
        yield from map(_without_missing, frame.iloc[start : start + AT_ONCE].to_dict("records"))


def _of_dataset(dataset: Any) -> Iterator[Mapping[str, Any]]:
    for batch in dataset.with_format(None).iter(batch_size=AT_ONCE):
        names = list(batch)
        for values in zip(*batch.values(), strict=True):
            yield _without_missing(dict(zip(names, values, strict=True)))


def _without_missing(value: Any) -> Any:
    """Return the value without keys that hold nothing, at any depth: columns of objects have no other way to leave a
    key out."""
    if _is_numpy(value, "ndarray"):
        value = value.tolist()
    if isinstance(value, dict):
        return {key: _without_missing(item) for key, item in value.items() if item is not None}
    return [_without_missing(item) for item in value] if isinstance(value, list) else value
