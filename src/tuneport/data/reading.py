"""Reads dataset files: JSON lines (streamed) and JSON arrays, in any known format.

Line numbers count from 1; in an array they are the records' numbers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import BufferedReader
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from tuneport.data.broken import broken_array, broken_line, foreign_start
from tuneport.data.formats import FORMATS, load_format
from tuneport.data.formats.contract import Format, InvalidRecord, decode_row
from tuneport.data.records import Record
from tuneport.errors import DatasetError, DatasetProblem

MAX_PROBLEMS = 50
SAMPLE_ROWS = 100
_BOM = b"\xef\xbb\xbf"
_JSON_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_OTHER_CONTAINERS = {".csv", ".tsv", ".parquet", ".arrow", ".xlsx", ".gz", ".zst", ".zip", ".bz2", ".xz"}


@dataclass(frozen=True)
class Detection:
    """Which format a file has, how sure that is (0 to 1), and why."""

    format: str
    confidence: float
    reason: str

    def as_dict(self) -> dict[str, object]:
        return vars(self).copy()


@dataclass(frozen=True)
class Scanned:
    """One row: the bytes of its JSON, and the record or what is wrong with it."""

    line: int
    raw: bytes
    record: Record | None
    problems: tuple[DatasetProblem, ...] = ()


def read_records(path: Path | str, format: str | None = None) -> Iterator[tuple[int, Record]]:
    """Yield each record with its line, streaming.

    Raises DatasetError with all problems of the file, up to `MAX_PROBLEMS` and with their count. After the first one
    nothing more is yielded and the rest is only searched for further ones; so whoever needs all or nothing waits for
    the end. An unknown format is a ConfigError.
    """
    problems: list[DatasetProblem] = []
    count = 0
    for row in scan(path, format):
        if row.record is None:
            count += len(row.problems)
            problems += row.problems[: MAX_PROBLEMS - len(problems)]
        elif not problems:
            yield row.line, row.record
    if problems:
        raise DatasetError(problems, count=count)


def scan(path: Path | str, format: str | None = None) -> Iterator[Scanned]:
    """Yield every row, the bad ones with their problems. DatasetError only where the file as a whole cannot be read."""
    path = Path(path)
    known = load_format(format if format is not None else detect(path).format)
    for line, raw in rows(path):
        yield read_row(path, line, raw, known)


def read_row(path: Path, line: int, raw: bytes, known: Format) -> Scanned:
    """One row of `rows`, or what is wrong with it."""
    try:
        return Scanned(line, raw, known.read(raw))
    except InvalidRecord as error:
        problems = [DatasetProblem(str(path), line, *problem) for problem in error.problems]
        return Scanned(line, raw, None, (*_mixed(path, line, raw, known), *problems))
    except _JSON_ERRORS as error:
        return Scanned(line, raw, None, (_broken(path, line, raw, error),))


def detect(path: Path | str) -> Detection:
    """Judge by the first `SAMPLE_ROWS` records. DatasetError if none fits, or if the format changes on the way."""
    path = Path(path)
    sample: list[tuple[int, dict[str, Any]]] = []
    broken: list[DatasetProblem] = []
    for line, raw in islice(rows(path), SAMPLE_ROWS):
        try:
            sample.append((line, decode_row(raw)))
        except InvalidRecord as error:
            broken += [DatasetProblem(str(path), line, *problem) for problem in error.problems]
        except _JSON_ERRORS as error:
            broken.append(_broken(path, line, raw, error))
    if not sample:
        raise DatasetError(broken[:MAX_PROBLEMS], count=len(broken))
    scores = {name: [load_format(name).likeness(row) for _, row in sample] for name in FORMATS}
    known_rows = [i for i in range(len(sample)) if any(found[i][0] > 0 for found in scores.values())]
    if not known_rows:
        raise DatasetError(_unknown(path, *sample[0]))
    fitting = [name for name in FORMATS if all(scores[name][i][0] > 0 for i in known_rows)]
    if not fitting:
        raise DatasetError(_change(path, sample, scores, known_rows))
    best = max(fitting, key=lambda name: max(scores[name][i][0] for i in known_rows))
    confidence, reason = max(scores[best][i] for i in known_rows)
    share = len(known_rows) / len(sample)
    return Detection(best, round(confidence * share, 2), reason)


def digest(path: Path | str) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal. DatasetError if it cannot be read."""
    with _open(Path(path)) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def rows(path: Path) -> Iterator[tuple[int, bytes]]:
    """Each row's JSON, undecoded. Raises DatasetError for a file that is missing, empty, unreadable or no JSON text."""
    if path.suffix.lower() in _OTHER_CONTAINERS and path.is_file():
        raise _whole(path, f"{path.suffix} files are not read", "convert it to .jsonl, one JSON object a line")
    with _open(path) as file:
        start = file.read(4096)
        foreign = foreign_start(start)
        if foreign:
            raise _whole(path, *foreign)
        text = start.removeprefix(_BOM)
        file.seek(len(start) - len(text))
        found = False
        source = _array(path, file) if text.lstrip()[:1] == b"[" else _lines(path, file)
        for found_row in source:
            found = True
            yield found_row
        if not found:
            raise _whole(path, "is empty", "give a file with at least one record")


def _lines(path: Path, file: BufferedReader) -> Iterator[tuple[int, bytes]]:
    """Blank lines are handed on as they are, except those at the end."""
    blank: list[int] = []
    for number, line in enumerate(_reading(path, file), start=1):
        line = line.strip()
        if not line:
            blank.append(number)
            continue
        for earlier in blank:
            yield earlier, b""
        blank.clear()
        yield number, line


def _reading(path: Path, file: BufferedReader) -> Iterator[bytes]:
    try:
        yield from file
    except OSError as error:
        raise _whole(path, f"cannot be read: {error.strerror}", "check the file and its disk") from error


def _array(path: Path, file: BufferedReader) -> Iterable[tuple[int, bytes]]:
    text = b"".join(_reading(path, file))
    try:
        return enumerate((bytes(raw) for raw in msgspec.json.decode(text, type=list[msgspec.Raw])), start=1)
    except _JSON_ERRORS as error:
        raise _whole(path, *broken_array(text, error)) from error


def _open(path: Path) -> BufferedReader:
    try:
        if path.is_dir():
            raise _whole(path, "is a directory", "name a .jsonl or .json file in it")
        return path.open("rb")
    except FileNotFoundError as error:
        raise _whole(path, "does not exist", "correct the path") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise _whole(path, f"cannot be read: {reason}", "check the path and its permissions") from error


def _whole(path: Path, rule: str, fix: str) -> DatasetError:
    return DatasetError(DatasetProblem(str(path), None, "", rule, fix))


def _broken(path: Path, line: int, raw: bytes, error: Exception) -> DatasetProblem:
    if not raw:
        return DatasetProblem(str(path), line, "", "is a blank line between records", "remove it")
    return DatasetProblem(str(path), line, "", *broken_line(raw, error))


def _likeliest(row: dict[str, Any]) -> tuple[float, str]:
    return max(((load_format(name).likeness(row)[0], name) for name in FORMATS), key=lambda pair: pair[0])


def _mixed(path: Path, line: int, raw: bytes, known: Format) -> list[DatasetProblem]:
    """Say so where a bad row is not of this format and looks like another."""
    try:
        row = decode_row(raw)
    except InvalidRecord:
        return []
    score, name = _likeliest(row)
    if known.likeness(row)[0] > 0 or score < 0.9:
        return []
    rule = f"looks like {name}, while the file is read as {known.NAME}"
    return [DatasetProblem(str(path), line, "", rule, f"put the formats in separate files, or read it as {name}")]


def _unknown(path: Path, line: int, row: dict[str, Any]) -> DatasetProblem:
    keys = ", ".join(list(row)[:8]) or "none"
    rule = f"no known format has such a record (its keys: {keys})"
    return DatasetProblem(
        str(path), line, "", rule, f"use one of {', '.join(FORMATS)}, or name it if it is one of them"
    )


def _change(
    path: Path,
    sample: list[tuple[int, dict[str, Any]]],
    scores: dict[str, list[tuple[float, str]]],
    known_rows: list[int],
) -> DatasetProblem:
    """Where the format changes: the first row that the formats of all rows before it do not fit."""
    fitting = list(FORMATS)
    for before, i in zip([None, *known_rows], known_rows, strict=False):
        still = [name for name in fitting if scores[name][i][0] > 0]
        if not still and before is not None:
            line, first = sample[i][0], fitting[0]
            rule = (
                f"looks like {_likeliest(sample[i][1])[1]}, while the lines up to {sample[before][0]} look like {first}"
            )
            return DatasetProblem(str(path), line, "", rule, "put the formats in separate files")
        fitting = still
    raise AssertionError("called only where no format fits all rows")
