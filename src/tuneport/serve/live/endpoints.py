"""Endpoints that are started on request: at Together, a tuned model needs one to answer."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from tuneport.errors import NotDeployedError
from tuneport.formatting import money
from tuneport.lifecycle.schema.request_context import current_store_request_context
from tuneport.lifecycle.service import JobService
from tuneport.serve.timing import GatewayTiming

MOST_WAITING = 32
"""Chats that may wait for an endpoint at once. Each holds one of the chat threads; the others stay free for models
that answer, even if clients retry again and again."""

Answer = TypeVar("Answer")
log = logging.getLogger(__name__)


class ChatEndpoints:
    """The endpoints of chats. It starts none unless `[gateway] endpoint_usd_per_hour` sets a price limit."""

    def __init__(
        self,
        workspace: JobService,
        timing: GatewayTiming = GatewayTiming(),
        *,
        most_waiting: int = MOST_WAITING,  # noqa: B008
    ) -> None:
        self._timing, self._most_waiting = timing, most_waiting
        self._workspace, self._ending = workspace, threading.Event()
        self._starting = threading.Lock()
        self._places = threading.BoundedSemaphore(most_waiting)

    def answer_with_endpoint(self, backend: str, model: str, ask: Callable[[], Answer]) -> Answer:
        """Return the result of `ask` once the model has an endpoint. Raises NotDeployedError if it may have none,
        does not start in time, or too many callers wait. Raises BudgetError, before anything is started, if it would
        cost too much."""
        most = self._workspace.settings.project.gateway.endpoint_usd_per_hour
        try:
            return ask()
        except NotDeployedError as error:
            if most is None:
                raise
            if not error.starting:
                self._start(backend, model, most)
            if not self._places.acquire(blocking=False):
                raise NotDeployedError(
                    f"the endpoint of {model} is starting, and {self._most_waiting} chats wait for one already; "
                    "ask again",
                    starting=True,
                ) from error
        try:
            return self._waited_for(ask)
        finally:
            self._places.release()

    def begin_shutdown(self) -> None:
        """Begin the shutdown: callers that wait are told to ask the next gateway."""
        self._ending.set()

    def _waited_for(self, ask: Callable[[], Answer]) -> Answer:
        until = time.monotonic() + self._timing.endpoint_wait
        while True:
            self._ending.wait(self._timing.endpoint_ask)
            try:
                return ask()
            except NotDeployedError:
                if time.monotonic() > until or self._ending.is_set():
                    raise

    def _start(self, backend: str, model: str, most: float) -> None:
        """Start an endpoint. Concurrent calls start only one, since its name follows from the model's."""
        opened = self._workspace.backend(backend)
        with self._starting:
            before = {each.id for each in opened.deployments() if each.status in ("starting", "ready")}
            made = opened.deploy(model, max_usd_per_hour=most)
        if made.id in before:
            return
        cost = "an unknown price" if made.usd_per_hour is None else money(made.usd_per_hour)
        log.warning("an endpoint for %s starts at %s: %s an hour while it is up", model, backend, cost)
        told = f"{made.id} for {model} at {backend}, {cost} an hour"
        self._workspace.store.audit.record("endpoint.start", told, project=current_store_request_context().project)
