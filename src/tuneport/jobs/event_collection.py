"""Brings a backend's events into the store, and adds tuneport's own."""

from __future__ import annotations

import uuid
from typing import Any, Literal

from tuneport.backends.base import FineTuneBackend
from tuneport.errors import ProviderError, UnsupportedError
from tuneport.jobs.settling import NO_EVENTS
from tuneport.jobs.store import Store
from tuneport.types import JobEvent, JobState, now

EVENT_TRIES = 3


class EventCollector:
    def __init__(self, store: Store) -> None:
        self.store = store
        self._failures: dict[str, int] = {}

    def collect(self, job_id: str, backend: FineTuneBackend, remote_id: str) -> None:
        """Store those that are new. ProviderError where they cannot be read; a backend without events has none."""
        try:
            self.store.add_events(job_id, backend.events(remote_id, after=self.store.last_backend_event(job_id)))
        except UnsupportedError:
            pass

    def collect_with(self, job_id: str, backend: FineTuneBackend, state: JobState) -> str | None:
        """Before `state` is written. Trouble is a note to return.

        At the job's end it is tried again some times, with the note or, where waiting helps, with the error; then it is
        told as an event.
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
            self.tell(job_id, f"The backend's last events could not be read: {error}", level="warning", once=NO_EVENTS)
        self._failures.pop(job_id, None)
        return None

    def tell(
        self,
        job_id: str,
        message: str,
        *,
        level: Literal["info", "warning", "error"] = "info",
        type_: str = "message",
        data: dict[str, Any] | None = None,
        once: str | None = None,
    ) -> None:
        """Add an event of tuneport's own. `once` names what is told: a second time it is not."""
        id_ = f"tuneport-{once or uuid.uuid4().hex[:12]}"
        event = JobEvent(id=id_, created_at=now(), level=level, message=message, type=type_, data=data or {})
        self.store.add_events(job_id, [event], origin="tuneport")
