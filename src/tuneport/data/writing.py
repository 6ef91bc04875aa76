"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from io import BufferedWriter
from pathlib import Path

from tuneport.errors import ConfigError, StorageError

ELSEWHERE = "name another output"
STEADILY_SECONDS = 0.05
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM}


@contextmanager
def aside(folder: Path, *, otherwise: str = ELSEWHERE) -> Iterator[tuple[BufferedWriter, Path]]:
    """A file to write in `folder`, and its temporary path. `publish` it before the block ends, else it is gone.

    Whatever the operating system refuses (no space, no permission) is a StorageError with the folder's path and what to
    do about it, or `otherwise`.
    """
    temporary: Path | None = None
    try:
        handle, name = tempfile.mkstemp(prefix=".tuneport-", suffix=".part", dir=folder)
        temporary = Path(name)
        with os.fdopen(handle, "wb") as file:
            yield file, temporary
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not folder.is_dir():
            raise StorageError(f"{folder}: the folder does not exist; create it, or name another output") from error
        raise StorageError(f"{folder} cannot be written: {error.strerror}; {remedy(error, otherwise)}") from error
    finally:
        if temporary is not None:
            with suppress(OSError):  # a disk that fails to delete has failed to write before, and that is told
                temporary.unlink()


@contextmanager
def steadily(file: BufferedWriter) -> Iterator[None]:
    """Meanwhile, bring what is written to the disk, so that `publish` finds little that it has to wait for.

    An error of that is raised at the end, as the operating system tells it only once.
    """
    bring = getattr(os, "fdatasync", os.fsync)
    errors: list[OSError] = []
    ended = threading.Event()

    def flush() -> None:
        try:
            while not ended.wait(STEADILY_SECONDS):
                bring(file.fileno())
        except OSError as error:
            errors.append(error)

    thread = threading.Thread(target=flush, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    if errors:
        raise errors[0]


def make_folder(folder: Path, *, otherwise: str = ELSEWHERE) -> None:
    """Create `folder` and those above it, where they are not there yet. StorageError where that is refused."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = "it is no folder" if isinstance(error, FileExistsError) else error.strerror
        what_to_do = remedy(error, otherwise)
        raise StorageError(f"the folder {folder} cannot be created: {reason}; {what_to_do}") from error


def remedy(error: OSError, otherwise: str) -> str:
    """What to do where the operating system refuses to write."""
    if error.errno in _FULL:
        return f"free some space, or {otherwise}"
    return f"mend its permissions, or {otherwise}" if error.errno in _FORBIDDEN else otherwise


def publish(file: BufferedWriter, temporary: Path, path: Path) -> None:
    """Bring what was written to the disk and give it its name, replacing what was there."""
    file.flush()
    os.fsync(file.fileno())
    mask = os.umask(0)
    os.umask(mask)
    os.chmod(temporary, 0o666 & ~mask)  # mkstemp makes files that only their owner can read
    os.replace(temporary, path)


def refuse_overwriting(outputs: Iterable[Path], sources: Iterable[Path]) -> None:
    """ConfigError where an output is a folder, one of the files that are read, or named twice."""
    read, seen = list(sources), set[Path]()
    for output in outputs:
        if output.resolve() in seen:
            raise ConfigError(f"the output {output} is named twice; name two files")
        seen.add(output.resolve())
        if output.is_dir():
            raise ConfigError(f"the output {output} is a directory; name a file")
        if any(output.exists() and source.exists() and output.samefile(source) for source in read):
            raise ConfigError(f"the output {output} is the input; name another, so that the original stays")
