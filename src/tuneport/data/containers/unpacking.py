"""Files as they are or unpacked while they are read: gzip and zstd, told by their first bytes."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from tuneport.data.containers.bad_row import whole

GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
PACKED = {".gz": GZIP, ".zst": ZSTD}
_STEP = 2048  # packed bytes at a time: zstd makes at most 64 MiB of them (a block of 128 KiB from 4 bytes)
_WINDOW = 1 << 27  # what `zstd --decompress` accepts without being told to
_BUFFER = 1 << 18
_MOST_TIMES, _UNWATCHED = 200, 1 << 28
"""Rows of text shrink to a tenth or a fiftieth; what unpacks to 200 times its size and above 256 MiB was made to."""
_DAMAGED = "get an undamaged copy of the file"


@contextmanager
def opened(path: Path) -> Iterator[io.BufferedReader[Any]]:
    """The unpacked bytes. DatasetError for a file that cannot be opened or read, or whose packing is damaged."""
    try:
        with io.BufferedReader(path.open("rb", buffering=0), _BUFFER) as file:
            start = file.peek(4)[:4]
            packing = next((magic for magic in PACKED.values() if start.startswith(magic)), None)
            expected = PACKED.get(path.suffix.lower())
            if expected is not None and packing is None and start:
                raise whole(path, f"is not what {path.suffix} files are", f"rename it, or {_DAMAGED}")
            if packing is None:
                yield file
            else:
                yield io.BufferedReader(_Unpacked(file, packing, path), _BUFFER)
    except FileNotFoundError as error:
        raise whole(path, "does not exist", "correct the path") from error
    except (OSError, ValueError) as error:
        reason = error.strerror or str(error) if isinstance(error, OSError) else str(error)
        raise whole(path, f"cannot be read: {reason}", "check the path and its permissions") from error


class _Unpacked(io.RawIOBase):
    """Unpacks member after member, a little at a time, so that no file can fill the memory."""

    def __init__(self, file: IO[bytes], packing: bytes, path: Path) -> None:
        self._file, self._packing, self._path = file, packing, path
        self._unpacker = self._new()
        self._ready = memoryview(b"")
        self._begun = False
        self._packed_bytes = self._unpacked_bytes = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            packed = self._file.read(_STEP)
            if not packed:
                if self._begun:
                    raise whole(self._path, "is cut short: its packing does not end", _DAMAGED)
                return 0
            self._ready = memoryview(self._unpack(packed))
            self._packed_bytes += len(packed)
            self._unpacked_bytes += len(self._ready)
            if self._unpacked_bytes > max(_UNWATCHED, _MOST_TIMES * self._packed_bytes):
                rule = f"unpacks to more than {_MOST_TIMES} times its size"
                raise whole(self._path, rule, "check where it comes from; if you trust it, unpack it yourself")
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
                raise whole(self._path, f"is damaged: {error}", _DAMAGED) from error
            self._begun = not self._unpacker.eof
            packed = b"" if self._begun else self._unpacker.unused_data
            if not self._begun:
                self._unpacker = self._new()
                packed = packed.lstrip(b"\0") if self._packing == GZIP else packed  # gzip allows padding
        return b"".join(pieces)
