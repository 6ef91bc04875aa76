"""Parquet and Arrow files, with pyarrow. A null is the same as an absent key, at any depth: columns of objects have
no other way to leave a key out. NaN is a null, too, as pandas writes it for what is missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from tuneport.data.containers.bad_row import BadRow, whole
from tuneport.data.containers.cells import LISTS, RepeatedKeyError, value_of
from tuneport.data.containers.columns import Columns
from tuneport.data.containers.json_text import Row
from tuneport.data.containers.numbering import RECORD
from tuneport.data.repeated_keys import FIX
from tuneport.errors import ConfigError, DatasetError

ROWS = 1000  # in memory at once
SUFFIXES = (".parquet", ".arrow")


def pyarrow() -> Any:
    """The library; ConfigError says how to get it."""
    try:
        import pyarrow
        import pyarrow.ipc
        import pyarrow.parquet
    except ImportError as error:
        raise ConfigError("Parquet and Arrow files need pyarrow: pip install 'tuneport[checks]'") from error
    return pyarrow


def arrow_rows(path: Path, columns: Columns) -> Iterator[Row]:
    """The records with their numbers."""
    arrow = pyarrow()
    number = 0
    try:
        for batch in _batches(arrow, path):
            batch.validate(full=True)  # a damaged one, unchecked, ends the process: no exception, but an abort in C++
            names = columns.renamed(batch.schema.names)
            if isinstance(names, BadRow):
                raise whole(path, names.rule, names.fix)
            for row in batch.rename_columns(names).to_pylist(maps_as_pydicts="strict"):
                number += 1
                yield number, _raw(row)
    except (DatasetError, GeneratorExit):
        raise
    except FileNotFoundError as error:
        raise whole(path, "does not exist", "correct the path") from error
    except Exception as error:  # a damaged file makes pyarrow raise a dozen kinds, ValueError and KeyError among them
        words = " ".join(str(error).split())[:200]
        where = number + 1 if number else None
        raise whole(
            path, f"cannot be read: {words}", "get an undamaged copy of the file", where, unit=RECORD
        ) from error


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


def _batches(arrow: Any, path: Path) -> Iterator[Any]:
    if path.suffix.lower() == ".parquet":
        with arrow.parquet.ParquetFile(path) as file:
            yield from file.iter_batches(batch_size=ROWS)
        return
    with arrow.memory_map(str(path)) as file:
        try:
            batches = iter(arrow.ipc.open_stream(file))
        except arrow.ArrowInvalid:
            opened = arrow.ipc.open_file(file)
            batches = (opened.get_batch(at) for at in range(opened.num_record_batches))
        for batch in batches:
            yield from (batch.slice(at, ROWS) for at in range(0, batch.num_rows, ROWS))


def _raw(row: dict[str, Any]) -> bytes:
    try:
        for name, value in row.items():
            if isinstance(value, str) and name in LISTS:
                row[name] = value_of(name, value)
        return msgspec.json.encode(without_nulls(row))
    except RepeatedKeyError as error:
        return BadRow(str(error), FIX)
    except (TypeError, UnicodeEncodeError, OverflowError, RecursionError) as error:
        return BadRow(f"holds a value that JSON has not: {error}", "store it as text")
