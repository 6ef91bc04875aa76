"""Files as they are or unpacked while they are read: gzip and zstd, told by their first bytes."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from stat import S_ISREG
from typing import IO, Any

from tuneport.data.containers.bad_row import reading_file, unreadable_file_error
from tuneport.data.containers.limits import MOST_TIMES, DecompressionLimit
from tuneport.data.running.underway import report_data_activity

GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
PACKED = {".gz": GZIP, ".zst": ZSTD}
_STEP = 2048  # packed bytes at a time: zstd makes at most 64 MiB of them (a block of 128 KiB from 4 bytes)
_WINDOW = 1 << 27  # what `zstd --decompress` accepts without being told to
_BUFFER = 1 << 18
_LOOKED_AT = 1 << 20
_DAMAGED = "get an undamaged copy of the file"


@contextmanager
def open_unpacked(path: Path, *, allow_large: bool = False) -> Iterator[io.BufferedReader[Any]]:
    """Provide the unpacked bytes.

    Raises DatasetError for a file that cannot be opened or read, whose packing is damaged, or that unpacks to more than
    its size warrants (`limits`).
    """
    with reading_file(path):
        status = path.stat()
        if not S_ISREG(status.st_mode) and not path.is_dir():  # a pipe would be waited for, and is read only once
            raise unreadable_file_error(path, "is no plain file", "write what it gives to a file, and name that")
        raw, size = path.open("rb", buffering=0), status.st_size

        def share() -> float | None:
            return None if raw.closed or not size else raw.tell() / size

        with io.BufferedReader(raw, _BUFFER) as file, report_data_activity(f"reading {path.name}", share):
            start = file.peek(4)[:4]
            packing = next((magic for magic in PACKED.values() if start.startswith(magic)), None)
            expected = PACKED.get(path.suffix.lower())
            if expected is not None and packing is None and start:
                raise unreadable_file_error(path, f"is not what {path.suffix} files are", f"rename it, or {_DAMAGED}")
            if packing is None:
                yield file
            else:
                if not allow_large and _begins_dense(path, packing):
                    _unpack_all(path, packing)
                yield io.BufferedReader(
                    _Unpacked(file, packing, path, DecompressionLimit(path, allowed=allow_large)), _BUFFER
                )


def _begins_dense(path: Path, packing: bytes) -> bool:
    """Return whether the first bytes unpack to far more than rows of text usually do."""
    with path.open("rb") as file:
        size = DecompressionLimit(path, allowed=True)
        unpacked = _Unpacked(file, packing, path, size)
        unpacked.read(_LOOKED_AT)
        return size.ratio > MOST_TIMES[-1][1]


def _unpack_all(path: Path, packing: bytes) -> None:
    """Raise DatasetError for a file that unpacks to too much, before hours go into its rows."""
    with path.open("rb") as file:
        unpacked = _Unpacked(file, packing, path, DecompressionLimit(path, allowed=False))
        while unpacked.read(_BUFFER):
            pass


class _Unpacked(io.RawIOBase):
    """Unpacks member after member, a little at a time, so that no file can fill the memory."""

    def __init__(self, file: IO[bytes], packing: bytes, path: Path, size: DecompressionLimit) -> None:
        self._file, self._packing, self._path, self._size = file, packing, path, size
        self._unpacker = self._new()
        self._ready = memoryview(b"")
        self._begun = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            packed = self._file.read(_STEP)
            if not packed:
                if self._begun:
                    raise unreadable_file_error(self._path, "is cut short: its packing does not end", _DAMAGED)
                return 0
            self._ready = memoryview(self._unpack(packed))
            self._size.add(len(self._ready), len(packed))
        size = min(len(buffer), len(self._ready))
        buffer[:size] = self._ready[:size]
        self._ready = self._ready[size:]
        return size

    def _new(self) -> Any:
        if self._packing == GZIP:
            return zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        import zstandard

        return zstandard.ZstdDecompressor(max_window_size=_WINDOW).decompressobj()

    def _unpack(self, packed: bytes) -> bytes:
        pieces = []
        while packed:
            try:
                pieces.append(self._unpacker.decompress(packed))
            except Exception as error:  # zlib.error and ZstdError, which share no base
                raise unreadable_file_error(self._path, f"is damaged: {error}", _DAMAGED) from error
            self._begun = not self._unpacker.eof
            packed = b"" if self._begun else self._unpacker.unused_data
            if not self._begun:
                self._unpacker = self._new()
                packed = packed.lstrip(b"\0") if self._packing == GZIP else packed  # gzip allows padding
        return b"".join(pieces)
