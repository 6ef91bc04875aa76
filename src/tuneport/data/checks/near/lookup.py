"""Goes back to single rows of a dataset, once the columns have told which."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tuneport.data.checks.finding import CheckedDatasetExample
from tuneport.data.dataset import Dataset
from tuneport.data.reading import read_dataset_row


def examples_at_lines(dataset: Dataset, lines: Iterable[int]) -> Iterator[CheckedDatasetExample]:
    """Yield the examples on these lines, in the order of the file, read in one pass."""
    wanted = set(lines)
    if not wanted:
        return
    known, source = dataset.known, dataset.open()
    for line, raw in source.rows():
        if line in wanted:
            found = read_dataset_row(known, line, raw, source.locate)
            if found.record is not None:
                yield CheckedDatasetExample.from_record(line, found.record)
            wanted.discard(line)
            if not wanted:
                return
