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
from typing import Any

from tuneport.backends.durable_files import sync_folder, write_atomically
from tuneport.backends.local_weights import link_or_copy
from tuneport.errors import ProviderError

RUN_ID = re.compile(r"run-[0-9a-f]{16}")
ABANDONED_SECONDS = 3600.0
RESUME_FILES = shutil.ignore_patterns("*.pt", "*.pth", "*.bin", "trainer_state.json", "average.safetensors")
"""What a checkpoint has beside the weights, for going on with the same run."""


def run_id_of(token: str) -> str:
    return f"run-{hashlib.sha256(token.encode('utf-8')).hexdigest()[:16]}"


class RunStore:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def ids(self) -> list[str]:
        return [folder.name for folder in self.folder.glob("run-*") if RUN_ID.fullmatch(folder.name)]

    def create(self, run_id: str, request: dict[str, Any], start: Path | None = None) -> None:
        """Make the run's folder with its `run.json`, and in `start/` the weights from which it goes on, if any.

        Another process that makes the same one may be first.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._sweep()
        aside = self.folder / f".{run_id}.{os.getpid()}.{os.urandom(4).hex()}"
        aside.mkdir(mode=0o700)
        try:
            write_atomically(aside / "run.json", json.dumps(request, indent=1))
            if start is not None:
                shutil.copytree(start, aside / "start", copy_function=link_or_copy, ignore=RESUME_FILES)
            os.rename(aside, self.folder / run_id)
            sync_folder(self.folder)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    def remove(self, run_id: str) -> None:
        """Out of sight at once, then gone."""
        aside = self.folder / f".{run_id}.{os.getpid()}.{os.urandom(4).hex()}"
        os.rename(self.folder / run_id, aside)
        shutil.rmtree(aside)

    def _sweep(self) -> None:
        """Remove what processes that died while creating or removing a run left behind."""
        for aside in self.folder.glob(".run-*"):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - aside.stat().st_ctime > ABANDONED_SECONDS:
                    shutil.rmtree(aside, ignore_errors=True)


@contextlib.contextmanager
def storage_errors(home: Path, what: str) -> Iterator[None]:
    """A ProviderError in place of an OSError while doing `what`."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        advice = "make room there" if full else "look at its permissions"
        raise ProviderError(
            f"{what} failed under {home}: {error.strerror or error}; {advice} and try again",
            provider="local",
            code="no_space" if full else "storage",
        ) from error
