"""Files and folders that only their owner can read, from the moment they appear.

Each is made with its final mode, because a `chmod` that follows would leave a moment in which others could open it.
The home is 0700, so that nothing in it can be reached either; what is in it is 0700 and 0600 as well, in case a user
opens the home or copies it. One exception: a folder with the set-group-ID bit that its group can write (`chmod 2770`)
is shared on purpose, and so is what tuneport makes in it (2770 and 0660), training in its folder included. Locks, and
what other children write (inference, evaluations, Ray's workers), stay their owner's, and so do processes: only who
started a run can stop it. Others never get a right.

Results that the user names, such as `-o FILE`, are not made here: they follow the user's umask.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import stat
import threading
from collections.abc import Iterable
from pathlib import Path

CHILD_UMASK = 0o077
"""Closes what libraries write in processes that tuneport starts, since they take no mode. Training: `child_umask`."""
_OTHERS = 0o007
_GROUP_AND_OTHERS = 0o077
_SHARED = stat.S_ISGID | stat.S_IWGRP

log = logging.getLogger(__name__)
_reading_umask = threading.Lock()


def make_private_folder(path: Path) -> None:
    """Make the folder and the missing ones above it. Does nothing if it exists; raises OSError as `mkdir` does."""
    try:
        os.mkdir(path, 0o700)
    except FileNotFoundError:
        if path.parent == path:
            raise
        make_private_folder(path.parent)
        make_private_folder(path)
    except OSError:
        if not path.is_dir():
            raise
    else:
        if _is_shared(path.parent):
            os.chmod(path, 0o2770)


def child_umask(folder: Path) -> int:
    """Return the umask of a process that writes into the folder, which its group may share on purpose."""
    return _OTHERS if _is_shared(folder) else CHILD_UMASK


def private_file_opener(path: str | Path, flags: int) -> int:
    """Open a file for `open(..., opener=opener)`: a new one is readable by its owner alone, an existing one keeps its
    mode."""
    descriptor = os.open(path, flags | os.O_CLOEXEC, 0o600)
    if flags & os.O_CREAT:
        share_private_file_with_group(path)
    return descriptor


def share_private_file_with_group(path: str | Path) -> None:
    """Let the group read and write a private file in a folder that the group shares on purpose."""
    if _is_shared(Path(path).parent):
        with contextlib.suppress(PermissionError):  # another member of the group made it
            if stat.S_IMODE(os.stat(path).st_mode) == 0o600:
                os.chmod(path, 0o660)


def make_private_file(path: Path) -> None:
    """Make an empty file, unless there is one, for a library that would make it readable by others."""
    os.close(private_file_opener(path, os.O_WRONLY | os.O_CREAT))


def make_files_private(paths: Iterable[Path]) -> None:
    """Remove all rights of others from those of these files that exist and are ours; the group keeps its own."""
    for path in paths:
        with contextlib.suppress(OSError):
            mode = stat.S_IMODE(path.stat().st_mode)
            if mode & _OTHERS:
                path.chmod(mode & ~_OTHERS)


def process_umask() -> int:
    """Return the process's umask. Does not set it, because another thread could create a file meanwhile."""
    try:
        with open("/proc/self/status", "rb") as status:
            return next(int(line.split()[1], 8) for line in status if line.startswith(b"Umask:"))
    except (OSError, StopIteration):
        with _reading_umask:
            mask = os.umask(_GROUP_AND_OTHERS)  # the strictest for that moment
            os.umask(mask)
            return mask


def restore_umask_permissions(folder: Path) -> None:
    """Give a folder, and all in it, the modes of the user's umask: a private process made what the user asked for.

    What a link leads to keeps its mode: it may lie in the home.
    """
    mask = process_umask()
    for place, _, files in os.walk(folder):
        _set_mode(place, 0o777 & ~mask)
        for name in files:
            _set_mode(os.path.join(place, name), 0o666 & ~mask)


def _set_mode(path: str, mode: int) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            return  # a link, or a socket
        raise
    try:
        os.fchmod(descriptor, mode)
    finally:
        os.close(descriptor)


# --- the home -----------------------------------------------------------------------------------------------------

_OWN = frozenset(
    "batches cache contents datasets devices evaluations fake fetched files migrate.lock migrations models probe.json "
    "probe.json.part runs splits tuneport.db tuneport.db-journal tuneport.db-shm tuneport.db-wal tuneport.db.lock "
    "vocabularies".split()
)
_OWN_BEGINNINGS = (".doctor-", ".push-", "weights-")


def make_home_private(home: Path) -> None:
    """Close a home that an older tuneport made readable by others, and log in one line what was done.

    Costs two looks at the file system if there is nothing to do. A home that holds other things as well, such as a
    folder of a project, keeps its own mode: only what is tuneport's in it is closed. What cannot be closed (the home
    belongs to another user, or everybody can replace it) is logged, too.
    """
    try:
        about, above = home.stat(), home.resolve().parent.stat()
    except OSError:
        return  # not there yet; `make_private_folder` makes it as it must be
    for warning in _warnings(home, about, above):
        log.warning("%s", warning)
    allowed = 0o070 if about.st_mode & _SHARED == _SHARED else 0
    excess = _GROUP_AND_OTHERS & ~allowed
    if not about.st_mode & excess or not stat.S_ISDIR(about.st_mode) or about.st_uid != os.geteuid():
        return
    with contextlib.suppress(OSError):
        names = os.listdir(home)
        own = [name for name in names if name in _OWN or name.startswith(_OWN_BEGINNINGS)]
        if len(own) == len(names):
            home.chmod(stat.S_IMODE(about.st_mode) & ~excess)  # first: from here on nothing in it can be reached
        closed = sum(_close(home / name, excess) for name in own)
        if closed:
            what = "its files" if len(own) == len(names) else f"tuneport's {', '.join(sorted(own))} in it"
            log.warning("%s could be read by others; closed it: %s are readable by you only now", home, what)


def _warnings(home: Path, about: os.stat_result, above: os.stat_result) -> list[str]:
    told = []
    if about.st_uid not in (os.geteuid(), 0):
        told.append(
            f"TUNEPORT_HOME {home} belongs to another user (uid {about.st_uid}), who can read and change all in it; "
            "set it to a folder of your own"
        )
    elif about.st_mode & stat.S_IWOTH and (about.st_uid != os.geteuid() or about.st_mode & stat.S_ISVTX):
        told.append(
            f"TUNEPORT_HOME {home} can be written by everybody; set it to a folder of your own inside, "
            f"such as {home / '.tuneport'}"
        )
    if above.st_mode & stat.S_IWOTH and not above.st_mode & stat.S_ISVTX:
        told.append(
            f"everybody can write to {home.resolve().parent}, and so replace TUNEPORT_HOME {home.name} in it; "
            f"run: chmod o-w {home.resolve().parent}"
        )
    return told


def _close(path: Path, excess: int) -> int:
    """Remove these rights from the path and all below it, and return how many had some. Links and files of others keep
    theirs."""
    closed = _close_one(path, excess)
    for folder, folders, files in os.walk(path):
        closed += sum(_close_one(Path(folder, name), excess) for name in (*folders, *files))
    return closed


def _close_one(path: Path, excess: int) -> int:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return 0  # a link, or gone meanwhile
    try:
        about = os.fstat(descriptor)
        linked = stat.S_ISREG(about.st_mode) and about.st_nlink > 1  # by another name it may be meant for others
        if linked or about.st_uid != os.geteuid() or not about.st_mode & excess:
            return 0
        os.fchmod(descriptor, stat.S_IMODE(about.st_mode) & ~excess)
        return 1
    except OSError:
        return 0
    finally:
        os.close(descriptor)


def _is_shared(folder: Path) -> bool:
    try:
        return os.stat(folder).st_mode & _SHARED == _SHARED
    except OSError:
        return False
