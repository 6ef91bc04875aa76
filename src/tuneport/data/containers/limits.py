"""Limits of what a packed file may hold. gzip, zstd and Parquet can unfold a megabyte into gigabytes of rows that are
valid, so size alone tells nothing: what counts is how often a file is larger once it is unpacked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from tuneport.data.containers.bad_row import unreadable_file_error

MOST_TIMES = ((256 << 20, 500), (2 << 30, 200), (16 << 30, 50))
"""From so many unpacked bytes on, no more than so many times the packed ones.

Rows of text shrink to a half or a tenth. Measured on rows that share a prompt of 5 kB and ask 30 words each: to 1/48
(gzip), 1/58 (zstd) and 1/77 (Parquet); with 8 words each, to 1/86, 1/162 and 1/246. 200,000 such rows are 1 GB.
"""

_allowed: ContextVar[bool] = ContextVar("allow_large", default=False)


@contextmanager
def allow_large() -> Iterator[None]:
    """Read packed files of any size within, as `--allow-large` does: `with tuneport.allow_large(): ...`."""
    before = _allowed.set(True)
    try:
        yield
    finally:
        _allowed.reset(before)


def set_large_files_allowed(wanted: bool) -> None:
    """Allow or forbid large files in this thread from now on. For the command line, whose process is one command."""
    _allowed.set(wanted)


def large_files_allowed() -> bool:
    return _allowed.get()


class DecompressionLimit:
    """Watches one file while it is unpacked. `allowed`: there is no limit."""

    def __init__(self, path: Path, *, allowed: bool) -> None:
        self._path, self._allowed = path, allowed
        self._unpacked = self._packed = 0

    @property
    def ratio(self) -> float:
        return self._unpacked / max(1, self._packed)

    def add(self, unpacked: int, packed: int) -> None:
        """Count more bytes. Raises DatasetError if there are too many of them for the packed ones."""
        self._unpacked += unpacked
        self._packed += packed
        if self._allowed or self._unpacked <= MOST_TIMES[0][0]:
            return
        for size, times in MOST_TIMES:
            if self._unpacked > max(size, times * self._packed):
                limit = f"{size >> 30} GiB" if size >> 30 else f"{size >> 20} MiB"
                rule = f"unpacks to more than {times} times its size and more than {limit}"
                fix = "check where it comes from; if you trust it, add --allow-large, or unpack it yourself"
                raise unreadable_file_error(self._path, rule, fix)
