"""Fetches the events of jobs that ended, when there is time; one job's trouble holds up no other, and no question."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from tuneport.errors import AuthError, ProviderError, QuotaError, RateLimitError
from tuneport.lifecycle.store.reconcile import NO_EVENTS
from tuneport.lifecycle.worker.event_collection import EVENT_TRIES
from tuneport.lifecycle.worker.worker import JobWorker
from tuneport.types import JobEvent, now

AGAIN_SECONDS = 60.0
"""A job whose events the provider failed to give is asked about again after so long."""
LEFT_SECONDS = 300.0
"""Seconds without a request for events if the key may not read them: a person has to fix that first."""
_DOWN_AFTER = 3  # so many jobs in a row without an answer, and it is the provider, not the jobs
_AT_ONCE = 20


class EndedJobEventReader:
    """Reads the events of one provider's jobs. `on_trouble` is told what keeps all events from being read."""

    def __init__(
        self, worker: JobWorker, name: str, *, clock: Callable[[], datetime], on_trouble: Callable[[str, str], None]
    ) -> None:
        self.worker, self.store, self.name, self.clock = worker, worker.store, name, clock
        self.on_trouble = on_trouble
        self._failures: dict[str, int] = {}
        self._not_before: dict[str, datetime] = {}
        self._in_a_row = 0
        self._left_until: datetime | None = None
        self._told = ""

    def read_until(self, *, until: datetime) -> bool:
        """Store new events, job by job, until all are read or it is `until`; return whether there is more to do now.

        It gives up the events of a job if the provider refuses them, or fails to give them `EVENT_TRIES` times while it
        answers everything else. If the fault is the provider's or the key's, they wait. Raises RateLimitError.
        """
        if self._left_until is not None and self.clock() < self._left_until:
            return False
        while waiting := self._waiting():
            for job_id, remote_id in waiting:
                if self.clock() >= until:
                    return True
                try:
                    self.worker.collect_events(job_id)
                except RateLimitError:
                    raise
                except (AuthError, QuotaError) as error:
                    return self._leave(error, LEFT_SECONDS)
                except ProviderError as error:
                    if not error.retryable:
                        self._give_up(job_id, error)
                    elif self._failed(job_id, remote_id, error):
                        return self._leave(error, AGAIN_SECONDS)
                else:
                    self._forget(job_id)
        return False

    def _waiting(self) -> list[tuple[str, str]]:
        """Return the next jobs (id, remote id), without those that are to be read later."""
        moment = self.clock()
        later = {job_id for job_id, due in self._not_before.items() if due > moment}
        due = self.store.events.list_due_jobs(self.name, limit=_AT_ONCE + len(later))
        return [job for job in due if job[0] not in later]

    def _failed(self, job_id: str, remote_id: str, error: ProviderError) -> bool:
        """Put the job off, or give its events up; return whether it seems to be the provider and not the job."""
        self._in_a_row += 1
        self._not_before[job_id] = self.clock() + timedelta(seconds=max(AGAIN_SECONDS, error.retry_after or 0.0))
        failures = self._failures[job_id] = self._failures.get(job_id, 0) + 1
        if failures >= EVENT_TRIES and self._answers(remote_id):
            self._give_up(job_id, error)
            return False
        return self._in_a_row >= _DOWN_AFTER

    def _answers(self, remote_id: str) -> bool:
        """Return whether the provider answers at all when asked about the job itself."""
        try:
            self.worker.open_backend(self.name).fetch(remote_id)
        except RateLimitError:
            raise
        except ProviderError:
            return False
        return True

    def _leave(self, error: ProviderError, seconds: float) -> bool:
        self._left_until = self.clock() + timedelta(seconds=max(seconds, error.retry_after or 0.0))
        if str(error) != self._told:
            self._told = str(error)
            self.on_trouble(self.name, f"events are read later: {error}")
        return False

    def _give_up(self, job_id: str, error: ProviderError) -> None:
        message = f"The backend's last events could not be read: {error}"
        event = JobEvent(id=f"tuneport-{NO_EVENTS}", created_at=now(), level="warning", message=message)
        self.store.events.add(job_id, [event], origin="tuneport")
        self.store.events.mark_stored(job_id)
        self._forget(job_id)

    def _forget(self, job_id: str) -> None:
        self._failures.pop(job_id, None)
        self._not_before.pop(job_id, None)
        self._in_a_row, self._told = 0, ""
