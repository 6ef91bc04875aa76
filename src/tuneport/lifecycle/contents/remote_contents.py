"""Contents in a store of files that `fsspec` reaches (S3, Google's, Azure's, sftp ...) and that several machines share.

A client's upload is written and hashed on this machine's disk first, and put into the store when it is whole. A content
that is read is fetched to this disk once, and held against its hash. The layout is a folder's:
`PREFIX/ab/SHA256.jsonl`.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from weakref import WeakValueDictionary

from tuneport import private
from tuneport.backends.hosted.provider_errors import redact_provider_url
from tuneport.errors import ConfigError, StorageError
from tuneport.installation import install_package
from tuneport.lifecycle.contents.contents import (
    ABANDONED_SECONDS,
    ContentGoneError,
    Contents,
    content_hash_in_path,
    content_storage_errors,
)
from tuneport.settings import Settings

OBJECT_STORES = frozenset({"s3", "gs", "abfs", "az", "memory"})
"""There an object appears when all of it has come, and there are no folders. Elsewhere it is put aside and renamed."""
_AT_ONCE: dict[str, dict[str, int]] = {"s3": {"chunksize": 8 << 20, "max_concurrency": 4}}
"""Bytes of a part, and parts under way: by default s3fs holds 500 MB in memory."""
_OPTIONS: dict[str, dict[str, Any]] = {
    "s3": {"config_kwargs": {"connect_timeout": 5, "read_timeout": 30, "retries": {"max_attempts": 0}}}
}
"""Options if fsspec's own configuration has none: s3fs by itself tries everything five times, and botocore as often
each time, a minute long, while others wait for the lock."""
CHECK_SECONDS = 3.0
"""Seconds that a check waits for another one to end; a store that has not answered by then does not answer."""
_LONGEST_REASON = 200  # characters

log = logging.getLogger(__name__)


class FilesUnavailableError(StorageError):
    """The store of files does not answer, or refuses us. The data is not at fault, and it can be tried again."""


def open_contents(
    settings: Settings,
    alone: Callable[[], AbstractContextManager[None]],
    *,
    check_seconds: float = CHECK_SECONDS,
) -> Contents:
    """Return the contents at `TUNEPORT_FILES_URL`, or in the home. No request is sent yet. Raises ConfigError if the
    address cannot work.

    `check_seconds`: for a check of a store of files to wait for another one.
    """
    url = settings.files_url
    if url is None:
        return Contents(settings.home / "contents", alone)
    protocol = url.partition("://")[0]
    if protocol == "file":  # a disk is best used as one: nothing is copied to be read
        return Contents(Path(unquote(urlsplit(url).path)), alone)
    try:
        from fsspec.config import conf
        from fsspec.core import url_to_fs

        filesystem, prefix = url_to_fs(url, **_OPTIONS.get(protocol, {}) | conf.get(protocol, {}))
    except ImportError as error:
        package = getattr(error.__cause__ or error, "name", None) or protocol
        raise ConfigError(
            f"TUNEPORT_FILES_URL={redact_provider_url(url)} needs a package: {install_package(package)}"
        ) from error
    except Exception as error:
        raise ConfigError(
            f"TUNEPORT_FILES_URL={redact_provider_url(url)} cannot be opened: {_reason(error)}; correct it"
        ) from error
    return RemoteContents(
        settings.home / "fetched", alone, filesystem, prefix, redact_provider_url(url), check_seconds=check_seconds
    )


class RemoteContents(Contents):
    """Contents in a store of files; the folder holds only copies, for a day after they were last used. It raises
    ConfigError and StorageError as a folder does, and FilesUnavailableError if the store of files does not answer.

    `filesystem` is fsspec's and `prefix` a path in it; `shown` is what messages call them.
    """

    def __init__(
        self,
        folder: Path,
        alone: Callable[[], AbstractContextManager[None]],
        filesystem: Any,
        prefix: str,
        shown: str,
        *,
        check_seconds: float = CHECK_SECONDS,
    ) -> None:
        super().__init__(folder, alone)
        self._check_seconds = check_seconds
        self._files, self._prefix, self._shown = filesystem, prefix.rstrip("/"), shown
        protocols = filesystem.protocol
        self._protocol = protocols if isinstance(protocols, str) else protocols[0]
        self._checking = threading.Lock()
        self._fetching: WeakValueDictionary[str, threading.Lock] = WeakValueDictionary()

    def check_writable(self) -> None:
        """Check the store with one request, to a mark in it; the first time the mark is written.

        Checks run one at a time: a store that hangs would otherwise hold all threads.
        """
        super().check_writable()
        mark = f"{self._prefix}/tuneport"
        if not self._checking.acquire(timeout=self._check_seconds):
            raise FilesUnavailableError(f"the store of files {self._shown} does not answer; check it and the way there")
        try:
            with self._reached():
                if not self._there(mark):
                    self._make_folder(self._prefix)
                    self._files.pipe_file(mark, b"Contents of tuneport's files, by their SHA-256.\n")
        finally:
            self._checking.release()

    def fetch_content(self, sha256: str) -> Path:
        path = self.path(sha256)
        lock = self._fetching.setdefault(sha256, threading.Lock())
        with lock:  # who wants the same one waits for it, and fetches it no second time
            if not self._used(path):
                self._bring(sha256)
        return path

    def has_content(self, sha256: str) -> bool:
        if super().has_content(sha256):
            return True
        with self._reached():
            there = self._there(self._key(sha256))
        if not there:
            self.check_writable()  # that the whole store is there, of which that would be no news of a content
        return there

    def remove(self, sha256: str) -> None:
        """Remove the content. If the store does not answer, the content becomes a stray and is removed later."""
        super().remove(sha256)
        try:
            with self._reached():
                self._delete(self._key(sha256))
        except FilesUnavailableError as error:
            log.warning("%s.jsonl is not removed yet: %s", sha256, error)

    def find_strays(self, needed: Callable[[str], bool], *, seconds: float = ABANDONED_SECONDS) -> Iterator[str]:
        before = time.time() - seconds
        with self._reached():
            self._files.invalidate_cache()
            found = self._files.find(self._prefix)
        for key in found:
            sha256 = content_hash_in_path(Path(key))
            if sha256 is not None and not needed(sha256):
                with self._reached():
                    stray = self._came(key) < before
                if stray:
                    yield sha256

    def remove_unfinished(self, *, seconds: float = ABANDONED_SECONDS) -> None:
        """Remove strays, copies that were not used for so long, and half-written uploads of a store that has no
        objects."""
        super().remove_unfinished(seconds=seconds)
        before = time.time() - seconds
        for path in self.folder.glob("??/*.jsonl"):
            with contextlib.suppress(OSError):
                if path.stat().st_mtime < before:
                    path.unlink()
        if self._protocol not in OBJECT_STORES:
            with self._reached():
                self._files.invalidate_cache()
                for key in self._files.find(f"{self._prefix}/incoming"):
                    if self._came(key) < before:
                        self._delete(key)

    def store_content(self, path: Path, sha256: str) -> None:
        key = self._key(sha256)
        with self._reached():
            if self._there(key):
                return
            if self._protocol in OBJECT_STORES:
                with contextlib.suppress(FileExistsError):  # which some raise where another machine was quicker
                    self._files.put_file(str(path), key, **_AT_ONCE.get(self._protocol, {}))
                return
            aside = f"{self._prefix}/incoming/{uuid.uuid4().hex}"
            self._make_folder(f"{self._prefix}/incoming")
            self._make_folder(key.rpartition("/")[0])
            self._files.put_file(str(path), aside)
            self._files.mv(aside, key)

    # --- a copy here ------------------------------------------------------------------------------------------------

    def _used(self, path: Path) -> bool:
        """Return whether a copy is here, and keep it for another day."""
        try:
            os.utime(path)
        except FileNotFoundError:
            return False
        return True

    def _bring(self, sha256: str) -> None:
        aside = self.folder / "incoming" / uuid.uuid4().hex
        try:
            with content_storage_errors(self.folder):
                private.make_private_folder(aside.parent)
                private.make_private_file(aside)
            with self._reached():
                try:
                    self._files.get_file(self._key(sha256), str(aside), **_AT_ONCE.get(self._protocol, {}))
                except FileNotFoundError as error:
                    self.check_writable()  # as in `has`
                    raise self._gone(sha256, "is gone from the gateway's store of files") from error
            with content_storage_errors(self.folder), aside.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                    what = "is damaged in the gateway's store of files: other bytes lie under its name"
                    raise self._gone(sha256, what)
                os.fsync(file.fileno())
            self.place_content(aside, sha256)
        finally:
            with contextlib.suppress(OSError):
                aside.unlink(missing_ok=True)

    # --- the store of files -----------------------------------------------------------------------------------------

    def _key(self, sha256: str) -> str:
        return f"{self._prefix}/{sha256[:2]}/{sha256}.jsonl"

    def _there(self, key: str) -> bool:
        self._files.invalidate_cache()  # others write and remove, too
        try:
            self._files.info(key)
        except FileNotFoundError:
            return False
        return True

    def _came(self, key: str) -> float:
        """Return when an object came, in seconds since 1970. One that is gone, or has no time, counts as just
        arrived."""
        try:
            modified: datetime = self._files.modified(key)
        except (FileNotFoundError, NotImplementedError):
            return time.time()
        return (modified if modified.tzinfo else modified.replace(tzinfo=UTC)).timestamp()

    def _delete(self, key: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._files.rm_file(key)

    def _make_folder(self, folder: str) -> None:
        if self._protocol not in OBJECT_STORES:
            self._files.makedirs(folder, exist_ok=True)

    @contextlib.contextmanager
    def _reached(self) -> Iterator[None]:
        """Raise one kind of error for whatever the file system's library raises, since each library has classes of its
        own."""
        try:
            yield
        except (StorageError, ContentGoneError):
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StorageError(
                    f"the disk with {self.folder} is full; make room or set TUNEPORT_HOME, then send it again"
                ) from error
            raise FilesUnavailableError(
                f"the store of files {self._shown} does not work: {_reason(error)}; "
                "check it, TUNEPORT_FILES_URL and the credentials in the environment"
            ) from error


def _reason(error: BaseException) -> str:
    told = " ".join(str(error).split()) or type(error).__name__
    return redact_provider_url(told)[:_LONGEST_REASON]
