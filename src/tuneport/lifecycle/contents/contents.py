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

from tuneport import private
from tuneport.errors import StorageError, TuneportError
from tuneport.files import fsync_path

_PIECE = 1 << 20
ABANDONED_SECONDS = 24 * 3600.0
"""If a content that is half written, or in no row, is older than this, its process counts as dead."""
_NAME = re.compile(r"([0-9a-f]{64})\.jsonl")


class ContentGoneError(TuneportError):
    """A content is missing from where contents are kept, or is not what was stored there."""


def content_hash_in_path(path: Path) -> str | None:
    """Return the hash of the content that a path names, on whichever machine it was written, or None for any other
    path."""
    named = _NAME.fullmatch(path.name)
    return named[1] if named is not None and path.parent.name == named[1][:2] else None


class IncomingContent:
    """A content that is being written. `keep` gives its hash; left without it, nothing stays."""

    def __init__(self, contents: Contents) -> None:
        self._contents = contents
        self._path = contents.folder / "incoming" / uuid.uuid4().hex
        self._hash = hashlib.sha256()
        self.bytes = 0
        self.start = b""
        """Its first bytes, which tell what it is."""
        with content_storage_errors(contents.folder):
            private.make_private_folder(self._path.parent)
            self._file: BinaryIO = open(self._path, "xb", opener=private.private_file_opener)

    def write(self, piece: bytes | bytearray) -> None:
        if len(self.start) < 4:
            self.start = (self.start + piece[:4])[:4]
        self._hash.update(piece)
        self.bytes += len(piece)
        with content_storage_errors(self._contents.folder):
            self._file.write(piece)

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def flush(self) -> None:
        """Write all of it to storage, which may take seconds. Call it before `keep`, and outside of its lock."""
        with content_storage_errors(self._contents.folder):
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
        self._contents.store_content(self._path, self.sha256)

    def keep(self) -> str:
        """Keep the content and return the SHA-256 that names it from now on. It must have been flushed."""
        assert self._file.closed, "keep comes after flush"
        self._contents.store_content(self._path, self.sha256)  # again, in case another process removed it meanwhile
        self._contents.place_content(self._path, self.sha256)
        return self.sha256

    def __enter__(self) -> IncomingContent:
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
    """StorageError if the disk is full or cannot be written.

    `alone` keeps all others out that share the contents; see `locked`. `RemoteContents` keeps them elsewhere.
    """

    def __init__(self, folder: Path, alone: Callable[[], AbstractContextManager[None]]) -> None:
        self.folder, self._alone = folder, alone

    def check_writable(self) -> None:
        """Check that contents can be kept now. Raises the error that keeping one would raise."""
        with content_storage_errors(self.folder):
            private.make_private_folder(self.folder)

    def open_incoming(self) -> IncomingContent:
        return IncomingContent(self)

    def path(self, sha256: str) -> Path:
        """Return the content's path if it is there. Its name ends like a file of JSON lines, which is how readers
        recognise it."""
        return self.folder / sha256[:2] / f"{sha256}.jsonl"

    def fetch_content(self, sha256: str) -> Path:
        """Fetch the content whole, and return its path on this machine. Raises ContentGoneError if it is nowhere."""
        path = self.path(sha256)
        if not path.is_file():
            raise self._gone(sha256, "is gone from the gateway's disk")
        return path

    def has_content(self, sha256: str) -> bool:
        return self.path(sha256).is_file()

    def concatenate(self, parts: Iterable[str], see: Callable[[bytes], object] | None = None) -> IncomingContent:
        """Write the contents one behind the other, not kept yet. `see` is shown each chunk."""
        joined = self.open_incoming()
        try:
            for sha256 in parts:
                for piece in read_stored_content_blocks(self.fetch_content(sha256).open("rb")):
                    joined.write(piece)
                    if see is not None:
                        see(piece)
        except BaseException:
            joined.close()
            raise
        return joined

    def lock_contents(self) -> AbstractContextManager[None]:
        """Hold the lock on the contents, of all processes: between a content's arrival and the row that needs it, no
        process removes it."""
        return self._alone()

    def remove(self, sha256: str) -> None:
        with contextlib.suppress(OSError):
            self.path(sha256).unlink(missing_ok=True)

    def find_strays(self, needed: Callable[[str], bool], *, seconds: float = ABANDONED_SECONDS) -> Iterator[str]:
        """Yield contents that are older than that and that no row needs: a process left them when it died."""
        before = time.time() - seconds
        for path in self.folder.glob("??/*.jsonl"):
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < before and not needed(path.stem):
                    yield path.stem

    def remove_unfinished(self, *, seconds: float = ABANDONED_SECONDS) -> None:
        """Remove what was half written when its process ended."""
        before = time.time() - seconds
        for path in (self.folder / "incoming").glob("*"):
            with contextlib.suppress(OSError):
                if path.stat().st_mtime < before:
                    path.unlink()

    # --- for `IncomingContent`
    # ---------------------------------------------------------------------------------------------

    def store_content(self, path: Path, sha256: str) -> None:
        """Copy the whole content at `path` to the place that all who share the contents read. Does nothing if it is
        there."""

    def place_content(self, path: Path, sha256: str) -> None:
        """Give the whole content at `path` its name on this disk."""
        target = self.path(sha256)
        with content_storage_errors(self.folder):
            private.make_private_folder(target.parent)
            path.replace(target)
            fsync_path(target.parent)

    def _gone(self, sha256: str, what: str) -> ContentGoneError:
        return ContentGoneError(f"{sha256}.jsonl {what}; upload it again")


@contextlib.contextmanager
def content_storage_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        what = "is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else f"cannot be written ({error.strerror})"
        raise StorageError(
            f"the disk with {folder} {what}; make room or set TUNEPORT_HOME, then send it again"
        ) from error


def read_stored_content_blocks(file: BinaryIO) -> Iterator[bytes]:
    """Yield the bytes to the end, some at a time; then close the file."""
    with file:
        while piece := file.read(_PIECE):
            yield piece
