"""Refuses a dataset with columns or marks of training signal that its prepared rows would not have."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from tuneport.data.containers.source import RowSource
from tuneport.data.dataset import Dataset
from tuneport.data.reading import scan_dataset_rows
from tuneport.data.rows.signals import UnusedSignals
from tuneport.errors import DatasetError, DatasetProblem
from tuneport.methods import Method

SAMPLE_ROWS = 1_000
"""Read before a plan or a price, which need no pass over all rows; a job that is submitted reads them all."""


def refuse_unused_signals(signals: UnusedSignals, source: RowSource, rows: str, *, ignored: Sequence[str] = ()) -> None:
    """Raise DatasetError if there are any but those of the columns `ignored`. `rows`: of how many, in words."""
    found = signals.found(ignored)
    if not found:
        return
    first, *others = found
    place = source.locate(first.line)
    rule = f"{first.count:,} of {rows} records have it, and the model would not see it"
    if others:
        rule += f", nor {', '.join(f'{each.name} ({each.count:,})' for each in others)}"
    raise DatasetError(DatasetProblem(str(place.file), place.number, first.name, rule, first.fix, place.unit))


def refuse_unused_signals_of_first_rows(dataset: Dataset, method: Method) -> None:
    """Raise DatasetError if the first rows have any that the method would not use."""
    if method.writes_answers:
        return  # its reward or grader is given all columns
    signals, source, rows = UnusedSignals(), dataset.open(), 0
    for found in islice(scan_dataset_rows(source, dataset.known), SAMPLE_ROWS):
        rows += 1
        if found.record is not None:
            signals.add(found.line, found.record)
    told = f"the first {rows:,}" if rows == SAMPLE_ROWS else f"{rows:,}"
    refuse_unused_signals(signals, source, told, ignored=dataset.reading.ignored_columns)
