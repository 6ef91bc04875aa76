"""Goes back to single rows of a dataset, once the columns have told which."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from tuneport.data.checks.finding import Example
from tuneport.data.formats import load_format
from tuneport.data.reading import read_row, rows


def examples_at(path: Path, format: str, lines: Iterable[int]) -> Iterator[Example]:
    """The examples on these lines, in the order of the file, read in one pass."""
    wanted = set(lines)
    if not wanted:
        return
    known = load_format(format)
    for line, raw in rows(path):
        if line in wanted:
            found = read_row(path, line, raw, known)
            if found.record is not None:
                yield Example.of(line, found.record)
            wanted.discard(line)
            if not wanted:
                return
