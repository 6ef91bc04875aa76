"""Writes files and folders so that a crash leaves the old content or the new, and lets processes take turns.

A file is written under another name in the same folder and renamed. `durable` makes the content, and the name, survive
a power cut, too: it costs an fsync each. `private` files are their owner's, as `tuneport.private` says; others follow
the user's umask. A lock (flock) belongs to an open file: the system drops it with the process that holds it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from tuneport import private as privately

_NEW = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC


def write_atomically(path: Path, content: str | bytes, *, durable: bool = True, private: bool = True) -> None:
    """Write the whole file, or leave it as it was. Readers never see half of it."""
    with replace_file_atomically(path, durable=durable, private=private) as file:
        file.write(content.encode("utf-8") if isinstance(content, str) else content)


@contextlib.contextmanager
def replace_file_atomically(path: Path, *, durable: bool = True, private: bool = True) -> Iterator[BinaryIO]:
    """Yield a file to write, which takes the place of `path` at the end of the block; an exception leaves no trace."""
    aside = temporary_file_beside(path)
    try:
        with open(aside, "xb", opener=privately.private_file_opener if private else None) as file:
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.replace(aside, path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    if durable:
        fsync_path(path.parent)


def temporary_file_beside(path: Path) -> Path:
    """Return a hidden name beside `path` that no other process or thread uses."""
    return path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")


@contextlib.contextmanager
def folder_beside(target: Path) -> Iterator[Path]:
    """Yield a hidden name beside `target` for a folder to fill and rename; what is left there at the end is removed."""
    aside = temporary_file_beside(target)
    try:
        yield aside
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def publish_folder(written: Path, target: Path) -> None:
    """Rename a finished folder into place once its bytes, and the names of its files, are on the disk."""
    for entry in [*written.rglob("*"), written]:
        if entry.is_file() or entry.is_dir():
            fsync_path(entry)
    target.parent.mkdir(parents=True, exist_ok=True)
    written.rename(target)
    for folder in (target.parent, target.parent.parent):  # the second one: the parent may itself be new
        fsync_path(folder)


def fsync_path(path: Path) -> None:
    """Flush a file's content, or a folder's entries, to disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def append_line(path: Path, line: str | bytes) -> None:
    """Append a whole line in one write, after dropping what a killed writer left behind the last newline."""
    with open(path, "ab+", opener=privately.private_file_opener) as file:
        file.truncate(_end_of_lines(file))
        file.write((line.encode("utf-8") if isinstance(line, str) else line) + b"\n")


def cut_partial_line(path: Path) -> None:
    """Drop what a killed writer left behind the last newline. Does nothing if there is no file."""
    with contextlib.suppress(FileNotFoundError), path.open("r+b") as file:
        file.seek(0, os.SEEK_END)
        file.truncate(_end_of_lines(file))


def _end_of_lines(file: BinaryIO) -> int:
    """Return the size up to the last newline. `file` stands at its end."""
    size = file.tell()
    if size:
        file.seek(size - 1)
        if file.read(1) != b"\n":
            file.seek(0)
            return file.read().rfind(b"\n") + 1
    return size


# --- locks ------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def hold_file_lock(path: Path, *, wait: bool = True, private: bool = True) -> Iterator[bool]:
    """Hold the file's lock against threads and processes alike, and yield True.

    Without `wait`, yields False if another holds it.
    """
    descriptor = acquire_file_lock(path, wait=wait, private=private)
    try:
        yield descriptor is not None
    finally:
        if descriptor is not None:
            os.close(descriptor)


def acquire_file_lock(path: Path, *, wait: bool = False, private: bool = True) -> int | None:
    """Return the open file that holds the lock until it is closed, or None if another holds it and `wait` is off."""
    return lock_open_file(os.open(path, _NEW, 0o600 if private else 0o666), wait=wait)


def lock_open_file(descriptor: int, *, wait: bool = False) -> int | None:
    """Return the open file once it holds its lock. If another holds it and `wait` is off, close it and return None."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def is_file_locked(path: Path) -> bool:
    """Return whether another open file holds an exclusive lock on `path`. A free lock is taken for a moment."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
