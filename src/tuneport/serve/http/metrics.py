"""Observability of a gateway: a log line and a count for each request, and the metrics behind `/metrics`.

Labels come from our own code (routes, methods, states, backends), never from what a client sends.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tuneport.serve.http.errors import Refusal
from tuneport.version import __version__

if TYPE_CHECKING:
    from tuneport.lifecycle.store.store import Store

log = logging.getLogger(__name__)
METHODS = frozenset({"GET", "POST", "DELETE", "PUT", "PATCH", "HEAD", "OPTIONS"})
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)
QUIET = ("/healthz", "/readyz", "/metrics")
"""Routes that machines request every few seconds: counted, and logged only if they fail or the log level is debug."""


class GatewayMetrics:
    """The metrics registry of one gateway: requests are counted as they come, jobs and files by the store when
    scraped."""

    def __init__(self, store: Store, working: Callable[[], bool]) -> None:
        """Create the registry. `working` says whether all background threads run."""
        from prometheus_client import CollectorRegistry, Counter, Histogram, Info

        self.registry = CollectorRegistry()
        self.requests = Counter(
            "tuneport_requests", "Requests by route, method and status.", ("route", "method", "status"),
            registry=self.registry,
        )  # fmt: skip
        self.seconds = Histogram(
            "tuneport_request_seconds", "Time to the end of the answer.", ("route", "method"), buckets=SECONDS,
            registry=self.registry,
        )  # fmt: skip
        self.received = Counter(
            "tuneport_received_bytes", "Bytes of requests' bodies.", ("route",), registry=self.registry
        )
        self.chats = Counter("tuneport_chats", "Chats that were answered.", ("backend",), registry=self.registry)
        self.tokens = Counter(
            "tuneport_chat_tokens", "Tokens of chats, as the backend counted.", ("backend", "kind"),
            registry=self.registry,
        )  # fmt: skip
        self.deliveries = Counter(
            "tuneport_webhook_deliveries", "Deliveries of webhooks, by webhook and outcome.",
            ("webhook", "outcome"), registry=self.registry,
        )  # fmt: skip
        Info("tuneport_build", "The program.", registry=self.registry).info(
            {"version": __version__, "python": ".".join(map(str, sys.version_info[:3]))}
        )
        self.registry.register(_StoreCollector(store, working))

    def count_chat(self, backend: str, prompt_tokens: int | None, completion_tokens: int | None) -> None:
        self.chats.labels(backend).inc()
        if prompt_tokens is not None and completion_tokens is not None:
            self.tokens.labels(backend, "prompt").inc(prompt_tokens)
            self.tokens.labels(backend, "completion").inc(completion_tokens)

    def count_delivery(self, webhook: str, outcome: str) -> None:
        self.deliveries.labels(webhook, outcome).inc()

    def render_text(self) -> bytes:
        from prometheus_client import generate_latest

        return generate_latest(self.registry)


class _StoreCollector:
    """The collector of what the store knows, read when Prometheus scrapes."""

    def __init__(self, store: Store, working: Callable[[], bool]) -> None:
        self._store, self._working = store, working

    def describe(self) -> list[Any]:
        return []  # so that registering asks the store nothing

    def collect(self) -> Iterator[Any]:
        from prometheus_client.core import GaugeMetricFamily

        totals = self._store.statistics.count_totals()
        jobs = GaugeMetricFamily("tuneport_jobs", "Jobs by backend and state.", labels=("backend", "status"))
        for (backend, status), count in totals.jobs.items():
            jobs.add_metric((backend, status), count)
        yield jobs
        for name, text, value in (
            ("tuneport_requests_waiting", "Requests of clients that are not jobs yet.", totals.waiting),
            ("tuneport_jobs_due", "Jobs that are due for a poll.", totals.due),
            ("tuneport_jobs_overdue", "Jobs whose poll is overdue by a minute.", totals.overdue),
            ("tuneport_leases", "Jobs that a process works on.", totals.leases),
            ("tuneport_events", "Events of jobs.", totals.events),
            ("tuneport_files", "Files of clients.", totals.files),
            ("tuneport_files_bytes", "Bytes of these files.", totals.file_bytes),
            ("tuneport_working", "1 while all background threads run.", int(self._working())),
        ):
            yield GaugeMetricFamily(name, text, value=value)


class Observed:
    """The outermost middleware: it answers errors inside in OpenAI's format, counts and logs them."""

    def __init__(self, app: ASGIApp, *, metrics: GatewayMetrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status, received = time.perf_counter(), 0, 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            return message

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, counted, sending)
        finally:
            self._tell(scope, status, time.perf_counter() - began, received)

    def _tell(self, scope: Scope, status: int, seconds: float, received: int) -> None:
        route = getattr(scope.get("route"), "path", "none")
        method = scope["method"] if scope["method"] in METHODS else "other"
        metrics = self._metrics
        metrics.requests.labels(route, method, str(status or 499)).inc()
        metrics.seconds.labels(route, method).observe(seconds)
        if received:
            metrics.received.labels(route).inc(received)
        level = logging.ERROR if status >= 500 else logging.DEBUG if route in QUIET else logging.INFO
        if log.isEnabledFor(level):
            asker = scope.get("tuneport.caller")
            told = {
                "request_id": scope.get("tuneport.request_id"),
                "method": method,
                "route": route,
                "status": status or 499,  # the client went away before there was one
                "ms": round(seconds * 1000, 1),
                "caller": getattr(asker, "name", None),
                "project": getattr(asker, "project", None),
            }
            log.log(level, "%s %s %d %.1f ms", method, route, told["status"], told["ms"], extra={"told": told})


class FixedStatus:
    """The middleware that answers a bug with status 500. It lies within `Guard`, so that this answer has a request
    id, too."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def sending(message: Message) -> None:
            nonlocal begun
            begun = begun or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except Exception:
            if scope["type"] != "http":
                raise
            log.exception("%s failed", scope.get("tuneport.request_id"))
            if begun:
                raise  # the connection is cut: half an answer must not look like a whole one
            await Refusal(500, "tuneport failed; its log has the traceback. Please report it.").response()(
                scope, receive, send
            )
