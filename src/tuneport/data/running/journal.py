"""A file of rows that only ever grows: what was added is on the disk when the call returns, and stays there.

A line that a crash cut short was never confirmed: it is left out when the file is read, and the next row
begins on a line of its own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from tuneport.data.running.writing import output_error_remedy
from tuneport.errors import ConfigError, DatasetError, DatasetProblem, StorageError
from tuneport.files import acquire_file_lock, fsync_path

Row = TypeVar("Row", bound=msgspec.Struct)


class JsonLinesJournal(Generic[Row]):
    """One JSON object of the type `row` a line. `what` names a row in messages."""

    def __init__(self, path: Path, row: type[Row], *, what: str) -> None:
        self.path, self._what = path, what
        self._decode = msgspec.json.Decoder(row).decode
        self._beginning = b'{"%s":' % row.__struct_fields__[0].encode()

    def rows(self) -> Iterator[Row]:
        """Yield all rows in order; none if there is no file yet. Raises DatasetError that names a broken line."""
        try:
            lines = self.path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return
        except OSError as error:
            reason = f"{self.path} cannot be read: {error.strerror}; check the path and its permissions"
            raise StorageError(reason) from error
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                yield self._decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                if self._cut_short(line):
                    continue
                problem = DatasetProblem(
                    str(self.path), number, "", f"is no {self._what}: {error}", "correct the line or remove it"
                )
                raise DatasetError(problem) from error

    def append(self, row: Row) -> None:
        """Append a row; it is on the disk when this returns. Raises StorageError if the disk refuses."""
        line = msgspec.json.encode(row) + b"\n"
        try:
            new = not self.path.exists()
            handle = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
            try:
                size = os.fstat(handle).st_size
                if size and os.pread(handle, 1, size - 1) != b"\n":
                    line = b"\n" + line  # what a crash cut short stays a line of its own
                written = os.write(handle, line)
                if written != len(line):
                    raise OSError(28, "the disk is full")
                os.fsync(handle)
            finally:
                os.close(handle)
            if new:
                fsync_path(self.path.parent)
        except OSError as error:
            raise self._refused(error) from error

    @contextmanager
    def lock_for_writing(self, by: str) -> Iterator[None]:
        """Lock the journal against other processes, creating it if needed. Raises ConfigError if one holds it."""
        try:
            handle = acquire_file_lock(self.path, private=False)
        except OSError as error:
            raise self._refused(error) from error
        if handle is None:
            raise ConfigError(f"another `{by}` writes to {self.path}; continue there, or end it first")
        try:
            yield
        finally:
            os.close(handle)

    def _cut_short(self, line: bytes) -> bool:
        try:
            msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return line.startswith(self._beginning) or self._beginning.startswith(line)
        return False

    def _refused(self, error: OSError) -> StorageError:
        return StorageError(
            f"{self.path} cannot be written: {error.strerror}; "
            f"{output_error_remedy(error, 'copy the dataset elsewhere')}"
        )
