"""Bytes by their hash, in a folder: written aside, flushed to the disk, then renamed; each is whole or absent."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from tuneport.errors import StorageError

_PIECE = 1 << 20
_ABANDONED_SECONDS = 24 * 3600.0
"""What is half written for so long belongs to a process that is no more."""


class Incoming:
    """A content while it is written. `keep` gives its hash; left without it, nothing stays."""

    def __init__(self, contents: Contents) -> None:
        self._contents = contents
        self._path = contents.folder / "incoming" / uuid.uuid4().hex
        self._hash = hashlib.sha256()
        self.bytes = 0
        self.start = b""
        """Its first bytes, which tell what it is."""
        with _told(contents.folder):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file: BinaryIO = self._path.open("xb")

    def write(self, piece: bytes | bytearray) -> None:
        if len(self.start) < 4:
            self.start = (self.start + piece[:4])[:4]
        self._hash.update(piece)
        self.bytes += len(piece)
        with _told(self._contents.folder):
            self._file.write(piece)

    def flush(self) -> None:
        """Have all of it on the disk, which may take seconds: before `keep`, and outside of its lock."""
        with _told(self._contents.folder):
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()

    def keep(self) -> str:
        """The content's SHA-256; from now on `Contents.path` has it. Flushed before."""
        sha256 = self._hash.hexdigest()
        target = self._contents.path(sha256)
        with _told(self._contents.folder):
            assert self._file.closed, "keep comes after flush"
            target.parent.mkdir(parents=True, exist_ok=True)
            self._path.replace(target)
            _flush_folder(target.parent)
        return sha256

    def __enter__(self) -> Incoming:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of what was not kept."""
        with contextlib.suppress(OSError):  # after a full disk, closing flushes once more
            self._file.close()
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)


class Contents:
    """StorageError where the disk is full or cannot be written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def incoming(self) -> Incoming:
        return Incoming(self)

    def path(self, sha256: str) -> Path:
        """Where the content lies, if it is there. Its name ends as rows of JSON do, by which readers know them."""
        return self.folder / sha256[:2] / f"{sha256}.jsonl"

    def has(self, sha256: str) -> bool:
        return self.path(sha256).is_file()

    def join(self, parts: Iterable[str], see: Callable[[bytes], object] | None = None) -> Incoming:
        """The contents one behind the other, not kept yet. `see` is shown each piece."""
        joined = self.incoming()
        try:
            for sha256 in parts:
                for piece in pieces_of(self.path(sha256).open("rb")):
                    joined.write(piece)
                    if see is not None:
                        see(piece)
        except BaseException:
            joined.close()
            raise
        return joined

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """One at a time, of all processes: between a content's arrival and the row that needs it, nobody removes it."""
        with _told(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            file = (self.folder / "lock").open("w")
        with file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def remove(self, sha256: str) -> None:
        with contextlib.suppress(OSError):
            self.path(sha256).unlink(missing_ok=True)

    def old(self, *, seconds: float = _ABANDONED_SECONDS) -> Iterator[str]:
        """Contents that came longer ago: what a process left without a row when it died is among them."""
        before = time.time() - seconds
        for path in self.folder.glob("??/*.jsonl"):
            with contextlib.suppress(OSError):
                if path.stat().st_mtime < before:
                    yield path.stem

    def sweep(self, *, seconds: float = _ABANDONED_SECONDS) -> None:
        """Remove what was half written when its process ended."""
        before = time.time() - seconds
        for path in (self.folder / "incoming").glob("*"):
            with contextlib.suppress(OSError):
                if path.stat().st_mtime < before:
                    path.unlink()


@contextlib.contextmanager
def _told(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        what = "is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else f"cannot be written ({error.strerror})"
        raise StorageError(
            f"the disk with {folder} {what}; make room or set TUNEPORT_HOME, then send it again"
        ) from error


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def pieces_of(file: BinaryIO) -> Iterator[bytes]:
    """Its bytes to the end, some at a time; then it is closed."""
    with file:
        while piece := file.read(_PIECE):
            yield piece
