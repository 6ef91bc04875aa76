"""CSV and Parquet out. Their columns are known only once all rows are, so the rows wait in a temporary file."""

from __future__ import annotations

import csv
import io
import tempfile
from array import array
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import IO, Any

import msgspec

from tuneport.data.containers.arrow import ROWS, import_pyarrow, without_nulls
from tuneport.data.containers.cells import LISTS, RepeatedKeyError, format_dataset_cell, parse_dataset_cell
from tuneport.data.formats.contract import DatasetFormat, InvalidRecord, Unrepresentable, is_equivalent_record

_Losses = list[tuple[int, list[Unrepresentable]]]
_REASON = "a table's cell cannot hold it: it would be read back as text, or as empty if it is missing"


class _SpooledRows:
    """The rows, spooled, with their numbers and the union of their columns."""

    def __init__(self, file: IO[bytes], target: DatasetFormat) -> None:
        self.file, self.target = file, target
        self.columns: dict[str, None] = {}
        self._numbers = array("q")
        self._rows = tempfile.TemporaryFile()  # noqa: SIM115 - closed by itself
        self._keys = msgspec.json.Decoder(dict[str, msgspec.Raw])

    def write(self, numbers: Sequence[int], lines: bytes) -> None:
        for row in self._keys.decode_lines(lines):
            self.columns |= dict.fromkeys(row)
        self._numbers.extend(numbers)
        self._rows.write(lines)

    def rows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        self._rows.seek(0)
        decode = msgspec.json.Decoder(dict[str, Any]).decode
        return zip(self._numbers, map(decode, self._rows), strict=True)

    def batches(self) -> Iterator[tuple[list[int], list[dict[str, Any]]]]:
        rows = self.rows()
        while batch := list(islice(rows, ROWS)):
            yield [number for number, _ in batch], [row for _, row in batch]

    def lost(self, row: dict[str, Any], back: dict[str, Any]) -> list[Unrepresentable]:
        """Return what differs between a row and what will be read back, if it makes another record."""
        if row == back:
            return []
        read = self.target.read_format_row
        try:
            if is_equivalent_record(read(msgspec.json.encode(row)), read(msgspec.json.encode(back))):
                return []
        except InvalidRecord:
            pass
        return [Unrepresentable(name, _REASON) for name in self.columns if row.get(name) != back.get(name)]


class CsvSink(_SpooledRows):
    delimiter = ","

    def end(self) -> _Losses:
        losses: _Losses = []
        text = io.TextIOWrapper(self.file, "utf-8", newline="", write_through=True)
        table = csv.writer(text, delimiter=self.delimiter)
        table.writerow(self.columns)
        for number, row in self.rows():
            cells = [format_dataset_cell(row.get(name)) for name in self.columns]
            table.writerow(cells)
            values = {name: _read_back(name, cell) for name, cell in zip(self.columns, cells, strict=True)}
            lost = self.lost(row, {name: value for name, value in values.items() if value is not None})
            if lost:
                losses.append((number, lost))
        text.detach()
        return losses


class TsvSink(CsvSink):
    delimiter = "\t"


class ParquetSink(_SpooledRows):
    """Columns have the types of their values; where those do not agree or would change, the column is JSON text."""

    def end(self) -> _Losses:
        arrow = import_pyarrow()
        types = self._types(arrow)
        schema = arrow.schema([(name, arrow.string() if kind is None else kind) for name, kind in types.items()])
        losses: _Losses = []
        with arrow.parquet.ParquetWriter(self.file, schema, compression="zstd") as writer:
            for numbers, rows in self.batches():
                cells = [[_cell(row.get(name), kind) for row in rows] for name, kind in types.items()]
                arrays = [arrow.array(values, field.type) for values, field in zip(cells, schema, strict=True)]
                writer.write_batch(arrow.record_batch(arrays, schema=schema))
                for number, row in zip(numbers, rows, strict=True):
                    lost = self.lost(row, {name: _back(name, value, types[name]) for name, value in row.items()})
                    if lost:
                        losses.append((number, lost))
        return losses

    def _types(self, arrow: Any) -> dict[str, Any]:
        types: dict[str, Any] = {name: arrow.null() for name in self.columns}
        for _, rows in self.batches():
            for name, known in types.items():
                if known is not None:
                    types[name] = _joined(arrow, known, [row.get(name) for row in rows])
        return {name: None if kind is not None and arrow.types.is_null(kind) else kind for name, kind in types.items()}


def _cell(value: Any, kind: Any) -> Any:
    return value if kind is not None or value is None else format_dataset_cell(value)


def _back(name: str, value: Any, kind: Any) -> Any:
    if kind is not None:
        return value
    return _read_back(name, format_dataset_cell(value)) if name in LISTS else format_dataset_cell(value)


def _read_back(name: str, cell: str) -> Any:
    try:
        return parse_dataset_cell(name, cell)
    except RepeatedKeyError:
        return None  # not readable, so lost


def _joined(arrow: Any, known: Any, values: list[Any]) -> Any:
    """Return the type of a column with these values as well, or None if no type gives them back unchanged."""
    try:
        column = arrow.array(values)
        if without_nulls(column.to_pylist()) != values or _has_empty_object(arrow, column.type):
            return None
        fields = [arrow.schema([("", kind)]) for kind in (known, column.type)]
        kind = arrow.unify_schemas(fields, promote_options="permissive").field(0).type
        if without_nulls(arrow.array(values, kind).to_pylist()) != values:
            return None
        return kind if _same_numbers(arrow, known, kind) and _same_numbers(arrow, column.type, kind) else None
    except (arrow.ArrowException, ValueError, TypeError, OverflowError):
        return None


def _same_numbers(arrow: Any, one: Any, joined: Any) -> bool:
    """Return whether joining turned no number into another kind: 1 and 1.0 are equal, and not the same JSON."""
    if arrow.types.is_struct(one):
        return all(_same_numbers(arrow, field.type, joined.field(field.name).type) for field in one)
    if arrow.types.is_list(one):
        return bool(_same_numbers(arrow, one.value_type, joined.value_type))
    return bool(arrow.types.is_null(one) or one == joined)


def _has_empty_object(arrow: Any, kind: Any) -> bool:
    """Return whether an object without keys is inside, which Parquet cannot hold."""
    if arrow.types.is_struct(kind):
        return not kind.num_fields or any(_has_empty_object(arrow, field.type) for field in kind)
    return bool(arrow.types.is_list(kind)) and _has_empty_object(arrow, kind.value_type)
