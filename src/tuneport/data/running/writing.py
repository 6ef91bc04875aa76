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

from tuneport import private as privately
from tuneport.errors import ConfigError, StorageError

ELSEWHERE = "name another output"
FSYNC_SECONDS = 0.05
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM}


@contextmanager
def temporary_file(folder: Path, *, otherwise: str = ELSEWHERE) -> Iterator[tuple[BufferedWriter, Path]]:
    """Provide a file to write in `folder`, and its temporary path. Without `publish_output_file` before the block
    ends, it is deleted.

    If the operating system refuses (no space, no permission), raises StorageError with the folder's path and what to do
    about it, or `otherwise`.
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
        raise StorageError(
            f"{folder} cannot be written: {error.strerror}; {output_error_remedy(error, otherwise)}"
        ) from error
    finally:
        if temporary is not None:
            with suppress(OSError):  # a disk that fails to delete has failed to write before, and that is told
                temporary.unlink()


@contextmanager
def background_fsync(file: BufferedWriter) -> Iterator[None]:
    """Write the file to the disk in the background, so that `publish_output_file` has little to wait for.

    An error of that is raised at the end, as the operating system reports it only once.
    """
    bring = getattr(os, "fdatasync", os.fsync)
    errors: list[OSError] = []
    ended = threading.Event()

    def flush() -> None:
        try:
            while not ended.wait(FSYNC_SECONDS):
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


def make_output_folder(folder: Path, *, otherwise: str = ELSEWHERE, private: bool = False) -> None:
    """Create `folder` and its parents if needed. Raises StorageError if that is refused.

    `private`: for its owner's eyes, as all in the home.
    """
    try:
        if private:
            privately.make_private_folder(folder)
        else:
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = "it is no folder" if isinstance(error, FileExistsError) else error.strerror
        what_to_do = output_error_remedy(error, otherwise)
        raise StorageError(f"the folder {folder} cannot be created: {reason}; {what_to_do}") from error


def output_error_remedy(error: OSError, otherwise: str) -> str:
    """Return what to do if the operating system refuses to write."""
    if error.errno in _FULL:
        return f"free some space, or {otherwise}"
    return f"mend its permissions, or {otherwise}" if error.errno in _FORBIDDEN else otherwise


def publish_output_file(file: BufferedWriter, temporary: Path, path: Path, *, private: bool = False) -> None:
    """Write the file's content to the disk and give it its name, replacing an existing file.

    `private`: for its owner's eyes, as all in the home; else as the user's umask has it.
    """
    file.flush()
    os.fsync(file.fileno())
    if private:
        privately.share_private_file_with_group(temporary)
    else:
        os.chmod(temporary, 0o666 & ~privately.process_umask())  # mkstemp makes files that only their owner can read
    os.replace(temporary, path)


def refuse_overwriting(outputs: Iterable[Path], sources: Iterable[Path]) -> None:
    """Raise ConfigError if an output is a folder, one of the files that are read, or named twice."""
    read, seen = list(sources), set[Path]()
    for output in outputs:
        if output.resolve() in seen:
            raise ConfigError(f"the output {output} is named twice; name two files")
        seen.add(output.resolve())
        if output.is_dir():
            raise ConfigError(f"the output {output} is a directory; name a file")
        if any(output.exists() and source.exists() and output.samefile(source) for source in read):
            raise ConfigError(f"the output {output} is the input; name another, so that the original stays")
