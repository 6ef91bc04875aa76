"""Read rows in a known format, and find out the format of rows. `Dataset` is how others read a dataset.

Numbers of rows count from 1: lines in JSON lines and CSV, records in arrays, Parquet and Arrow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from tuneport.data.containers.bad_row import BadRow
from tuneport.data.containers.json_text import Row
from tuneport.data.containers.numbering import RowPosition
from tuneport.data.containers.source import RowSource
from tuneport.data.formats import FORMATS, load_dataset_format
from tuneport.data.formats.contract import DatasetFormat, InvalidRecord, Problem, decode_dataset_row
from tuneport.data.nearest_format import nearest_dataset_format, unknown_dataset_format_hint
from tuneport.data.rows.records import Record
from tuneport.data.rows.syntax_hints import explain_broken_row
from tuneport.errors import DatasetError, DatasetProblem

MAX_PROBLEMS = 50
SAMPLE_ROWS = 100
_JSON_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_SURE = 0.9


@dataclass(frozen=True)
class FormatDetection:
    """The format of a file, its certainty (0 to 1), and the reason.

    The certainty is that of the most telling of the first rows, times the share of rows that look like any format.
    """

    format: str
    confidence: float
    reason: str

    def as_dict(self) -> dict[str, object]:
        return vars(self).copy()


class DatasetSample(NamedTuple):
    """The first rows of a dataset, which tell its format. `first` is the first row of all, readable or not."""

    detection: FormatDetection
    first: Row


@dataclass(frozen=True)
class ScannedRow:
    """One row: the bytes of its JSON, and the record or what is wrong with it.

    `other` is the format that a bad row looks like, if the file is read as another one.
    """

    line: int
    raw: bytes
    record: Record | None
    problems: tuple[DatasetProblem, ...] = ()
    other: str = ""


class RowProblemTally:
    """The first `MAX_PROBLEMS` problems of a dataset, and how many there are."""

    def __init__(self) -> None:
        self.problems: list[DatasetProblem] = []
        self.count = 0

    def accept(self, problems: tuple[DatasetProblem, ...]) -> bool:
        """Add problems. Returns True as long as there are none at all."""
        if problems:
            self.merge(problems, len(problems))
        return not self.count

    def merge(self, problems: Sequence[DatasetProblem], count: int) -> None:
        """Merge later problems. `count` is their number in all."""
        self.count += count
        self.problems += problems[: MAX_PROBLEMS - len(self.problems)]

    def end(self) -> None:
        if self.problems:
            raise DatasetError(self.problems, count=self.count)


def read_records(path: Path | str, format: str | None = None) -> Iterator[tuple[int, Record]]:
    """Yield the records of a file whose columns have the format's own names, as `records_in` does."""
    source = RowSource(path)
    yield from records_in(
        source, load_dataset_format(format if format is not None else detect_dataset_format(source).detection.format)
    )


def records_in(source: RowSource, known: DatasetFormat) -> Iterator[tuple[int, Record]]:
    """Yield each record with its line, streaming.

    Raises DatasetError with all problems of the file, up to `MAX_PROBLEMS` and with their count. After the first
    problem nothing more is yielded and the rest is only searched for further ones; a caller that needs all or nothing
    waits for the end.
    """
    problems = RowProblemTally()
    mixed = False
    for row in scan_dataset_rows(source, known):
        mixed = mixed or bool(row.other)
        if problems.accept(row.problems) and row.record is not None:
            yield row.line, row.record
    if mixed:
        raise_mixed_formats(source, problems)
    problems.end()


def scan_dataset_rows(source: RowSource, known: DatasetFormat) -> Iterator[ScannedRow]:
    """Yield every row, the bad ones with their problems. Raises DatasetError only if the file as a whole cannot be
    read."""
    for line, raw in source.rows():
        yield read_dataset_row(known, line, raw, source.locate)


def read_dataset_row(known: DatasetFormat, line: int, raw: bytes, locate: Callable[[int], RowPosition]) -> ScannedRow:
    """Return one row of `RowSource.rows` as a record. Problems name the place that `locate` gives for the line."""
    try:
        return ScannedRow(line, raw, known.read_format_row(raw))
    except InvalidRecord as error:
        other = _other_format(raw, known)
        problems: list[Problem] = error.problems
        if other:
            rule = f"looks like {other}, while the file is read as {known.NAME}"
            problems = [Problem("", rule, f"put the formats in separate files, or read it as {other}")]
        return ScannedRow(line, raw, None, _located(problems, line, locate), other)
    except _JSON_ERRORS as error:
        return ScannedRow(line, raw, None, _located([_broken(raw, error)], line, locate))


def detect_dataset_format(source: RowSource) -> DatasetSample:
    """Judge by the first `SAMPLE_ROWS` records which format the rows have.

    Raises DatasetError if no format fits, with every change of the format in the whole file if it changes among those.
    """
    sample: list[tuple[int, dict[str, Any]]] = []
    broken = RowProblemTally()
    rows = source.rows()
    first: Row | None = None
    spread: DatasetError | None = None
    for line, raw in islice(rows, SAMPLE_ROWS):
        first = first or (line, raw)
        if not sample and not broken.count and raw[:1] == b"{" and raw[-1:] in b"{[,:" and raw[-2:] != b"},":
            rule = "a record begins here and goes on over the next lines"
            fix = "write each record on one line (`jq -c .` does), or all of them as a list: [..., ...]"
            spread = DatasetError(_located([Problem("", rule, fix)], line, source.locate))
        try:
            sample.append((line, decode_dataset_row(raw)))
        except InvalidRecord as error:
            broken.accept(_located(error.problems, line, source.locate))
        except _JSON_ERRORS as error:
            broken.accept(_located([_broken(raw, error)], line, source.locate))
    while source.missing:  # at their end, the rows say so themselves
        next(rows)
    if not sample:
        if spread is not None and broken.count > 1:
            raise spread
        broken.end()
    assert first is not None  # `RowSource.rows` raises if there is none
    likeliest, known_rows = _fitting([row for _, row in sample])
    if not known_rows:
        raise _unknown(source, sample)
    if not likeliest:
        raise_mixed_formats(source, RowProblemTally())
    best = max(likeliest, key=lambda name: likeliest[name][0])
    confidence, reason = likeliest[best]
    share = known_rows / len(sample)
    if share < 1:
        reason = f"{reason}; {len(sample) - known_rows} of the first {len(sample)} records look like no format"
    return DatasetSample(FormatDetection(best, round(confidence * share, 2), reason), first)


def _fitting(rows: Sequence[Mapping[str, Any]]) -> tuple[dict[str, tuple[float, str]], int]:
    """Return each format that every known row fits, with its highest score, and how many rows fit any format.

    A format that a known row does not fit is excluded: it is tried on a later row only if that row fits none of those
    left, to tell a change of the format from a row without a format.
    """
    left: dict[str, tuple[float, str]] = dict.fromkeys(FORMATS, (0.0, ""))
    known_rows = 0
    for row in rows:
        scores = {name: load_dataset_format(name).likeness(row) for name in left}
        if any(score > 0 for score, _ in scores.values()):
            known_rows += 1
            left = {name: max(left[name], scores[name]) for name in left if scores[name][0] > 0}
        elif any(load_dataset_format(name).likeness(row)[0] > 0 for name in FORMATS if name not in left):
            return {}, known_rows + 1
    return left, known_rows


def find_format_changes(source: RowSource) -> RowProblemTally:
    """Return where the format changes in a dataset: each row that fits no format of the rows since the last change."""
    found = RowProblemTally()
    fitting: list[str] = []
    last: tuple[int, dict[str, Any]] | None = None
    for line, raw in source.rows():
        try:
            row = decode_dataset_row(raw)
        except (InvalidRecord, *_JSON_ERRORS):
            continue
        here = [name for name in FORMATS if load_dataset_format(name).likeness(row)[0] > 0]
        if not here:
            continue
        still = [name for name in fitting if name in here]
        if last is not None and not still:
            before = source.locate(last[0])
            place = f"{before.unit} {before.number}"
            if before.file != source.locate(line).file:
                place += f" of {before.file}"
            rule = f"looks like {_likeliest(row)[1]}, while what is before, up to {place}, looks like {fitting[0]}"
            found.accept(_located([Problem("", rule, "put the formats in separate files")], line, source.locate))
        fitting, last = still or here, (line, row)
    return found


def raise_mixed_formats(source: RowSource, others: RowProblemTally) -> None:
    """Raise the DatasetError of a dataset that mixes formats: every change, before any other problem."""
    found = find_format_changes(source)
    lines = {(problem.path, problem.line) for problem in found.problems}
    rest = [problem for problem in others.problems if (problem.path, problem.line) not in lines]
    found.problems += rest[: MAX_PROBLEMS - len(found.problems)]
    found.count += max(0, others.count - (len(others.problems) - len(rest)))
    found.end()
    others.end()


def _located(problems: list[Problem], line: int, locate: Callable[[int], RowPosition]) -> tuple[DatasetProblem, ...]:
    file, number, unit = locate(line)
    return tuple(DatasetProblem(str(file), number, *problem, unit) for problem in problems)


def _broken(raw: bytes, error: Exception) -> Problem:
    if isinstance(raw, BadRow):
        return Problem("", raw.rule, raw.fix)
    if not raw:
        return Problem("", "is a blank line between records", "remove it")
    return Problem("", *explain_broken_row(raw, error))


def _likeliest(row: dict[str, Any]) -> tuple[float, str]:
    return max(((load_dataset_format(name).likeness(row)[0], name) for name in FORMATS), key=lambda pair: pair[0])


def _other_format(raw: bytes, known: DatasetFormat) -> str:
    """Return the format that a bad row looks like, if it is surely not of this one; else ""."""
    try:
        row = decode_dataset_row(raw)
    except InvalidRecord:
        return ""
    score, name = _likeliest(row)
    return name if known.likeness(row)[0] == 0 and score >= _SURE else ""


def _unknown(source: RowSource, sample: list[tuple[int, dict[str, Any]]]) -> DatasetError:
    """Return the error for a sample without a record that fits a format. If the first has a format's keys, its values
    are wrong."""
    line, row = sample[0]
    meant = nearest_dataset_format(row)
    problems = RowProblemTally()
    if meant is not None:
        known = load_dataset_format(meant)
        for number, each in sample:
            problems.accept(read_dataset_row(known, number, msgspec.json.encode(each), source.locate).problems)
    if problems.count:
        return DatasetError(problems.problems, count=problems.count)
    file, number, unit = source.locate(line)
    return DatasetError(
        DatasetProblem(str(file), number, "", *unknown_dataset_format_hint(row, file, len(sample)), unit)
    )
