"""Bytes by their hash, in a folder: written aside, flushed to the disk, then renamed; each is whole or absent."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO

from tuneport.errors import StorageError, TuneportError

_PIECE = 1 << 20
ABANDONED_SECONDS = 24 * 3600.0
"""What is half written, or in no row, for so long belongs to a process that is no more."""
_NAME = re.compile(r"([0-9a-f]{64})\.jsonl")


class ContentGoneError(TuneportError):
    """A content is not where the contents are kept, or is not what was kept there."""


def sha256_of(path: Path) -> str | None:
    """The hash of the content that a path names, on whichever machine it was written; None of any other path."""
    named = _NAME.fullmatch(path.name)
    return named[1] if named is not None and path.parent.name == named[1][:2] else None


class Incoming:
    """A content while it is written. `keep` gives its hash; left without it, nothing stays."""

    def __init__(self, contents: Contents) -> None:
        self._contents = contents
        self._path = contents.folder / "incoming" / uuid.uuid4().hex
        self._hash = hashlib.sha256()
        self.bytes = 0
        self.start = b""
        """Its first bytes, which tell what it is."""
        with storage_errors(contents.folder):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file: BinaryIO = self._path.open("xb")

    def write(self, piece: bytes | bytearray) -> None:
        if len(self.start) < 4:
            self.start = (self.start + piece[:4])[:4]
        self._hash.update(piece)
        self.bytes += len(piece)
        with storage_errors(self._contents.folder):
            self._file.write(piece)

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def flush(self) -> None:
        """Have all of it where it is kept, which may take seconds: before `keep`, and outside of its lock."""
        with storage_errors(self._contents.folder):
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
        self._contents.send(self._path, self.sha256)

    def keep(self) -> str:
        """The content's SHA-256, by which it is to be had from now on. Flushed before."""
        assert self._file.closed, "keep comes after flush"
        self._contents.send(self._path, self.sha256)  # again, should somebody have removed it meanwhile
        self._contents.place(self._path, self.sha256)
        return self.sha256

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
    """StorageError where the disk is full or cannot be written.

    `alone` keeps all others out that share the contents; see `locked`. `RemoteContents` keeps them elsewhere.
    """

    def __init__(self, folder: Path, alone: Callable[[], AbstractContextManager[None]]) -> None:
        self.folder, self._alone = folder, alone

    def check(self) -> None:
        """Nothing where contents can be kept now; else the error that keeping one would raise."""
        with storage_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)

    def incoming(self) -> Incoming:
        return Incoming(self)

    def path(self, sha256: str) -> Path:
        """Where the content lies, if it is there. Its name ends as rows of JSON do, by which readers know them."""
        return self.folder / sha256[:2] / f"{sha256}.jsonl"

    def fetch(self, sha256: str) -> Path:
        """Its path on this machine, where it now lies whole. ContentGoneError where it is nowhere."""
        path = self.path(sha256)
        if not path.is_file():
            raise self._gone(sha256, "is gone from the gateway's disk")
        return path

    def has(self, sha256: str) -> bool:
        return self.path(sha256).is_file()

    def join(self, parts: Iterable[str], see: Callable[[bytes], object] | None = None) -> Incoming:
        """The contents one behind the other, not kept yet. `see` is shown each piece."""
        joined = self.incoming()
        try:
            for sha256 in parts:
                for piece in pieces_of(self.fetch(sha256).open("rb")):
                    joined.write(piece)
                    if see is not None:
                        see(piece)
        except BaseException:
            joined.close()
            raise
        return joined

    def locked(self) -> AbstractContextManager[None]:
        """One at a time, of all processes: between a content's arrival and the row that needs it, nobody removes it."""
        return self._alone()

    def remove(self, sha256: str) -> None:
        with contextlib.suppress(OSError):
            self.path(sha256).unlink(missing_ok=True)

    def strays(self, needed: Callable[[str], bool], *, seconds: float = ABANDONED_SECONDS) -> Iterator[str]:
        """Contents that came longer ago and that nobody needs: what a process left without a row when it died."""
        before = time.time() - seconds
        for path in self.folder.glob("??/*.jsonl"):
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < before and not needed(path.stem):
                    yield path.stem

    def sweep(self, *, seconds: float = ABANDONED_SECONDS) -> None:
        """Remove what was half written when its process ended."""
        before = time.time() - seconds
        for path in (self.folder / "incoming").glob("*"):
            with contextlib.suppress(OSError):
                if path.stat().st_mtime < before:
                    path.unlink()

    # --- for `Incoming` ---------------------------------------------------------------------------------------------

    def send(self, path: Path, sha256: str) -> None:
        """Have the whole content at `path` where all who share the contents find it; nothing where it is there."""

    def place(self, path: Path, sha256: str) -> None:
        """Give the whole content at `path` its name on this disk."""
        target = self.path(sha256)
        with storage_errors(self.folder):
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)
            _flush_folder(target.parent)

    def _gone(self, sha256: str, what: str) -> ContentGoneError:
        return ContentGoneError(f"{sha256}.jsonl {what}; upload it again")


@contextlib.contextmanager
def storage_errors(folder: Path) -> Iterator[None]:
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
