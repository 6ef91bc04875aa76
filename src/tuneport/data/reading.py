"""Reads datasets in any known format, from any container (`containers/`).

Numbers of rows count from 1: lines in JSON lines and CSV, records in arrays, Parquet and Arrow. `columns` maps the
names that a format expects to those in the file, as `--map instruction=question` does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from tuneport.data.broken import broken_row
from tuneport.data.containers.bad_row import BadRow, whole
from tuneport.data.containers.numbering import Place
from tuneport.data.containers.source import Source
from tuneport.data.formats import FORMATS, load_format
from tuneport.data.formats.contract import Format, InvalidRecord, Problem, decode_row
from tuneport.data.nearest_format import nearest_format, unknown_record
from tuneport.data.records import Record
from tuneport.errors import DatasetError, DatasetProblem

MAX_PROBLEMS = 50
SAMPLE_ROWS = 100
_JSON_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_SURE = 0.9

Columns = Mapping[str, str]


@dataclass(frozen=True)
class Detection:
    """Which format a file has, how sure that is (0 to 1), and why.

    The certainty is that of the most telling of the first rows, times the share of rows that look like any format.
    """

    format: str
    confidence: float
    reason: str

    def as_dict(self) -> dict[str, object]:
        return vars(self).copy()


@dataclass(frozen=True)
class Scanned:
    """One row: the bytes of its JSON, and the record or what is wrong with it.

    `other` is the format that a bad row looks like, where that is not the one that the file is read as.
    """

    line: int
    raw: bytes
    record: Record | None
    problems: tuple[DatasetProblem, ...] = ()
    other: str = ""


class ProblemTally:
    """The first `MAX_PROBLEMS` problems of a dataset, and how many there are."""

    def __init__(self) -> None:
        self.problems: list[DatasetProblem] = []
        self.count = 0

    def accept(self, problems: tuple[DatasetProblem, ...]) -> bool:
        """Take them in; True as long as there are none at all."""
        if problems:
            self.merge(problems, len(problems))
        return not self.count

    def merge(self, problems: Sequence[DatasetProblem], count: int) -> None:
        """Take in later ones, of which there are `count` in all."""
        self.count += count
        self.problems += problems[: MAX_PROBLEMS - len(self.problems)]

    def end(self) -> None:
        if self.problems:
            raise DatasetError(self.problems, count=self.count)


def read_records(
    path: Path | str, format: str | None = None, columns: Columns | None = None
) -> Iterator[tuple[int, Record]]:
    """Yield each record with its line, streaming.

    Raises DatasetError with all problems of the file, up to `MAX_PROBLEMS` and with their count. After the first one
    nothing more is yielded and the rest is only searched for further ones; so whoever needs all or nothing waits for
    the end. An unknown format is a ConfigError.
    """
    problems = ProblemTally()
    mixed = False
    for row in scan(path, format, columns):
        mixed = mixed or bool(row.other)
        if problems.accept(row.problems) and row.record is not None:
            yield row.line, row.record
    if mixed:
        raise_mixed(path, problems, columns)
    problems.end()


def scan(path: Path | str, format: str | None = None, columns: Columns | None = None) -> Iterator[Scanned]:
    """Yield every row, the bad ones with their problems. DatasetError only where the file as a whole cannot be read."""
    known = load_format(format if format is not None else detect(path, columns).format)
    yield from scan_source(Source(path, columns), known)


def scan_source(source: Source, known: Format) -> Iterator[Scanned]:
    """The same for whoever has to say where rows are: `source.numbering` knows those that were yielded."""
    for line, raw in source.rows():
        yield read_row(known, line, raw, source.locate)


def read_row(known: Format, line: int, raw: bytes, locate: Callable[[int], Place]) -> Scanned:
    """One row of `Source.rows`, read. Problems name the place that `locate` (`Source.locate`) gives for the line."""
    try:
        return Scanned(line, raw, known.read(raw))
    except InvalidRecord as error:
        other = _other_format(raw, known)
        problems: list[Problem] = error.problems
        if other:
            rule = f"looks like {other}, while the file is read as {known.NAME}"
            problems = [Problem("", rule, f"put the formats in separate files, or read it as {other}")]
        return Scanned(line, raw, None, _located(problems, line, locate), other)
    except _JSON_ERRORS as error:
        return Scanned(line, raw, None, _located([_broken(raw, error)], line, locate))


def detect(path: Path | str, columns: Columns | None = None) -> Detection:
    """Judge by the first `SAMPLE_ROWS` records.

    DatasetError if no format fits, with every change of the format in the whole file if it changes among those.
    """
    source = Source(path, columns)
    sample: list[tuple[int, dict[str, Any]]] = []
    broken = ProblemTally()
    rows = source.rows()
    spread: DatasetError | None = None
    for line, raw in islice(rows, SAMPLE_ROWS):
        if not sample and not broken.count and raw[:1] == b"{" and raw[-1:] in b"{[,:" and raw[-2:] != b"},":
            rule = "a record begins here and goes on over the next lines"
            fix = "write each record on one line (`jq -c .` does), or all of them as a list: [..., ...]"
            spread = DatasetError(_located([Problem("", rule, fix)], line, source.locate))
        try:
            sample.append((line, decode_row(raw)))
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
    scores = {name: [load_format(name).likeness(row) for _, row in sample] for name in FORMATS}
    known_rows = [i for i in range(len(sample)) if any(found[i][0] > 0 for found in scores.values())]
    if not known_rows:
        raise _unknown(source, sample)
    fitting = [name for name in FORMATS if all(scores[name][i][0] > 0 for i in known_rows)]
    if not fitting:
        raise_mixed(path, ProblemTally(), columns)
    best = max(fitting, key=lambda name: max(scores[name][i][0] for i in known_rows))
    confidence, reason = max(scores[best][i] for i in known_rows)
    share = len(known_rows) / len(sample)
    if share < 1:
        reason = f"{reason}; {len(sample) - len(known_rows)} of the first {len(sample)} records look like no format"
    return Detection(best, round(confidence * share, 2), reason)


def columns_there(path: Path | str, columns: Columns | None) -> Columns | None:
    """The mapping, if a validation file is to be read with it: one that `split` has written has the format's names.

    DatasetError where the file can be read neither way.
    """
    try:
        detect(path, columns)
    except DatasetError:
        if not columns:
            raise
        detect(path)
        return None
    return columns


def digest(path: Path | str) -> str:
    """The SHA-256 of a dataset's bytes, file after file, in hexadecimal. DatasetError if they cannot be read."""
    found = hashlib.sha256()
    for file in Source(path).files:
        try:
            with file.open("rb") as opened:
                while block := opened.read(1 << 20):
                    found.update(block)
        except OSError as error:
            raise whole(file, f"cannot be read: {error.strerror}", "check the path and its permissions") from error
    return found.hexdigest()


def rows(path: Path | str, columns: Columns | None = None) -> Iterator[tuple[int, bytes]]:
    """Each row's JSON, undecoded (`Source.rows`)."""
    return Source(path, columns).rows()


def changes(path: Path | str, columns: Columns | None = None) -> ProblemTally:
    """Where the format changes in a dataset: every row that no format fits which fits those since the last change."""
    source, found = Source(path, columns), ProblemTally()
    fitting: list[str] = []
    last: tuple[int, dict[str, Any]] | None = None
    for line, raw in source.rows():
        try:
            row = decode_row(raw)
        except (InvalidRecord, *_JSON_ERRORS):
            continue
        here = [name for name in FORMATS if load_format(name).likeness(row)[0] > 0]
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


def raise_mixed(path: Path | str, others: ProblemTally, columns: Columns | None = None) -> None:
    """Raise the DatasetError of a dataset that mixes formats: every change, before whatever else is wrong."""
    found = changes(path, columns)
    lines = {(problem.path, problem.line) for problem in found.problems}
    rest = [problem for problem in others.problems if (problem.path, problem.line) not in lines]
    found.problems += rest[: MAX_PROBLEMS - len(found.problems)]
    found.count += max(0, others.count - (len(others.problems) - len(rest)))
    found.end()
    others.end()


def _located(problems: list[Problem], line: int, locate: Callable[[int], Place]) -> tuple[DatasetProblem, ...]:
    file, number, unit = locate(line)
    return tuple(DatasetProblem(str(file), number, *problem, unit) for problem in problems)


def _broken(raw: bytes, error: Exception) -> Problem:
    if isinstance(raw, BadRow):
        return Problem("", raw.rule, raw.fix)
    if not raw:
        return Problem("", "is a blank line between records", "remove it")
    return Problem("", *broken_row(raw, error))


def _likeliest(row: dict[str, Any]) -> tuple[float, str]:
    return max(((load_format(name).likeness(row)[0], name) for name in FORMATS), key=lambda pair: pair[0])


def _other_format(raw: bytes, known: Format) -> str:
    """The format that a bad row looks like, where it is surely not of this one; else ""."""
    try:
        row = decode_row(raw)
    except InvalidRecord:
        return ""
    score, name = _likeliest(row)
    return name if known.likeness(row)[0] == 0 and score >= _SURE else ""


def _unknown(source: Source, sample: list[tuple[int, dict[str, Any]]]) -> DatasetError:
    """No record of the sample fits a format. Where the first has one's keys, it is the values that are wrong."""
    line, row = sample[0]
    meant = nearest_format(row)
    problems = ProblemTally()
    if meant is not None:
        known = load_format(meant)
        for number, each in sample:
            problems.accept(read_row(known, number, msgspec.json.encode(each), source.locate).problems)
    if problems.count:
        return DatasetError(problems.problems, count=problems.count)
    file, number, unit = source.locate(line)
    return DatasetError(DatasetProblem(str(file), number, "", *unknown_record(row, file, len(sample)), unit))
