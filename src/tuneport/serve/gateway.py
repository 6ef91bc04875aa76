"""The gateway object that routes and background threads share: one workspace, its streams, metrics and limits."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from tuneport.backends import backend_manifest
from tuneport.errors import TuneportError
from tuneport.lifecycle.schema.records import JobRecord
from tuneport.lifecycle.schema.request_context import current_store_project
from tuneport.lifecycle.service import JobService
from tuneport.lifecycle.webhooks.sender import WebhookSender
from tuneport.lifecycle.worker.polling import JobPoller
from tuneport.serve.http.body_limits import BodyLimits
from tuneport.serve.http.credentials import AccessRules, GatewayCredentials
from tuneport.serve.http.metrics import GatewayMetrics
from tuneport.serve.http.rate_limits import GatewayRateLimits
from tuneport.serve.live.chat_usage import GatewayChatUsage
from tuneport.serve.live.endpoints import ChatEndpoints
from tuneport.serve.live.streams import JobEventStreams
from tuneport.serve.permitted import list_gateway_client_options
from tuneport.serve.timing import GatewayTiming
from tuneport.settings import Settings
from tuneport.types import JobStatus

if TYPE_CHECKING:
    from tuneport.lifecycle.contents.contents import Contents
    from tuneport.lifecycle.store.snapshots import JobSnapshot
    from tuneport.lifecycle.store.store import Store

MOST_PROJECTS = 1_000  # whose view of the workspace is kept

log = logging.getLogger(__name__)


class Gateway:
    """A gateway. Close it, or use it with `with`. Requests are only stored until `background.start_gateway_threads`
    begins the work.

    `allow_personal_data`: the operator answers for what clients upload to third parties.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        allow_personal_data: bool = False,
        access: AccessRules = AccessRules(),  # noqa: B008  # frozen, as are the next two
        timing: GatewayTiming = GatewayTiming(),  # noqa: B008
        body_limits: BodyLimits = BodyLimits(),  # noqa: B008
    ) -> None:
        self.timing, self.body_limits = timing, body_limits
        self.unscoped = JobService(settings)
        self.settings = self.unscoped.settings
        self._workspaces: dict[str, JobService] = {}
        self.allow_personal_data = allow_personal_data
        self.opened_to_clients = list_gateway_client_options(self.settings)
        store = self.unscoped.store
        self.contents: Contents = self.unscoped.contents
        self.streams = JobEventStreams(store, self.request_poll)
        self.metrics = GatewayMetrics(store, lambda: self.working)
        self.chat_usage = GatewayChatUsage(store, self.settings, self.metrics)
        self.poller = JobPoller(
            self.unscoped.worker, on_change=self._changed, on_trouble=_log_trouble, timing=timing.polling
        )
        self.sender = WebhookSender(store, self.settings, on_attempt=self.metrics.count_delivery)
        self.access, self.credentials = access, GatewayCredentials(store, seen_within=timing.credentials)
        self.limits = GatewayRateLimits(self.settings.project.gateway)
        self._awake, self._stopped = threading.Event(), threading.Event()
        self.endpoints = ChatEndpoints(self.unscoped, timing)
        self._threads: list[threading.Thread] = []
        self._polls_requested: dict[str, float] = {}

    def __enter__(self) -> Gateway:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def project(self) -> str:
        """Return the project of the current request. Raises NoScopeError outside a request."""
        return current_store_project()

    @property
    def workspace(self) -> JobService:
        """Return the workspace limited to the request's project. Raises NoScopeError outside a request: the
        gateway's own threads use `unscoped`, which routes do not."""
        project = self.project
        if project not in self._workspaces:
            if len(self._workspaces) >= MOST_PROJECTS:
                self._workspaces.clear()
            self._workspaces[project] = self.unscoped.scoped(project)
        return self._workspaces[project]

    @property
    def store(self) -> Store:
        return self.workspace.store

    def run_in_background(self, name: str, target: Callable[[], None]) -> None:
        """Start a thread that `close` waits for. `target` must return soon after `stopping`."""
        thread = threading.Thread(target=target, name=f"tuneport-{name}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def wait_for_work(self, seconds: float) -> None:
        """Wait until `wake` is called, or for so many seconds."""
        self._awake.wait(seconds)
        self._awake.clear()

    def wait(self, seconds: float) -> bool:
        """Return whether the gateway stops, after so many seconds at most."""
        return self._stopped.wait(seconds)

    def wake(self) -> None:
        """Tell the background threads that there is work."""
        self._awake.set()

    def begin_shutdown(self) -> None:
        """Begin the shutdown: end open streams, and chats that wait for an endpoint. Safe in a signal handler."""
        self.streams.close()
        self.endpoints.begin_shutdown()

    def wake_poller(self) -> None:
        """Wake the poller, because a job became due."""
        self.poller.wake()

    @property
    def working(self) -> bool:
        """Return whether all background threads run."""
        return bool(self._threads) and all(thread.is_alive() for thread in self._threads)

    @property
    def stopping(self) -> bool:
        return self._stopped.is_set()

    def request_poll(self, row: JobRecord | JobSnapshot) -> None:
        """Schedule an early poll of this job; return immediately."""
        if JobStatus(row.status).terminal or row.polled_at is None or row.backend is None:
            return
        remote = backend_manifest(row.backend, self.settings).third_party
        wait = self.timing.poll_requested_remote if remote else self.timing.poll_requested
        moment = time.monotonic()
        if moment - self._polls_requested.get(row.id, float("-inf")) < wait:
            return
        if len(self._polls_requested) > 10_000:
            self._polls_requested.clear()
        self._polls_requested[row.id] = moment
        self.unscoped.store.schedule.poll_soon(row.id, polled_before_seconds=wait)
        self.wake_poller()

    def close(self, *, patience: float = 20.0) -> None:
        """Accept nothing more, wait at most `patience` seconds for running work, and release everything. Jobs run
        on."""
        self.begin_shutdown()
        self._stopped.set()
        self._awake.set()
        self.poller.stop(patience=min(5.0, patience))
        deadline = time.monotonic() + patience
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        try:
            self.chat_usage.write()
        except TuneportError as error:
            log.warning("%s", error)
        self.unscoped.close()

    def _changed(self, job_id: str, status: str, note: str | None) -> None:
        told = {"event": "job.state", "subject": job_id, "status": status, "note": note}
        log.info("job.state %s %s", job_id, status, extra={"told": told})
        self.streams.wake()


def _log_trouble(name: str, message: str) -> None:
    log.warning("%s: %s", name, message)
