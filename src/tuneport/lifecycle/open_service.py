"""The job service as Python programs hold it: opened once, closed when nothing refers to it, and safe after a fork."""

from __future__ import annotations

import os
import threading
import weakref
from pathlib import Path

from tuneport.errors import ConfigError
from tuneport.lifecycle.service import JobService
from tuneport.settings import Settings


class OpenJobService:
    """A job service that closes itself: by `close`, when nothing refers to it any more, and at exit at the latest.

    A forked child opens one of its own on first use, and leaves the connections and the inference processes of its
    parent alone.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings.load()
        self.closed = False
        self._open()

    def _open(self) -> None:
        self._service, self._process = JobService(self.settings), os.getpid()
        self._end = weakref.finalize(self, _close, self._service, self._process)

    @property
    def service(self) -> JobService:
        """Return the service. Raises ConfigError if it was closed."""
        if self.closed:
            raise ConfigError(
                "the workspace is closed; open another with tuneport.Workspace(), or use tuneport.job(ID)"
            )
        if os.getpid() != self._process:
            with _sharing:
                if os.getpid() != self._process:
                    _of_parents.append(self._service)  # never collected: that could end what the parent still uses
                    self._open()
        return self._service

    def close(self) -> None:
        """Close its database connections and inference processes. Does nothing if it is closed."""
        self.closed = True
        self._end()


def _close(service: JobService, process: int) -> None:
    if os.getpid() == process:
        service.close()


# --- one for all that use the same settings -------------------------------------------------------------------------

_shared: weakref.WeakValueDictionary[Path, OpenJobService] = weakref.WeakValueDictionary()
_sharing = threading.RLock()
_of_parents: list[JobService] = []


def open_shared_job_service(settings: Settings | None = None) -> OpenJobService:
    """Return the service that is open with these settings, or open one. It stays open as long as something refers to
    it."""
    settings = settings or Settings.load()
    with _sharing:
        found = _shared.get(settings.home)
        if found is None or found.closed or found.settings != settings:
            found = _shared[settings.home] = OpenJobService(settings)
        return found


def _after_fork() -> None:
    global _sharing
    _sharing = threading.RLock()  # a thread of the parent may have held the other one


os.register_at_fork(after_in_child=_after_fork)
