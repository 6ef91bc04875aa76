"""The errors of a container: with one row, and with a whole file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tuneport.data.containers.numbering import LINE
from tuneport.errors import DatasetError, DatasetProblem

MAX_ROW = 64 << 20
"""Bytes of one row at most. A real record is a thousandth of that; a file without line ends would fill the memory."""


class BadRow(bytes):
    """Stands for a row without JSON: empty bytes that know what is wrong."""

    rule: str
    fix: str

    def __new__(cls, rule: str = "", fix: str = "") -> BadRow:
        row = super().__new__(cls)
        row.rule, row.fix = rule, fix
        return row


def unreadable_file_error(
    path: Path | str, rule: str, fix: str, line: int | None = None, *, unit: str = LINE
) -> DatasetError:
    """Return the error that ends the reading of a file."""
    return DatasetError(DatasetProblem(str(path), line, "", rule, fix, unit))


@contextmanager
def reading_file(path: Path) -> Iterator[None]:
    """Raise DatasetError in place of the system's own errors with a file, missing ones among them."""
    try:
        yield
    except FileNotFoundError as error:
        raise unreadable_file_error(path, "does not exist", "correct the path") from error
    except (OSError, ValueError) as error:
        reason = error.strerror or str(error) if isinstance(error, OSError) else str(error)
        raise unreadable_file_error(path, f"cannot be read: {reason}", "check the path and its permissions") from error


def row_too_large_error(path: Path, line: int, *, unit: str = LINE) -> DatasetError:
    rule = f"the record is larger than {MAX_ROW >> 20} MiB"
    return unreadable_file_error(path, rule, "split it, or check that this is the right file", line, unit=unit)
