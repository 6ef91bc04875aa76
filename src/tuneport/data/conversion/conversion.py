"""The pass of a conversion over rows: those that are plain many at once, all others one by one.

A file of JSON lines is converted in parts, in several processes if that is worth it. The results of the parts are put
together in order, so the outcome is that of one pass.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import NamedTuple

from tuneport.data.containers.bad_row import MAX_ROW, reading_file
from tuneport.data.containers.json_text import Batch, LineBlock, line_blocks, number_lines
from tuneport.data.containers.numbering import RowPosition
from tuneport.data.containers.source import LinesFile
from tuneport.data.conversion.conversion_loss import ConversionLossReport, write_converted_row
from tuneport.data.conversion.fast_path import ConvertedLines, PlainRowConverter
from tuneport.data.conversion.inline_images import ImageInliner
from tuneport.data.formats import load_dataset_format
from tuneport.data.formats.contract import DatasetFormat
from tuneport.data.reading import RowProblemTally, read_dataset_row
from tuneport.errors import DatasetError, DatasetProblem

Written = tuple[Sequence[int], bytes]
"""Rows in the target's format, each ended by a newline, and their numbers in the source."""

_NOTHING: Written = (), b""
PART_BYTES = 1 << 20
_BUFFER = 1 << 13  # for what is read beyond a block, to the end of its last line


@dataclass
class ConversionOutcome:
    """The results of converting rows. `rows` are those that were read, `beside` the columns that no format knows.

    `lines` counts the lines of JSON lines; the last `blank` of them are blank, which is wrong only if more rows follow.
    """

    rows: int = 0
    losses: ConversionLossReport = field(default_factory=ConversionLossReport)
    problems: RowProblemTally = field(default_factory=RowProblemTally)
    note: str = ""
    mixed: bool = False
    beside: dict[str, None] = field(default_factory=dict)
    lines: int = 0
    blank: int = 0
    failure: DatasetProblem | None = None
    """What ended the reading, as no more can be read."""


class DatasetConversion:
    def __init__(
        self,
        known: DatasetFormat,
        target: DatasetFormat,
        locate: Callable[[int], RowPosition],
        pictures: ImageInliner | None = None,
    ) -> None:
        self.pictures = pictures
        self.found = ConversionOutcome()
        self._known, self._target, self._locate = known, target, locate
        self._plain = PlainRowConverter(known.NAME, target.NAME)

    def add(self, batch: LineBlock | Batch) -> Written:
        """Add rows that come after all that were added."""
        return self._add_block(batch) if isinstance(batch, LineBlock) else self._add_rows(*batch)

    def _add_block(self, block: LineBlock) -> Written:
        found = self.found
        converted = self._plain.convert(BytesIO(block.text), block.text)
        if converted.lines is None:
            numbers, rows = number_lines(block.first, BytesIO(block.text), found.blank)
            found.lines += block.count
            found.blank = found.lines - numbers[-1] if numbers else found.blank + block.count
            return self._one_by_one(numbers, rows)
        self._not_the_end()
        block.count = converted.rows
        found.lines += converted.rows
        return self._all_plain(range(block.first, block.first + converted.rows), BytesIO(block.text), converted)

    def _add_rows(self, numbers: Sequence[int], rows: list[bytes]) -> Written:
        converted = self._plain.convert(rows, b"".join(rows))
        if converted.lines is None:
            return self._one_by_one(numbers, rows)
        return self._all_plain(numbers, rows, converted)

    def add_part(self, part: ConversionOutcome, written: Written) -> Written:
        """Add lines that were converted elsewhere and come after all that were added."""
        found = self.found
        before = found.lines
        if part.blank < part.lines:
            self._not_the_end()
        found.rows += part.rows
        found.losses.merge(part.losses, before)
        found.problems.merge([_later(problem, before) for problem in part.problems.problems], part.problems.count)
        found.note = found.note or part.note
        found.mixed = found.mixed or part.mixed
        found.beside |= part.beside
        found.lines += part.lines
        found.blank += part.blank
        if part.failure is not None:
            raise DatasetError(_later(part.failure, before))
        numbers, lines = written
        if found.problems.count or not numbers:
            return _NOTHING
        if isinstance(numbers, range):
            return range(before + numbers.start, before + numbers.stop), lines
        return [before + number for number in numbers], lines

    def _all_plain(self, numbers: Sequence[int], rows: Iterable[bytes], converted: ConvertedLines) -> Written:
        self.found.rows += len(numbers)
        if converted.noteworthy and not self.found.note:
            self.found.note = next(filter(None, map(self._known.note_row_spelling, rows)), "")
        if self.found.problems.count or converted.lines is None:
            return _NOTHING
        return numbers, converted.lines

    def _one_by_one(self, numbers: Sequence[int], rows: Sequence[bytes]) -> Written:
        found = self.found
        written: list[bytes] = []
        places: list[int] = []
        for line, raw in zip(numbers, rows, strict=True):
            read = read_dataset_row(self._known, line, raw, self._locate)
            found.mixed = found.mixed or bool(read.other)
            if not found.problems.accept(read.problems) or read.record is None:
                continue
            if self.pictures is not None:
                if not found.problems.accept(self.pictures.inline(line, read.record, self._locate)):
                    continue
            found.rows += 1
            found.note = found.note or self._known.note_row_spelling(raw)
            row, lost = write_converted_row(self._target, read.record)
            if lost:
                found.losses.add(line, lost)
            if read.record.metadata:
                gone = {loss.field for loss in lost}
                found.beside |= dict.fromkeys(name for name in read.record.metadata if name not in gone)
            if row is not None:
                places.append(line)
                written.append(row + b"\n")
        return _NOTHING if found.problems.count else (places, b"".join(written))

    def _not_the_end(self) -> None:
        """Report the blank lines so far: they are not at the end, so each is wrong."""
        if blank := self.found.blank:
            lines = self.found.lines
            self._one_by_one(range(lines - blank + 1, lines + 1), [b""] * blank)
            self.found.blank = 0


def _later(problem: DatasetProblem, before: int) -> DatasetProblem:
    return problem if problem.line is None else replace(problem, line=before + problem.line)


class FileSection(NamedTuple):
    """The lines that begin in these bytes of a file. The `first` part begins with one; where others do is not known."""

    start: int
    end: int
    first: bool


def split_file_sections(file: LinesFile) -> list[FileSection]:
    starts = range(file.start, file.size, PART_BYTES)
    return [FileSection(start, min(start + PART_BYTES, file.size), start == file.start) for start in starts]


class ConversionWorker:
    """Converts parts of a file. The `ConversionOutcome` of each counts its lines from 1, as if there were no others."""

    def __init__(self, path: Path, source_format: str, target_format: str) -> None:
        self._path = path
        self._formats = load_dataset_format(source_format), load_dataset_format(target_format)

    def process_part(self, part: FileSection) -> tuple[bytes, tuple[Sequence[int], ConversionOutcome]]:
        conversion = DatasetConversion(*self._formats, partial(RowPosition, self._path))
        numbers, pieces = array("Q"), list[bytes]()
        try:
            for block in self._blocks(part):
                places, lines = conversion.add(block)
                numbers.extend(places)
                pieces.append(lines)
        except DatasetError as error:
            conversion.found.failure = error.problems[0]
        return b"".join(pieces), (_compact(numbers), conversion.found)

    def _blocks(self, part: FileSection) -> Iterator[LineBlock]:
        with reading_file(self._path), BufferedReader(self._path.open("rb", buffering=0), _BUFFER) as file:
            if part.first:
                file.seek(part.start)
            else:
                file.seek(part.start - 1)
                # A line too long to be read: the part in which it begins says so.
                before = file.readline(MAX_ROW + 1)
                if len(before) > MAX_ROW and not before.endswith(b"\n"):
                    return
            yield from line_blocks(self._path, file, part.end - file.tell())


def _compact(numbers: array[int]) -> Sequence[int]:
    if numbers and numbers[-1] - numbers[0] == len(numbers) - 1:
        return range(numbers[0], numbers[-1] + 1)
    return numbers
