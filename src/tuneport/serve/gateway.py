"""What the routes share: one workspace, and the threads that do in the background what clients asked for."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from tuneport.backends import manifest_of
from tuneport.errors import TuneportError
from tuneport.jobs.polling import Poller
from tuneport.jobs.service import Workspace
from tuneport.jobs.tables import JobRow
from tuneport.jobs.webhooks.sender import AT_ONCE, Sender
from tuneport.serve.credentials import AccessRules, Credentials
from tuneport.serve.endpoints import Endpoints
from tuneport.serve.limits import Limits
from tuneport.serve.observing import Figures
from tuneport.serve.spending import WRITE_SECONDS, Spending
from tuneport.serve.streams import Streams
from tuneport.settings import Settings
from tuneport.types import JobStatus

if TYPE_CHECKING:
    from tuneport.jobs.contents import Contents
    from tuneport.jobs.store import Store
    from tuneport.jobs.watching import Seen

HOUSEKEEPING_SECONDS = 300.0
RESULTS_SECONDS = 1.0
SENDING_SECONDS = 1.0
INTAKE_SECONDS = 2.0
"""How soon a request is seen that another gateway on the same store took and dropped; our own are seen at once."""
HURRY_SECONDS, HURRY_REMOTE_SECONDS = 2.0, 20.0
"""A job that a client asks about is looked at now, if that was longer ago: watchers see the end when it comes, and
a remote provider is still asked three times a minute at most."""

log = logging.getLogger(__name__)


class Gateway:
    """Close it, or use it with `with`. `start` begins the background work; without it requests are only written down.

    `allow_personal_data`: whoever runs the gateway answers for what its clients upload to third parties.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        allow_personal_data: bool = False,
        access: AccessRules = AccessRules(),  # noqa: B008  # frozen
    ) -> None:
        self.workspace = Workspace(settings)
        self.settings = self.workspace.settings
        self.allow_personal_data = allow_personal_data
        self.store: Store = self.workspace.store
        self.contents: Contents = self.workspace.contents
        self.streams = Streams(self)
        self.figures = Figures(self)
        self.spending = Spending(self.store, self.settings, self.figures)
        self._poller = Poller(self.workspace.worker, on_change=self._changed, on_trouble=_log_trouble)
        self.sender = Sender(self.store, self.settings, on_attempt=self.figures.delivery)
        self.access, self.credentials = access, Credentials(self.store)
        self.limits = Limits(self.settings.project.gateway)
        self._awake, self._stopped = threading.Event(), threading.Event()
        self.endpoints = Endpoints(self.workspace)
        self._threads: list[threading.Thread] = []
        self._hurried: dict[str, float] = {}
        self._swept = 0.0

    def __enter__(self) -> Gateway:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def start(self) -> None:
        from tuneport.serve.intake import take_all
        from tuneport.serve.results import Results

        results = Results(self)
        self.sender.register()  # before any job can end

        def intake() -> None:
            while not self._stopped.is_set():
                _guarded(lambda: take_all(self))
                self._awake.wait(INTAKE_SECONDS)
                self._awake.clear()

        def endings() -> None:
            while not self._stopped.wait(RESULTS_SECONDS):
                _guarded(results.settle_all)
                _guarded(self._housekeeping)

        def sending() -> None:
            while not self._stopped.wait(SENDING_SECONDS):
                _guarded(self._send_due)

        def spending() -> None:
            while not self._stopped.wait(WRITE_SECONDS):
                _guarded(self.spending.write)

        threads = (
            ("intake", intake),
            ("results", endings),
            ("sender", sending),
            ("spending", spending),
            ("poller", self._poller.run),
        )
        for name, target in threads:
            thread = threading.Thread(target=target, name=f"tuneport-{name}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def wake(self) -> None:
        """There is something to do."""
        self._awake.set()

    def let_go(self) -> None:
        """The server is to end: streams, which have no end of their own, end now, and so do chats that wait for an
        endpoint. Safe in a signal handler."""
        self.streams.close()
        self.endpoints.let_go()

    def nudge(self) -> None:
        """A job became due: have its provider's turn taken now."""
        self._poller.nudge()

    @property
    def working(self) -> bool:
        """Whether all that runs in the background does."""
        return bool(self._threads) and all(thread.is_alive() for thread in self._threads)

    @property
    def stopping(self) -> bool:
        return self._stopped.is_set()

    def hurry(self, row: JobRow | Seen) -> None:
        """Somebody asks about the job: have it looked at soon, without making the client wait for that."""
        if JobStatus(row.status).terminal or row.polled_at is None or row.backend is None:
            return
        remote = manifest_of(row.backend, self.settings).third_party
        wait = HURRY_REMOTE_SECONDS if remote else HURRY_SECONDS
        moment = time.monotonic()
        if moment - self._hurried.get(row.id, float("-inf")) < wait:
            return
        if len(self._hurried) > 10_000:
            self._hurried.clear()
        self._hurried[row.id] = moment
        self.store.hurry(row.id, polled_before_seconds=wait)
        self.nudge()

    def close(self, *, patience: float = 20.0) -> None:
        """Take up nothing more, finish what is under way for so many seconds at most, and let go. Jobs run on."""
        self.let_go()
        self._stopped.set()
        self._awake.set()
        self._poller.stop(patience=min(5.0, patience))
        deadline = time.monotonic() + patience
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        _guarded(self.spending.write)
        self.workspace.close()

    def _changed(self, job_id: str, status: str, note: str | None) -> None:
        told = {"event": "job.state", "subject": job_id, "status": status, "note": note}
        log.info("job.state %s %s", job_id, status, extra={"told": told})
        self.streams.wake()

    def _send_due(self) -> None:
        while self.sender.send_due() == AT_ONCE and not self._stopped.is_set():
            pass

    def _housekeeping(self) -> None:
        if time.monotonic() - self._swept < HOUSEKEEPING_SECONDS and self._swept:
            return
        self._swept = time.monotonic()
        self.contents.sweep()
        with self.contents.locked():
            for sha256 in self.store.expired_uploads():
                self.contents.remove(sha256)
        for sha256 in self.contents.strays(self.store.needs):
            with self.contents.locked():
                if not self.store.needs(sha256):
                    self.contents.remove(sha256)


def _guarded(work: Callable[[], None]) -> None:
    """The background goes on whatever happens to one job."""
    try:
        work()
    except TuneportError as error:
        log.warning("%s", error)
    except Exception:
        log.exception("the gateway's background work failed; it goes on")


def _log_trouble(name: str, message: str) -> None:
    log.warning("%s: %s", name, message)
