"""Brings a backend's events into the store, and adds tuneport's own."""

from __future__ import annotations

import uuid
from typing import Any, Literal

from tuneport.backends.base import FineTuneBackend
from tuneport.errors import ProviderError, UnsupportedError
from tuneport.lifecycle.store.reconcile import NO_EVENTS
from tuneport.lifecycle.store.store import Store
from tuneport.types import JobEvent, JobState, now

EVENT_TRIES = 3


class JobEventCollector:
    def __init__(self, store: Store) -> None:
        self.store = store
        self._failures: dict[str, int] = {}

    def collect(self, job_id: str, backend: FineTuneBackend, remote_id: str) -> None:
        """Store the job's new events. Raises ProviderError if they cannot be read; a backend without events has
        none."""
        try:
            self.store.events.add(job_id, backend.events(remote_id, after=self.store.events.last_backend_id(job_id)))
        except UnsupportedError:
            pass

    def collect_before_state(self, job_id: str, backend: FineTuneBackend, state: JobState) -> str | None:
        """Store the events before `state` is written. Returns a note for the row if they could not be read.

        At the job's end it is tried some more times, with the note or, if waiting helps, with the error; then an event
        tells it.
        """
        try:
            self.collect(job_id, backend, state.remote_id)
        except ProviderError as error:
            note = f"its events cannot be read: {error}"
            if not state.status.terminal:
                return note
            failures = self._failures[job_id] = self._failures.get(job_id, 0) + 1
            if failures < EVENT_TRIES:
                if error.retryable:
                    raise
                return note
            self.add_tuneport_event(
                job_id, f"The backend's last events could not be read: {error}", level="warning", once=NO_EVENTS
            )
        self._failures.pop(job_id, None)
        return None

    def add_tuneport_event(
        self,
        job_id: str,
        message: str,
        *,
        level: Literal["info", "warning", "error"] = "info",
        type_: str = "message",
        data: dict[str, Any] | None = None,
        once: str | None = None,
    ) -> None:
        """Add an event of tuneport's own. `once` is a key: a second event with it is not added."""
        id_ = f"tuneport-{once or uuid.uuid4().hex[:12]}"
        event = JobEvent(id=id_, created_at=now(), level=level, message=message, type=type_, data=data or {})
        self.store.events.add(job_id, [event], origin="tuneport")
