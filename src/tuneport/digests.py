"""SHA-256 digests of the files of a folder: written beside them, checked before they are used.

The list is `SHA256SUMS` in the format of coreutils, so that `sha256sum -c SHA256SUMS` checks a folder anywhere.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath

from tuneport.errors import TuneportError, one_line

LIST = "SHA256SUMS"
_LINE = re.compile(r"([0-9a-f]{64})  (.+)")
_MOST_LIST_BYTES = 16 << 20
_CHANGED = "is not as it was written: its SHA-256 has changed"
_READ_WHEN_LOADED = (".safetensors", ".json", ".jinja", ".pt", ".pth", ".bin")
_whole: dict[Path, tuple[tuple[str, int, int, int], ...]] = {}
"""Folders that this process has found whole, each with what the system said of its files then."""


class DamagedError(TuneportError):
    """Files that are not as they were written. `name`: the first of them."""

    exit_code = 3

    def __init__(self, message: str, *, name: str) -> None:
        self.name = name
        super().__init__(message)


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_digests(folder: Path) -> dict[str, str]:
    """Return the digest of each file under the folder but the list itself, by its path in the folder."""
    return {name: sha256_of(folder / name) for name in _names(folder)}


def write_digest_list(folder: Path, digests: dict[str, str] | None = None) -> None:
    """Write the list of `digests`, or of the files as they are now. Publishing the folder brings it to disk."""
    found = folder_digests(folder) if digests is None else digests
    lines = [f"{digest}  {name}\n" for name, digest in sorted(found.items())]
    (folder / LIST).write_text("".join(lines), encoding="utf-8")


def read_digest_list(folder: Path) -> dict[str, str] | None:
    """Return the digests by name, or None if the folder has no list. Raises DamagedError if it cannot be read, or names
    a file that is not in the folder."""
    path = folder / LIST
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode) or about.st_size > _MOST_LIST_BYTES:
            raise _damaged(folder, LIST, "is no list of SHA-256 digests")  # a pipe or a device may never end
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise _damaged(folder, LIST, f"cannot be read ({error})") from error
    matches = [_LINE.fullmatch(line) for line in lines]
    if not lines or None in matches:
        raise _damaged(folder, LIST, "is no list of SHA-256 digests")
    digests = {match[2]: match[1] for match in matches if match}
    for name in digests:
        if name.startswith("/") or ".." in PurePosixPath(name).parts or "\0" in name:
            raise _damaged(folder, LIST, f"names {one_line(name)[:200]}, which is not in this folder")
    return digests


def check_digests(folder: Path, *, exact: bool = False) -> bool:
    """Return whether the folder has a list. Raises DamagedError if a file is missing, a link, or differs from the list.

    Files that are not in the list are damage, too, if loading would read them; with `exact`, all are.
    """
    digests = read_digest_list(folder)
    if digests is None:
        return False
    for name, digest in digests.items():
        try:
            _refuse_other_than_file(folder, name)
            found = sha256_of(folder / name)
        except FileNotFoundError as error:
            raise _damaged(folder, name, "is missing") from error
        except OSError as error:
            raise _damaged(folder, name, f"cannot be read ({error.strerror})") from error
        if found != digest:
            raise _damaged(folder, name, _CHANGED)
    for name in _names(folder):
        if name not in digests and (exact or name.endswith(_READ_WHEN_LOADED)):
            raise _damaged(folder, name, f"is not in {LIST}")
    return True


def check_weights(folder: Path) -> bool:
    """Check a folder of the user's own, whose texts may be edited: only the weights that exist and are in the list."""
    try:
        digests = read_digest_list(folder)
    except DamagedError:
        return False  # another program's list, in another format
    for name in _names(folder) if digests else ():
        if digests and name.endswith(".safetensors") and name in digests and sha256_of(folder / name) != digests[name]:
            raise _damaged(folder, name, _CHANGED)
    return digests is not None


def check_digests_once(folder: Path, checked: Callable[[Path], bool] = check_digests) -> bool:
    """Check once for as long as the system says that the same files are there. Threads may share the result."""
    seen = tuple(_stat(folder, name) for name in [*_names(folder), LIST] if (folder / name).exists())
    if _whole.get(folder) == seen:
        return True
    listed = checked(folder)
    if listed:
        _whole[folder] = seen
    return listed


def carry_digest_list(source: Path, target: Path) -> bool:
    """Copy a folder's digest list to `target`, which has some of its files, and check these. Returns False if there is
    none."""
    digests = read_digest_list(source)
    if digests is None:
        return False
    there = set(_names(target))
    write_digest_list(target, {name: digest for name, digest in digests.items() if name in there})
    return check_digests(target)


def _refuse_other_than_file(folder: Path, name: str) -> None:
    """Raise DamagedError unless the path is a regular file of the folder: links leave it, and pipes and devices never
    end."""
    about = os.lstat(folder / name)
    if not stat.S_ISREG(about.st_mode) or (folder / name).resolve() != folder.resolve() / name:
        raise _damaged(folder, name, "is a link or no regular file, and is not read")


def _names(folder: Path) -> Iterable[str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return sorted(name for path in files if (name := path.relative_to(folder).as_posix()) != LIST)


def _stat(folder: Path, name: str) -> tuple[str, int, int, int]:
    said = os.stat(folder / name)
    return name, said.st_ino, said.st_size, said.st_ctime_ns  # the time of a change cannot be set back


def _damaged(folder: Path, name: str, what: str) -> DamagedError:
    return DamagedError(f"{folder / name} {what}", name=name)
