"""Allows one upload of a content to an account at a time, and a second one only if the first has not arrived."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from tuneport.backends.hosted.http.connection_errors import connection_error_causes, provider_request_never_sent
from tuneport.backends.hosted.http.redirects import CrossOriginRedirectError
from tuneport.data.running.writing import make_output_folder
from tuneport.errors import StorageError
from tuneport.types import DataFile

OTHERWISE = "set TUNEPORT_HOME to a folder that can be written, and try again"
LOOKS = (0.0, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 20.0)
"""Seconds before each look for a file whose upload got no answer: lists have been seen to lag by a minute."""
T = TypeVar("T")

_PERHAPS = (408, 500, 502, 504)


def provider_upload_journal_path(home: Path, file: DataFile, backend: str, base_url: str) -> Path:
    """Return the path of the journal of what an account holds of a file."""
    address = hashlib.sha256(base_url.encode()).hexdigest()[:12]  # not as it is: it may hold a password
    return home / "files" / f"{file.sha256}.{backend}-{address}.upload.json"


@contextmanager
def lock_provider_upload(journal: Path) -> Iterator[None]:
    """Exclude other uploads of the same content on this machine, or with this home, for the block.

    A process that waited finds in the journal what was uploaded meanwhile. The lock of a process that dies is free.
    """
    path = journal.with_name(journal.name + ".lock")
    make_output_folder(path.parent, otherwise=OTHERWISE)
    file = _locked(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(file)


def _locked(path: Path) -> int:
    while True:
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StorageError(f"{path} cannot be written: {error.strerror}; {OTHERWISE}") from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:
            return file  # a file system without locks: better two uploads than none
        try:
            if os.path.samestat(os.fstat(file), os.stat(path)):
                return file
        except FileNotFoundError:
            pass
        os.close(file)  # its holder has removed it since


def provider_upload_may_be_there(error: BaseException) -> bool:
    """Return whether an upload that ended in `error`, an SDK's, may still have been accepted: there was no answer, or
    that of a gateway that gave up."""
    if provider_request_never_sent(error) or any(
        isinstance(cause, CrossOriginRedirectError) for cause in connection_error_causes(error)
    ):
        return False
    status = getattr(error, "status_code", None)
    return status is None or status in _PERHAPS


def find_lost_provider_upload(look: Callable[[], T | None], sleep: Callable[[float], None]) -> T | None:
    """Return the file, or its id, as soon as `look` finds it, or None once it would have been listed."""
    for wait in LOOKS:
        if wait:
            sleep(wait)
        if (found := look()) is not None:
            return found
    return None
