"""Parquet and Arrow files, with pyarrow. A null is the same as an absent key, at any depth: columns of objects have
no other way to leave a key out. NaN is a null, too, as pandas writes it for what is missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from tuneport.data.containers.bad_row import BadRow, unreadable_file_error
from tuneport.data.containers.cells import LISTS, RepeatedKeyError, parse_dataset_cell
from tuneport.data.containers.json_text import Row
from tuneport.data.containers.limits import MOST_TIMES, DecompressionLimit
from tuneport.data.containers.mapping.columns import ColumnMapping
from tuneport.data.containers.numbering import RECORD
from tuneport.data.rows.repeated_keys import FIX
from tuneport.data.running.underway import report_data_activity
from tuneport.errors import ConfigError, DatasetError
from tuneport.installation import install_extra

ROWS = 1000  # in memory at once
SUFFIXES = (".parquet", ".arrow")


def import_pyarrow() -> Any:
    """Return the library. Raises ConfigError that says how to install it."""
    try:
        import pyarrow
        import pyarrow.ipc
        import pyarrow.parquet
    except ImportError as error:
        raise ConfigError(f"Parquet and Arrow files need pyarrow: {install_extra('checks')}") from error
    return pyarrow


def arrow_rows(path: Path, columns: ColumnMapping, *, allow_large: bool = False) -> Iterator[Row]:
    """Yield the records with their numbers. Raises DatasetError for a file that holds more than its size warrants
    (`limits`)."""
    arrow = import_pyarrow()
    number = 0
    size = DecompressionLimit(path, allowed=allow_large)
    try:
        size.add(0, path.stat().st_size)
        if not allow_large and path.suffix.lower() == ".parquet":
            _refuse_unfolding(arrow, path)
        for batch in _batches(arrow, path):
            batch.validate(full=True)  # a damaged one, unchecked, ends the process: no exception, but an abort in C++
            names = columns.renamed(batch.schema.names)
            if isinstance(names, BadRow):
                raise unreadable_file_error(path, names.rule, names.fix)
            for row in batch.rename_columns(names).to_pylist(maps_as_pydicts="strict"):
                number += 1
                raw = _raw(row)
                size.add(len(raw), 0)  # not the batch's bytes: a dictionary's values are there once
                yield number, raw
    except (DatasetError, GeneratorExit):
        raise
    except FileNotFoundError as error:
        raise unreadable_file_error(path, "does not exist", "correct the path") from error
    except Exception as error:  # a damaged file makes pyarrow raise a dozen kinds, ValueError and KeyError among them
        words = " ".join(str(error).split())[:200]
        where = number + 1 if number else None
        raise unreadable_file_error(
            path, f"cannot be read: {words}", "get an undamaged copy of the file", where, unit=RECORD
        ) from error


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


def _refuse_unfolding(arrow: Any, path: Path) -> None:
    """Raise DatasetError for a Parquet file that holds too much, before hours go into its rows.

    If the first rows suggest more than is allowed, all are decoded, which takes a tenth of the time of reading them.
    """
    packed = path.stat().st_size
    with arrow.parquet.ParquetFile(path) as file:
        first = next(file.iter_batches(batch_size=ROWS), None)
        if first is None or not first.num_rows:
            return
        promised = _bytes_of(arrow, first) * (file.metadata.num_rows / first.num_rows)
        if promised <= max(MOST_TIMES[0][0], MOST_TIMES[-1][1] * packed):
            return
        size = DecompressionLimit(path, allowed=False)
        size.add(0, packed)
        for batch in file.iter_batches(batch_size=ROWS):
            size.add(_bytes_of(arrow, batch), 0)


def _bytes_of(arrow: Any, batch: Any) -> int:
    """Return the bytes of the values, each counted as often as it occurs."""
    batch.validate(full=True)
    columns = (
        column.dictionary_decode() if arrow.types.is_dictionary(column.type) else column for column in batch.columns
    )
    return sum(column.nbytes for column in columns)


def _batches(arrow: Any, path: Path) -> Iterator[Any]:
    if path.suffix.lower() == ".parquet":
        with arrow.parquet.ParquetFile(path) as file:
            rows, all_rows = 0, max(1, file.metadata.num_rows)
            with report_data_activity(f"reading {path.name}", lambda: rows / all_rows):
                for batch in file.iter_batches(batch_size=ROWS):
                    rows += batch.num_rows
                    yield batch
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
                row[name] = parse_dataset_cell(name, value)
        return msgspec.json.encode(without_nulls(row))
    except RepeatedKeyError as error:
        return BadRow(str(error), FIX)
    except (TypeError, UnicodeEncodeError, OverflowError, RecursionError) as error:
        return BadRow(f"holds a value that JSON cannot hold: {error}", "store it as text")
