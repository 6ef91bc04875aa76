"""The poller of one provider: it asks about all its jobs of the store, and starts those that wait for a free slot
there.

If many jobs are due, it asks for a list; `poll_interval` says how soon a job is polled again, the manifest how many
requests a provider gets. Several processes may poll one store: a job that one of them has taken is put off for the
others (`JobPollSchedule.take_due`), and a job under a lease is left to its holder.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from datetime import datetime, timedelta

from tuneport.backends.hosted.http.rate_limit import BURST_SECONDS, rate_limited_reads
from tuneport.errors import AuthError, ProviderError, QuotaError, RateLimitError, TuneportError, UnsupportedError
from tuneport.lifecycle.store.schedule import PolledJob
from tuneport.lifecycle.worker.event_reading import EndedJobEventReader
from tuneport.lifecycle.worker.poll_interval import JITTER, PollTiming
from tuneport.lifecycle.worker.recording import record_job_states
from tuneport.lifecycle.worker.stopping import LOOK_SECONDS, LOOK_SECONDS_REMOTE
from tuneport.lifecycle.worker.worker import JobWorker
from tuneport.rate_limits import RateLimiter
from tuneport.types import JobState, JobStatus, now

REQUESTS_PER_MINUTE = 120.0
"""Requests a minute for a provider whose manifest gives none. No provider publishes a limit for reading jobs; two
requests a second are what a few open dashboards cause, and with a hundred jobs in an answer they reach 12,000 jobs a
minute."""
SWEEP_FROM = 5
"""With this many due jobs a list is requested; jobs that are due soon are then polled, too, since they cost nothing."""
ALONG = 0.5
"""Along comes what has less than this share of its interval left, so that sweeps are rare and not the due jobs few."""
HOLD_SECONDS = 180.0
"""Seconds after which a taken job is due again at the latest, in case its process dies; a few jobs sooner. A sweep of
20,000 jobs is shorter."""
RECORDED_AT_ONCE = 200
TURN_SECONDS = 5.0
ACTION_RETRY_SECONDS = 60.0
"""Seconds after which a requested action that failed is tried again."""
PLACE_SECONDS = 15.0
"""A job that waits for a place, or whose provider is in trouble, is tried again after so long."""

log = logging.getLogger(__name__)


class PollingStopped(BaseException):
    """The poller was told to stop while it waited for its turn.

    It is no Exception, because it is raised within the SDKs' own calls, which read every Exception as a lost
    connection.
    """


class ProviderPoller:
    """Asks one provider about all its jobs of the store. `turn` does what is due; one thread calls it again and again.

    `clock`, `sleep` (which returns whether to stop) and `rng` are handed in. `on_change` is told of each job whose
    status changed, `on_trouble` of what keeps the provider from being asked, once for each new reason.
    """

    def __init__(
        self,
        worker: JobWorker,
        name: str,
        *,
        clock: Callable[[], datetime] = now,
        sleep: Callable[[float], bool],
        rng: Callable[[], float] = random.random,
        on_change: Callable[[str, JobState], None] = lambda job_id, state: None,
        on_trouble: Callable[[str, str], None] = lambda name, message: None,
        timing: PollTiming = PollTiming(),  # noqa: B008  # frozen
    ) -> None:
        self.worker, self.store, self.name, self._timing = worker, worker.store, name, timing
        self.clock, self.rng, self.on_change, self.on_trouble = clock, rng, on_change, on_trouble
        self._sleep = sleep
        self.limiter: RateLimiter | None = None
        self._rests_until: datetime | None = None
        self._failures = 0
        self._told = ""
        self._not_before: dict[str, datetime] = {}  # requested actions that failed
        self._clean = True  # something may have to be deleted
        self._written: dict[str, int] = {}
        self.events = EndedJobEventReader(worker, name, clock=clock, on_trouble=on_trouble)

    def poll_due_jobs(self) -> float:
        """Do what is due and return in how many seconds to come again. Raises PollingStopped, and nothing else."""
        moment = self.clock()
        if self._rests_until is not None and moment < self._rests_until:
            return (self._rests_until - moment).total_seconds()
        try:
            backend = self.worker.open_backend(self.name)
            if self.limiter is None:
                limit = backend.manifest.limits.requests_per_minute
                per_minute = REQUESTS_PER_MINUTE if limit is None else float(limit.value)
                self.limiter = RateLimiter(
                    per_minute,
                    burst=per_minute / 60 * BURST_SECONDS,
                    clock=lambda: self.clock().timestamp(),
                    sleep=self._wait,
                )
            with rate_limited_reads(self.limiter):
                self._apply_actions()
                next_due = self._ask_about_due()
                self._check_curves()
                for job_id in self.store.schedule.due_rechecks(self.name, self.clock()):
                    self.worker.recheck(job_id)
                if self._clean:
                    self.worker.remote_files.delete_unneeded_files(self.name)
                    self._clean = False
                ends = self.clock() + timedelta(seconds=TURN_SECONDS)
                if self._read_events(until=ends if next_due is None else min(next_due, ends)):
                    return 0.0
        except TuneportError as error:
            return self._rest(error)
        wait = TURN_SECONDS if next_due is None else (next_due - self.clock()).total_seconds()
        return min(TURN_SECONDS, max(0.0, wait))

    # --- the parts of a turn ----------------------------------------------------------------------------------------

    def _apply_actions(self) -> None:
        """Cancel, pause, resume, delete: each by a step of its own."""
        moment = self.clock()
        for job_id in self.store.schedule.pending_actions(self.name, moment):
            if self._not_before.get(job_id, moment) > moment:
                continue
            try:
                row = self.worker.step(job_id)
            except (ProviderError, UnsupportedError) as error:  # its row says why
                asked = isinstance(error, ProviderError) and error.retry_after or 0.0
                self._not_before[job_id] = moment + timedelta(seconds=max(asked, ACTION_RETRY_SECONDS))
                if isinstance(error, ProviderError) and error.retryable:
                    raise
                continue
            self._not_before.pop(job_id, None)
            if row.job_state is not None:
                self.on_change(job_id, row.job_state)

    def _ask_about_due(self) -> datetime | None:
        """Ask about the jobs that are due; return when the next one is, as far as is known before their answers."""
        due, next_due = self.store.schedule.take_due(
            self.name, self.clock(), hold=HOLD_SECONDS, sweep_from=SWEEP_FROM, along=ALONG
        )
        if not due:
            return next_due
        waiting = {job.remote_id: job for job in due}
        states: dict[str, JobState] = {}
        refused: dict[str, ProviderError] = {}
        answered = False
        try:
            for remote_id, answer in self.worker.open_backend(self.name).fetch_many(list(waiting)):
                job = waiting.pop(remote_id)
                if isinstance(answer, ProviderError):
                    refused[job.id] = answer
                    continue
                answered = True
                states[job.id] = answer
                if len(states) >= RECORDED_AT_ONCE:
                    self._record(states, due)
                    states = {}
        finally:
            self._record(states, due)
            if waiting:  # stopped in between: the next poller asks about them
                self.store.schedule.postpone([job.id for job in waiting.values()], self.clock())
        if answered:
            self._failures, self._told = 0, ""
        self._put_off(refused, answered=answered)
        return self.clock() + timedelta(seconds=self._timing.shortest)

    def _check_curves(self) -> None:
        """Check the curves of jobs that stop when they overfit; a request to stop is applied on the next poll."""
        remote = self.worker.open_backend(self.name).manifest.third_party
        pause = timedelta(seconds=LOOK_SECONDS_REMOTE if remote else LOOK_SECONDS)
        for job_id in self.store.schedule.due_curves(self.name, self.clock() - pause):
            self.worker.check_curve(job_id)

    def _record(self, states: dict[str, JobState], due: list[PolledJob]) -> None:
        if not states:
            return
        known = {job.id: job for job in due if job.id in states}
        recorded = record_job_states(
            self.store, states, known, rng=self.rng, moment=self.clock(), written=self._written, timing=self._timing
        )
        ended = False
        for job_id in recorded:
            state = states[job_id]
            if state.status.terminal:
                ended = self._clean = True
                self._written.pop(job_id, None)
            if state.status.value != known[job_id].status:
                self.on_change(job_id, state)
        if ended:
            self.store.schedule.wake_jobs_waiting_for_slot(self.name, self.clock(), within=PLACE_SECONDS)

    def _put_off(self, refused: dict[str, ProviderError], *, answered: bool) -> None:
        """Put off one job that cannot be polled, or all of them if the provider is in trouble."""
        general: ProviderError | None = None
        for job_id, error in refused.items():
            if isinstance(error, (RateLimitError, AuthError, QuotaError)) or (error.retryable and not answered):
                general = error
            else:
                self.store.schedule.postpone(
                    [job_id], self.clock() + timedelta(seconds=self._timing.longest), note=str(error)
                )
        if general is not None:
            seconds = self._rest(general)
            alike = [job_id for job_id, error in refused.items() if type(error) is type(general)]
            self.store.schedule.postpone(alike, self.clock() + timedelta(seconds=seconds), note=str(general))

    def _read_events(self, *, until: datetime) -> bool:
        """Fetch the events of jobs that ended, in the time that is left; nothing waits for them (see `logs`).

        Returns whether there are more.
        """
        if self._rests_until is not None and self.clock() < self._rests_until:
            return False
        return self.events.read_until(until=until)

    # --- waiting ----------------------------------------------------------------------------------------------------

    def _rest(self, error: TuneportError) -> float:
        """Leave the provider alone for a while, as long as it asked for at least; return the seconds."""
        seconds = min(self._timing.longest_rest, self._timing.first_rest * 2.0**self._failures) * (
            1.0 + JITTER * self.rng()
        )
        if isinstance(error, (AuthError, QuotaError)):
            seconds = self._timing.longest_rest  # a person has to fix it first
        seconds = max(seconds, getattr(error, "retry_after", None) or 0.0)
        self._failures = min(self._failures + 1, 10)
        self._rests_until = self.clock() + timedelta(seconds=seconds)
        if str(error) != self._told:
            self._told = str(error)
            self.on_trouble(self.name, str(error))
        return seconds

    def _wait(self, seconds: float) -> None:
        if self._sleep(seconds):
            raise PollingStopped


class ProviderStarter:
    """Brings jobs that a provider does not have yet to it: uploads, waits for a place, submits. Like ProviderPoller."""

    def __init__(
        self,
        worker: JobWorker,
        name: str,
        *,
        clock: Callable[[], datetime] = now,
        on_change: Callable[[str, JobStatus, str | None], None] = lambda job_id, status, note: None,
        on_trouble: Callable[[str, str], None] = lambda name, message: None,
        timing: PollTiming = PollTiming(),  # noqa: B008  # frozen
    ) -> None:
        self.worker, self.store, self.name, self.clock = worker, worker.store, name, clock
        self._timing = timing
        self.on_change, self.on_trouble = on_change, on_trouble

    def start_due_jobs(self) -> float:
        """Take each due job as far as possible; return the seconds until the next turn."""
        full: set[str] = set()
        for job_id, model in self.store.schedule.due_starts(self.name, self.clock()):
            if model in full:
                continue
            try:
                if self._start(job_id):
                    full.add(model)
            except ProviderError as error:
                wait = max(PLACE_SECONDS, error.retry_after or 0.0)
                self.store.schedule.postpone([job_id], self.clock() + timedelta(seconds=wait))
                self.on_trouble(self.name, str(error))
                if error.retryable:
                    return wait
            except TuneportError as error:
                self.store.schedule.postpone([job_id], self.clock() + timedelta(seconds=self._timing.longest))
                self.on_trouble(self.name, str(error))
        return TURN_SECONDS

    def _start(self, job_id: str) -> bool:
        """Start the job. Returns True if it waits for a slot, and so would every other one of its model."""
        seen: tuple[str, str | None] | None = None
        while True:
            row = self.worker.step(job_id)
            if (row.status, row.note) != seen:
                seen = row.status, row.note
                self.on_change(job_id, row.job_status, row.note)
            if row.job_status.terminal or row.remote_id is not None:
                return False
            if row.job_status is JobStatus.SUBMITTING and row.note is None and row.submit_intent_at is None:
                continue
            if row.due_at is not None and row.due_at <= self.clock():
                self.store.schedule.postpone([job_id], self.clock() + timedelta(seconds=PLACE_SECONDS))
            return row.waits_since is not None
