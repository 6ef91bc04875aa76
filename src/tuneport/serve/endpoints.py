"""Endpoints that are started when somebody asks: at Together a tuned model answers from no other place."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from tuneport.errors import NotDeployedError
from tuneport.jobs.audit import note
from tuneport.jobs.service import Workspace

WAIT_SECONDS = 540.0
"""How long a chat waits for its endpoint. OpenAI's clients give up after 600."""
ASK_SECONDS = 2.0
MOST_WAITING = 32
"""Chats that may wait side by side. Each holds a thread of those that answer chats; the others are for models that are
up, also while clients that gave up ask again and again."""

Answer = TypeVar("Answer")
log = logging.getLogger(__name__)


class Endpoints:
    """Starts none unless `[gateway] endpoint_usd_per_hour` says what one may cost."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace, self._ending = workspace, threading.Event()
        self._starting = threading.Lock()
        self._places = threading.BoundedSemaphore(MOST_WAITING)

    def answered(self, backend: str, model: str, ask: Callable[[], Answer]) -> Answer:
        """What `ask` gives, once the model has an endpoint. NotDeployedError where it may have none, it takes longer
        than `WAIT_SECONDS`, or too many wait; BudgetError where it would cost too much, before anything is started."""
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
                    f"the endpoint of {model} is starting, and {MOST_WAITING} chats wait for one already; ask again",
                    starting=True,
                ) from error
        try:
            return self._waited_for(ask)
        finally:
            self._places.release()

    def let_go(self) -> None:
        """The server is to end: whoever waits is told to ask again, of its successor."""
        self._ending.set()

    def _waited_for(self, ask: Callable[[], Answer]) -> Answer:
        until = time.monotonic() + WAIT_SECONDS
        while True:
            self._ending.wait(ASK_SECONDS)
            try:
                return ask()
            except NotDeployedError:
                if time.monotonic() > until or self._ending.is_set():
                    raise

    def _start(self, backend: str, model: str, most: float) -> None:
        """Asked at once by many, it is one: its name follows from the model's."""
        opened = self._workspace.backend(backend)
        with self._starting:
            before = {each.id for each in opened.deployments() if each.status in ("starting", "ready")}
            made = opened.deploy(model, max_usd_per_hour=most)
        if made.id in before:
            return
        cost = "an unknown price" if made.usd_per_hour is None else f"${made.usd_per_hour:.2f}"
        log.warning("an endpoint for %s starts at %s: %s an hour while it is up", model, backend, cost)
        with self._workspace.store.transaction() as session:
            note(session, "endpoint.start", f"{made.id} for {model} at {backend}, {cost} an hour")
