"""The position of a dataset's rows: file and line, or record if lines mean nothing."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

LINE, RECORD = "line", "record"


class RowPosition(NamedTuple):
    """`unit` says what `number` counts, from 1: lines, or the records of an array or a table."""

    file: Path
    number: int
    unit: str = LINE


@dataclass
class RowNumbering:
    """A dataset's rows are numbered through all its files. `starts` and `units` are those of the files read so far."""

    root: Path
    files: list[Path]
    starts: list[int] = field(default_factory=lambda: [0])
    units: list[str] = field(default_factory=list)

    def place(self, number: int) -> RowPosition:
        at = bisect_right(self.starts, number - 1) - 1
        return RowPosition(self.files[at], number - self.starts[at], self.units[at] if at < len(self.units) else LINE)

    def number(self, file: Path, number: int) -> int:
        """Return the number of a row in the dataset: the inverse of `place`."""
        return self.starts[self.files.index(file)] + number

    def words(self, numbers: Sequence[int]) -> str:
        """Return `line 7` or `records 3, 7`; in a dataset of several files `part.jsonl:7`."""
        places = [self.place(number) for number in numbers]
        if len(self.files) > 1:
            return ", ".join(map(self._in_file, places))
        unit = places[0].unit if places else LINE
        return f"{unit}{'s' if len(places) > 1 else ''} {', '.join(str(place.number) for place in places)}"

    def words_of_file(self, number: int) -> str:
        """Return `line 7 of train.jsonl`."""
        place = self.place(number)
        return self._in_file(place) if len(self.files) > 1 else f"{place.unit} {place.number} of {place.file.name}"

    def _in_file(self, place: RowPosition) -> str:
        name = place.file.relative_to(self.root) if place.file.is_relative_to(self.root) else place.file.name
        return f"{name}:{place.number}" if place.unit == LINE else f"{name} {place.unit} {place.number}"

    def as_dict(self) -> list[dict[str, object]]:
        """Return the number before each file's first row, which locates a row by its number."""
        return [
            {"path": str(file), "before": start, "unit": unit}
            for file, start, unit in zip(self.files, self.starts, self.units, strict=False)
        ]
