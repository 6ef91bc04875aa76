"""Follows many jobs of many providers: each provider by threads of its own, until all have ended."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from tuneport.lifecycle.schema.database import StoreUnavailableError
from tuneport.lifecycle.worker.leases import has_lease_owner_ended
from tuneport.lifecycle.worker.poll_interval import PollTiming
from tuneport.lifecycle.worker.provider_polling import PollingStopped, ProviderPoller, ProviderStarter
from tuneport.lifecycle.worker.worker import JobWorker
from tuneport.types import now

log = logging.getLogger(__name__)


class JobPoller:
    """Polls all providers that have unfinished jobs in the store, each in threads of its own: a slow one delays no
    other."""

    def __init__(
        self,
        worker: JobWorker,
        *,
        on_change: Callable[[str, str, str | None], None] = lambda job_id, status, note: None,
        on_trouble: Callable[[str, str], None] = lambda name, message: None,
        timing: PollTiming = PollTiming(),  # noqa: B008  # frozen
    ) -> None:
        self.worker, self._timing = worker, timing
        self._on_change, self._on_trouble = on_change, on_trouble
        self._stop = threading.Event()
        self._telling = threading.Lock()
        self._wakers: list[threading.Event] = []
        self._threads: dict[str, list[threading.Thread]] = {}

    def run(self, *, until_idle: bool = False) -> None:
        """Poll until `stop`, or with `until_idle` until no unfinished job is left. May be called in a thread.

        At the end, uploaded files that their jobs want deleted are deleted, too, as far as the providers allow.
        """
        try:
            while not self._stop.is_set():
                try:
                    self._release_dead_leases()
                    names = self.worker.store.schedule.due_backends()
                except StoreUnavailableError as error:
                    if until_idle:
                        raise
                    self._report_error("the store", str(error))
                    self._stop.wait(self._timing.first_rest)
                    continue
                if until_idle and not names:
                    self.stop()
                    for name in self.worker.store.files.list_backends():
                        self.worker.remote_files.delete_unneeded_files(name)
                    return
                for name in names:
                    if name not in self._threads:
                        self._threads[name] = [self._thread(name, turn) for turn in self._turns(name)]
                self._stop.wait(1.0)
        finally:
            self.stop()

    def _release_dead_leases(self) -> None:
        """Release the leases of processes of this machine that were killed: their jobs continue now."""
        dead = [owner for owner in self.worker.store.leases.list_holders() if has_lease_owner_ended(owner)]
        if dead:
            self.worker.store.leases.release_dead_holders(dead, due_at=now())
            self.wake()

    def stop(self, *, patience: float = 5.0) -> None:
        """Start nothing more, and wait so many seconds at most for calls that are under way."""
        self._stop.set()
        self.wake()
        deadline = time.monotonic() + patience
        for threads in self._threads.values():
            for thread in threads:
                thread.join(max(0.0, deadline - time.monotonic()))

    def wake(self) -> None:
        """Take the next turns at once, because a job became due just now. A provider that rests after trouble rests
        on."""
        for waker in list(self._wakers):
            waker.set()

    def _turns(self, name: str) -> list[Callable[[], float]]:
        poller = ProviderPoller(
            self.worker,
            name,
            sleep=self._stop.wait,
            on_change=lambda job_id, state: self._notify(job_id, state.status.value, None),
            on_trouble=self._report_error,
            timing=self._timing,
        )
        starter = ProviderStarter(
            self.worker,
            name,
            on_change=lambda job_id, status, note: self._notify(job_id, status.value, note),
            on_trouble=self._report_error,
            timing=self._timing,
        )
        return [poller.poll_due_jobs, starter.start_due_jobs]

    def _thread(self, name: str, turn: Callable[[], float]) -> threading.Thread:
        waker = threading.Event()
        self._wakers.append(waker)
        thread = threading.Thread(target=self._loop, args=(name, turn, waker), name=f"poll-{name}", daemon=True)
        thread.start()
        return thread

    def _loop(self, name: str, turn: Callable[[], float], waker: threading.Event) -> None:
        while not self._stop.is_set():
            try:
                wait = turn()
            except PollingStopped:
                return
            except Exception as error:  # a fault of ours must not leave a provider's jobs unwatched for ever
                if self._stop.is_set():
                    return  # the clients were closed under a call that took too long
                log.exception("polling %s", name)
                self._report_error(name, f"a bug in tuneport: {type(error).__name__}: {error}")
                wait = self._timing.longest_rest
            waker.wait(wait)
            waker.clear()

    def _notify(self, job_id: str, status: str, note: str | None) -> None:
        with self._telling:
            self._on_change(job_id, status, note)

    def _report_error(self, name: str, message: str) -> None:
        with self._telling:
            self._on_trouble(name, message)
