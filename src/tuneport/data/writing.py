"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedWriter
from pathlib import Path

from tuneport.errors import DatasetError, DatasetProblem


@contextmanager
def aside(folder: Path) -> Iterator[tuple[BufferedWriter, Path]]:
    """A file to write in `folder`, and its temporary path. `publish` it before the block ends, else it is gone.

    Whatever the operating system refuses (no space, no permission) is a DatasetError with the folder's path.
    """
    temporary: Path | None = None
    try:
        handle, name = tempfile.mkstemp(prefix=".tuneport-", suffix=".part", dir=folder)
        temporary = Path(name)
        with os.fdopen(handle, "wb") as file:
            yield file, temporary
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not folder.is_dir():
            raise _refused(folder, "the folder does not exist", "create it, or name another output") from error
        fix = "free some space or name another output"
        raise _refused(folder, f"cannot be written: {error.strerror}", fix) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def publish(file: BufferedWriter, temporary: Path, path: Path) -> None:
    """Bring what was written to the disk and give it its name, replacing what was there."""
    file.flush()
    os.fsync(file.fileno())
    mask = os.umask(0)
    os.umask(mask)
    os.chmod(temporary, 0o666 & ~mask)  # mkstemp makes files that only their owner can read
    os.replace(temporary, path)


def _refused(folder: Path, rule: str, fix: str) -> DatasetError:
    return DatasetError(DatasetProblem(str(folder), None, "", rule, fix))
