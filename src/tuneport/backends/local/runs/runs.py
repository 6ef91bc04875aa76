"""The folder of all local runs: makes and removes the folder of one, each at once or not at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from tuneport import private
from tuneport.backends.local.weights import copy_tuned_weights, link_or_copy_local_weights
from tuneport.errors import ProviderError
from tuneport.files import folder_beside, fsync_path, temporary_file_beside, write_atomically
from tuneport.run_protocol import REQUEST, START, RunRequest

RUN_ID = re.compile(r"run-[0-9a-f]{16}")
ABANDONED_SECONDS = 3600.0
_ERRNO = re.compile(r"\[Errno (\d+)\]")


def new_local_run_id(token: str) -> str:
    return f"run-{hashlib.sha256(token.encode('utf-8')).hexdigest()[:16]}"


class LocalRunStore:
    def __init__(self, folder: Path, *, abandoned_seconds: float = ABANDONED_SECONDS) -> None:
        self.folder, self._abandoned_seconds = folder, abandoned_seconds

    def list_run_ids(self) -> list[str]:
        return [folder.name for folder in self.folder.glob("run-*") if RUN_ID.fullmatch(folder.name)]

    def create(self, run_id: str, request: RunRequest, start: Path | None = None) -> None:
        """Make the run's folder with its `run.json`, and in `start/` the weights from which it continues, if any.

        Another process that makes the same one may be first.
        """
        private.make_private_folder(self.folder)
        self._sweep()
        with folder_beside(self.folder / run_id) as aside:
            private.make_private_folder(aside)
            write_atomically(aside / REQUEST, json.dumps(request.model_dump(mode="json"), indent=1))
            if start is not None:
                copy_tuned_weights(start, aside / START, copy=link_or_copy_local_weights)
            try:
                os.rename(aside, self.folder / run_id)
                fsync_path(self.folder)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise

    def remove(self, run_id: str) -> None:
        """Rename the run out of sight at once, then delete it."""
        aside = temporary_file_beside(self.folder / run_id)
        os.rename(self.folder / run_id, aside)
        shutil.rmtree(aside)

    def _sweep(self) -> None:
        """Remove what processes that died while creating or removing a run left behind."""
        for aside in self.folder.glob(".run-*"):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - aside.stat().st_ctime > self._abandoned_seconds:
                    shutil.rmtree(aside, ignore_errors=True)


@contextlib.contextmanager
def local_run_storage_errors(home: Path, what: str) -> Iterator[None]:
    """Provide a ProviderError of one line in place of an OSError while doing `what`."""
    try:
        yield
    except OSError as error:
        number, reason = _cause(error)
        full = number in (errno.ENOSPC, errno.EDQUOT)
        advice = "make room there" if full else "look at its permissions"
        raise ProviderError(
            f"{what} failed under {home}: {reason}; {advice} and try again",
            provider="local",
            code="no_space" if full else "storage",
        ) from error


def _cause(error: OSError) -> tuple[int | None, str]:
    """Return the number and the words of the operating system's error."""
    if isinstance(error, shutil.Error) and (inner := _ERRNO.search(str(error))):  # it lists each file that failed
        return int(inner[1]), os.strerror(int(inner[1]))
    return error.errno, error.strerror or str(error)
