"""Follows many jobs of many providers: each provider by threads of its own, within its budget, until all have ended.

Asked is by list calls where there are many; how soon a job is asked about again is in `rhythm`, how many requests a
provider gets is in its manifest. Several processes may poll one store: whatever one of them has taken up is put off for
the others (`Schedule.take_due`), and what is under a lease is left to its holder.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta

from tuneport.backends.pacing import Budget, paced
from tuneport.errors import AuthError, ProviderError, QuotaError, RateLimitError, TuneportError, UnsupportedError
from tuneport.jobs.database import StoreUnavailableError
from tuneport.jobs.event_reading import EventReader
from tuneport.jobs.leases import is_gone
from tuneport.jobs.recording import record_states
from tuneport.jobs.rhythm import JITTER, LONGEST, SHORTEST
from tuneport.jobs.schedule import Watched
from tuneport.jobs.stopping import LOOK_SECONDS, LOOK_SECONDS_REMOTE
from tuneport.jobs.worker import Worker
from tuneport.types import JobState, JobStatus, now

REQUESTS_PER_MINUTE = 120.0
"""For a provider whose manifest gives none. No provider publishes a limit for reading jobs; two requests a second are
what a few open dashboards cause, and with a hundred jobs in an answer they reach 12,000 jobs a minute."""
SWEEP_FROM = 5
"""From so many due jobs on, a list is asked for; then jobs that are due soon come along, since they cost nothing."""
ALONG = 0.5
"""Along comes what has less than this share of its interval left, so that sweeps are rare and not the due jobs few."""
HOLD_SECONDS = 180.0
"""What was taken up is due again after so long at most, should the one who took it die; a few jobs sooner. A sweep of
20,000 jobs is shorter."""
RECORDED_AT_ONCE = 200
TURN_SECONDS = 5.0
REST_SECONDS = (5.0, 300.0)
"""After trouble with a provider: five seconds, doubled each time, up to five minutes; or as long as it says."""
WISH_SECONDS = 60.0
"""What was wished and did not work is asked for again after so long."""
PLACE_SECONDS = 15.0
"""A job that waits for a place, or whose provider is in trouble, is tried again after so long."""

log = logging.getLogger(__name__)


class PollingStopped(BaseException):
    """The poller was told to stop while it waited for its turn.

    No Exception: it is raised within the SDKs' own calls, and they read every Exception as a lost connection.
    """


class ProviderPoller:
    """Asks one provider about all its jobs of the store. `turn` does what is due; one thread calls it again and again.

    `clock`, `sleep` (which returns whether to stop) and `dice` are handed in. `on_change` is told of each job whose
    status changed, `on_trouble` of what keeps the provider from being asked, once for each new reason.
    """

    def __init__(
        self,
        worker: Worker,
        name: str,
        *,
        clock: Callable[[], datetime] = now,
        sleep: Callable[[float], bool],
        dice: Callable[[], float] = random.random,
        on_change: Callable[[str, JobState], None] = lambda job_id, state: None,
        on_trouble: Callable[[str, str], None] = lambda name, message: None,
    ) -> None:
        self.worker, self.store, self.name = worker, worker.store, name
        self.clock, self.dice, self.on_change, self.on_trouble = clock, dice, on_change, on_trouble
        self._sleep = sleep
        self.budget: Budget | None = None
        self._rests_until: datetime | None = None
        self._failures = 0
        self._told = ""
        self._not_before: dict[str, datetime] = {}  # wishes that failed
        self._clean = True  # something may have to be deleted
        self._written: dict[str, int] = {}
        self.events = EventReader(worker, name, clock=clock, on_trouble=on_trouble)

    def turn(self) -> float:
        """Do what is due and return in how many seconds to come again. Raises PollingStopped, and nothing else."""
        moment = self.clock()
        if self._rests_until is not None and moment < self._rests_until:
            return (self._rests_until - moment).total_seconds()
        try:
            backend = self.worker.open_backend(self.name)
            if self.budget is None:
                limit = backend.manifest.limits.requests_per_minute
                per_minute = REQUESTS_PER_MINUTE if limit is None else float(limit.value)
                self.budget = Budget(per_minute, clock=lambda: self.clock().timestamp(), sleep=self._wait)
            with paced(self.budget):
                self._grant_wishes()
                next_due = self._ask_about_due()
                self._look_at_curves()
                if self._clean:
                    self.worker.remote_files.clean(self.name)
                    self._clean = False
                ends = self.clock() + timedelta(seconds=TURN_SECONDS)
                if self._read_events(until=ends if next_due is None else min(next_due, ends)):
                    return 0.0
        except TuneportError as error:
            return self._rest(error)
        wait = TURN_SECONDS if next_due is None else (next_due - self.clock()).total_seconds()
        return min(TURN_SECONDS, max(0.0, wait))

    # --- the parts of a turn ----------------------------------------------------------------------------------------

    def _grant_wishes(self) -> None:
        """Cancel, pause, resume, delete: each by a step of its own."""
        moment = self.clock()
        for job_id in self.store.due_wishes(self.name, moment):
            if self._not_before.get(job_id, moment) > moment:
                continue
            try:
                row = self.worker.step(job_id)
            except (ProviderError, UnsupportedError) as error:  # its row says why
                asked = isinstance(error, ProviderError) and error.retry_after or 0.0
                self._not_before[job_id] = moment + timedelta(seconds=max(asked, WISH_SECONDS))
                if isinstance(error, ProviderError) and error.retryable:
                    raise
                continue
            self._not_before.pop(job_id, None)
            if row.job_state is not None:
                self.on_change(job_id, row.job_state)

    def _ask_about_due(self) -> datetime | None:
        """Ask about the jobs that are due; return when the next one is, as far as is known before their answers."""
        due, next_due = self.store.take_due(
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
            if waiting:  # stopped in between: whoever comes next asks about them
                self.store.postpone([job.id for job in waiting.values()], self.clock())
        if answered:
            self._failures, self._told = 0, ""
        self._put_off(refused, answered=answered)
        return self.clock() + timedelta(seconds=SHORTEST)

    def _look_at_curves(self) -> None:
        """Of the jobs that are to be stopped when they overfit; what that wishes is granted in the next turn."""
        remote = self.worker.open_backend(self.name).manifest.third_party
        pause = timedelta(seconds=LOOK_SECONDS_REMOTE if remote else LOOK_SECONDS)
        for job_id in self.store.due_curves(self.name, self.clock() - pause):
            self.worker.look_at_curve(job_id)

    def _record(self, states: dict[str, JobState], due: list[Watched]) -> None:
        if not states:
            return
        known = {job.id: job for job in due if job.id in states}
        recorded = record_states(self.store, states, known, dice=self.dice, moment=self.clock(), written=self._written)
        ended = False
        for job_id in recorded:
            state = states[job_id]
            if state.status.terminal:
                ended = self._clean = True
                self._written.pop(job_id, None)
            if state.status.value != known[job_id].status:
                self.on_change(job_id, state)
        if ended:
            self.store.places_freed(self.name, self.clock(), within=PLACE_SECONDS)

    def _put_off(self, refused: dict[str, ProviderError], *, answered: bool) -> None:
        """A job that cannot be asked about alone is asked later; trouble with the provider is a rest for all."""
        general: ProviderError | None = None
        for job_id, error in refused.items():
            if isinstance(error, (RateLimitError, AuthError, QuotaError)) or (error.retryable and not answered):
                general = error
            else:
                self.store.postpone([job_id], self.clock() + timedelta(seconds=LONGEST), note=str(error))
        if general is not None:
            seconds = self._rest(general)
            alike = [job_id for job_id, error in refused.items() if type(error) is type(general)]
            self.store.postpone(alike, self.clock() + timedelta(seconds=seconds), note=str(general))

    def _read_events(self, *, until: datetime) -> bool:
        """With the time that is left, fetch the events of jobs that ended; nobody waits for them (see `logs`).

        Returns whether there are more.
        """
        if self._rests_until is not None and self.clock() < self._rests_until:
            return False
        return self.events.read(until=until)

    # --- waiting ----------------------------------------------------------------------------------------------------

    def _rest(self, error: TuneportError) -> float:
        """Leave the provider alone for a while, as long as it asked for at least; return the seconds."""
        shortest, longest = REST_SECONDS
        seconds = min(longest, shortest * 2.0**self._failures) * (1.0 + JITTER * self.dice())
        if isinstance(error, (AuthError, QuotaError)):
            seconds = longest  # somebody has to do something about it first
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
        worker: Worker,
        name: str,
        *,
        clock: Callable[[], datetime] = now,
        on_change: Callable[[str, JobStatus, str | None], None] = lambda job_id, status, note: None,
        on_trouble: Callable[[str, str], None] = lambda name, message: None,
    ) -> None:
        self.worker, self.store, self.name, self.clock = worker, worker.store, name, clock
        self.on_change, self.on_trouble = on_change, on_trouble

    def turn(self) -> float:
        """Take each due job as far as it goes; return in how many seconds to come again."""
        full: set[str] = set()
        for job_id, model in self.store.due_starts(self.name, self.clock()):
            if model in full:
                continue
            try:
                if self._start(job_id):
                    full.add(model)
            except ProviderError as error:
                wait = max(PLACE_SECONDS, error.retry_after or 0.0)
                self.store.postpone([job_id], self.clock() + timedelta(seconds=wait))
                self.on_trouble(self.name, str(error))
                if error.retryable:
                    return wait
            except TuneportError as error:
                self.store.postpone([job_id], self.clock() + timedelta(seconds=LONGEST))
                self.on_trouble(self.name, str(error))
        return TURN_SECONDS

    def _start(self, job_id: str) -> bool:
        """True where the job waits for a place, and so would every other one of its model."""
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
                self.store.postpone([job_id], self.clock() + timedelta(seconds=PLACE_SECONDS))
            return row.waits_since is not None


class Poller:
    """All providers that have unfinished jobs in the store, each by threads of its own: a slow one delays nobody."""

    def __init__(
        self,
        worker: Worker,
        *,
        on_change: Callable[[str, str, str | None], None] = lambda job_id, status, note: None,
        on_trouble: Callable[[str, str], None] = lambda name, message: None,
    ) -> None:
        self.worker = worker
        self._on_change, self._on_trouble = on_change, on_trouble
        self._stop = threading.Event()
        self._telling = threading.Lock()
        self._nudges: list[threading.Event] = []
        self._threads: dict[str, list[threading.Thread]] = {}

    def run(self, *, until_idle: bool = False) -> None:
        """Poll until `stop`, or with `until_idle` until no unfinished job is left. May be called in a thread.

        Then what was uploaded for jobs that wished it so is deleted, too, as far as the providers let us.
        """
        try:
            while not self._stop.is_set():
                try:
                    self._bury()
                    names = self.worker.store.due_backends()
                except StoreUnavailableError as error:
                    if until_idle:
                        raise
                    self._trouble("the store", str(error))
                    self._stop.wait(REST_SECONDS[0])
                    continue
                if until_idle and not names:
                    self.stop()
                    for name in self.worker.store.file_backends():
                        self.worker.remote_files.clean(name)
                    return
                for name in names:
                    if name not in self._threads:
                        self._threads[name] = [self._thread(name, turn) for turn in self._turns(name)]
                self._stop.wait(1.0)
        finally:
            self.stop()

    def _bury(self) -> None:
        """Whoever was killed on this machine holds nothing: its jobs go on now, not when its leases run out."""
        dead = [owner for owner in self.worker.store.holders() if is_gone(owner)]
        if dead:
            self.worker.store.release_all(dead, now())
            self.nudge()

    def stop(self, *, patience: float = 5.0) -> None:
        """Start nothing more, and wait so many seconds at most for calls that are under way."""
        self._stop.set()
        self.nudge()
        deadline = time.monotonic() + patience
        for threads in self._threads.values():
            for thread in threads:
                thread.join(max(0.0, deadline - time.monotonic()))

    def nudge(self) -> None:
        """Something became due just now: take the next turns at once. Who rests after trouble goes on resting."""
        for nudge in list(self._nudges):
            nudge.set()

    def _turns(self, name: str) -> list[Callable[[], float]]:
        poller = ProviderPoller(
            self.worker,
            name,
            sleep=self._stop.wait,
            on_change=lambda job_id, state: self._tell(job_id, state.status.value, None),
            on_trouble=self._trouble,
        )
        starter = ProviderStarter(
            self.worker,
            name,
            on_change=lambda job_id, status, note: self._tell(job_id, status.value, note),
            on_trouble=self._trouble,
        )
        return [poller.turn, starter.turn]

    def _thread(self, name: str, turn: Callable[[], float]) -> threading.Thread:
        nudge = threading.Event()
        self._nudges.append(nudge)
        thread = threading.Thread(target=self._loop, args=(name, turn, nudge), name=f"poll-{name}", daemon=True)
        thread.start()
        return thread

    def _loop(self, name: str, turn: Callable[[], float], nudge: threading.Event) -> None:
        while not self._stop.is_set():
            try:
                wait = turn()
            except PollingStopped:
                return
            except Exception as error:  # a fault of ours must not leave a provider's jobs unwatched for ever
                if self._stop.is_set():
                    return  # the clients were closed under a call that took too long
                log.exception("polling %s", name)
                self._trouble(name, f"a bug in tuneport: {type(error).__name__}: {error}")
                wait = REST_SECONDS[1]
            nudge.wait(wait)
            nudge.clear()

    def _tell(self, job_id: str, status: str, note: str | None) -> None:
        with self._telling:
            self._on_change(job_id, status, note)

    def _trouble(self, name: str, message: str) -> None:
        with self._telling:
            self._on_trouble(name, message)
