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

Answer = TypeVar("Answer")
log = logging.getLogger(__name__)


class Endpoints:
    """Starts none unless `[gateway] endpoint_usd_per_hour` says what one may cost."""

    def __init__(self, workspace: Workspace, stopped: threading.Event) -> None:
        self._workspace, self._stopped = workspace, stopped
        self._starting = threading.Lock()

    def answered(self, backend: str, model: str, ask: Callable[[], Answer]) -> Answer:
        """What `ask` gives, once the model has an endpoint. NotDeployedError where it may have none, or it takes
        longer than `WAIT_SECONDS`; BudgetError where it would cost too much, before anything is started."""
        most = self._workspace.settings.project.gateway.endpoint_usd_per_hour
        try:
            return ask()
        except NotDeployedError as error:
            if most is None:
                raise
            if not error.starting:
                self._start(backend, model, most)
        until = time.monotonic() + WAIT_SECONDS
        while True:
            self._stopped.wait(ASK_SECONDS)
            try:
                return ask()
            except NotDeployedError:
                if time.monotonic() > until or self._stopped.is_set():
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
