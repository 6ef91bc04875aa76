"""Goes back to single rows of a dataset, once the columns have told which."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from tuneport.data.checks.finding import Example
from tuneport.data.containers.source import Source
from tuneport.data.formats import load_format
from tuneport.data.reading import read_row


def examples_at(path: Path, format: str, columns: Mapping[str, str] | None, lines: Iterable[int]) -> Iterator[Example]:
    """The examples on these lines, in the order of the file, read in one pass."""
    wanted = set(lines)
    if not wanted:
        return
    known, source = load_format(format), Source(path, columns)
    for line, raw in source.rows():
        if line in wanted:
            found = read_row(known, line, raw, source.locate)
            if found.record is not None:
                yield Example.of(line, found.record)
            wanted.discard(line)
            if not wanted:
                return
