"""Drives a job's row from `preparing` to its end, one step at a time, under the row's lease.

What may be lost is a step's time, never a job: each step first writes what it is about to do, and begins by asking
what became of an earlier try. `submit` is called once for each recorded intent; an intent without an answer is settled
by `find(token)` and by nothing else.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from tuneport.backends.base import FineTuneBackend
from tuneport.backends.hops import having_come_by
from tuneport.errors import (
    NotFoundError,
    ProviderError,
    RateLimitError,
    StorageError,
    TuneportError,
    UnavailableError,
    UnsupportedError,
)
from tuneport.jobs.alternatives import Alternative, with_alternatives
from tuneport.jobs.event_collection import EventCollector
from tuneport.jobs.leases import Lease, claimed
from tuneport.jobs.preparing import as_submitted, beside_ours, refuse_above_budget
from tuneport.jobs.recording import columns_of
from tuneport.jobs.remote_files import RemoteFiles
from tuneport.jobs.rhythm import SHORTEST
from tuneport.jobs.stopping import OverfittingStop
from tuneport.jobs.store import LeaseLostError, Store
from tuneport.jobs.tables import JobRow
from tuneport.types import JobError, JobState, JobStatus, TuneSpec, now

MAX_SUBMIT_ATTEMPTS = 3
LONGEST_WAIT = 60.0
LOOK_AGAIN_SECONDS = 10.0
"""A job that takes a place is asked about by those who wait for it, unless somebody did so long ago."""
ONLY_ELSEWHERE = ("training_not_available", "daily_rate_limit_exceeded")
"""Codes of refusals that no waiting and no mending helps today: the job fails, and the other backends are ranked."""


class Worker:
    """`open_backend` gives the backend of a name; `files` is the folder for prepared files. Threads may share one.

    `fetch` has a content that a gateway's client uploaded on this machine, by its hash, and gives its path.
    `alternatives` ranks the other backends for a job that its own one does not take. `monthly_budget`: what all jobs of
    a calendar month may cost, in US dollars; a provider's own quote is held against it, too.
    `sleep`, `monotonic` and `clock` are time itself, for whoever wants another.
    """

    def __init__(
        self,
        store: Store,
        open_backend: Callable[[str], FineTuneBackend],
        files: Path,
        *,
        fetch: Callable[[str], Path],
        alternatives: Callable[[JobRow], Sequence[Alternative]] = lambda row: (),
        monthly_budget: float | None = None,
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
        clock: Callable[[], datetime] = now,
    ) -> None:
        self.store = store
        self._sleep, self._monotonic, self._now = sleep, monotonic, clock
        self.open_backend = open_backend
        self.files, self.fetch = files, fetch
        self.alternatives = alternatives
        self.monthly_budget = monthly_budget
        self.remote_files = RemoteFiles(store, open_backend)
        self.events = EventCollector(store)
        self.overfitting = OverfittingStop(self.events, clock=clock)

    def drive(
        self,
        job_id: str,
        *,
        until: Callable[[JobRow], bool],
        on_change: Callable[[JobRow], None] = lambda row: None,
        patience: float = 900.0,
        poll_seconds: float | None = None,
    ) -> JobRow:
        """Step until `until(row)` or the end; call `on_change` after each step.

        While another process holds the lease, watch what it does. Retryable provider errors are ridden out for
        `patience` seconds in a row, then raised; others are raised at once. The row stays and says why.
        """
        trouble_since: float | None = None
        waits = _waits(poll_seconds)
        while True:
            wait = 0.0
            try:
                row = self.step(job_id)
                trouble_since = None
            except ProviderError as error:
                trouble_since = self._monotonic() if trouble_since is None else trouble_since
                patience_left = patience - (self._monotonic() - trouble_since)
                if not error.retryable or patience_left <= 0:
                    raise
                row = self.store.job(job_id)
                wait = min(error.retry_after or 0.0, patience_left, LONGEST_WAIT)
            on_change(row)
            if row.job_status.terminal or until(row):
                return row
            ours_to_go_on = row.job_status is JobStatus.SUBMITTING and row.submit_intent_at is None and row.note is None
            if not_before(row, self._now()) and row.due_at is not None:
                wait = max(wait, min((row.due_at - self._now()).total_seconds(), LONGEST_WAIT))
            self._sleep(max(wait, 0.0 if ours_to_go_on else next(waits)))

    def step(self, job_id: str) -> JobRow:
        """Take one step if nobody else is at the row, and return the row as it then is.

        A failure that ends the job is written to the row, not raised. Errors that do not end it (the backend is down,
        the key is wrong while polling, the disk is full) are noted in the row and raised. Of a job that has ended, the
        files are deleted at the provider, if that was wished.
        """
        row = self._step(job_id)
        if row.job_status.terminal:
            self.remote_files.clean(row.backend)
        return row

    def _step(self, job_id: str) -> JobRow:
        try:
            with claimed(self.store, job_id) as lease:
                if lease is not None:
                    return self._advance(lease)
        except LeaseLostError:
            return self.store.job(job_id)
        row = self.store.job(job_id)
        row.note = f"another process is at it ({row.lease_owner})"  # told, not stored
        return row

    def record(self, job_id: str, state: JobState) -> JobRow:
        """Store a state that a list call brought, unless the job has ended or another process is at it."""
        try:
            with claimed(self.store, job_id) as lease:
                if lease is not None and not lease.row.job_status.terminal:
                    return self._record(lease, self.open_backend(lease.row.backend), state)
        except LeaseLostError:
            pass  # whoever took it over knows better
        return self.store.job(job_id)

    def collect_events(self, job_id: str) -> None:
        """Store the events that the backend has and the store does not. ProviderError where they cannot be read."""
        row = self.store.job(job_id)
        if row.remote_id is not None:
            self.events.collect(row.id, self.open_backend(row.backend), row.remote_id)
            self.store.events_stored(row.id)

    def _advance(self, lease: Lease) -> JobRow:
        row = lease.row
        if row.job_status.terminal:
            return self._delete(lease) if row.delete_requested_at is not None and row.deleted_at is None else row
        if row.cancel_requested_at is not None and row.remote_id is None and row.submit_intent_at is None:
            return self._cancelled(lease)
        try:
            backend = self.open_backend(row.backend)
            if row.job_status in (JobStatus.PREPARING, JobStatus.SUBMITTING):
                begin = self._prepare if row.job_status is JobStatus.PREPARING else self._submit
                with having_come_by(self.store.hops_of(row.id)):
                    return begin(lease, backend)
            return self._poll(lease, backend)
        except LeaseLostError:
            raise
        except TuneportError as error:
            passing = isinstance(error, StorageError) or (isinstance(error, ProviderError) and error.retryable)
            if lease.row.remote_id is None and lease.row.submit_intent_at is None and not passing:
                return self._fail(lease, error)
            lease.write(note=str(error))
            raise

    # --- the three phases -------------------------------------------------------------------------------------------

    def _prepare(self, lease: Lease, backend: FineTuneBackend) -> JobRow:
        spec = _spec_for_backend(lease.row)
        data = as_submitted(lease.row, self.files, self.fetch)
        journalled = {file.sha256 for file in self.store.files(lease.row.id)}
        for file in backend.prepare(spec, data):
            self.store.add_file(lease.row.id, file)
            if self.store.is_being_deleted(backend.name, file.id):
                return lease.write(note=f"{file.id} is being deleted at {backend.name}; it will be uploaded anew")
            if file.sha256 not in journalled:
                self.events.tell(lease.row.id, f"The {file.purpose} file is ready: {file.id}", type_="file")
        self._ask_price(lease, backend, spec)
        return lease.write(status=JobStatus.SUBMITTING, note=None)

    def _ask_price(self, lease: Lease, backend: FineTuneBackend, spec: TuneSpec) -> None:
        """The provider's own quote in place of ours, where it gives one. With a budget there must be one, within it;
        without, a provider that cannot be asked holds nothing up."""
        budgeted = spec.budget is not None or self.monthly_budget is not None
        try:
            quote = backend.quote(spec, self.store.files(lease.row.id))
        except ProviderError as error:
            if budgeted:
                raise
            self.events.tell(lease.row.id, f"{backend.name} was asked for its price, in vain: {error}", level="warning")
            return
        if quote is None or not (budgeted or quote.authority == "provider"):
            return
        quote = beside_ours(quote, lease.row.job_quote)
        lease.write(quote=quote.model_dump(mode="json"))
        if spec.budget is not None:
            refuse_above_budget(spec.budget, quote)
        lease.row = self.store.write_quote(lease.row.id, lease.owner, quote, monthly_budget=self.monthly_budget)
        if quote.expected is not None:
            self.events.tell(
                lease.row.id, f"{backend.name} asks ${quote.expected:,.2f}: {quote.explanation}", type_="quote"
            )

    def _submit(self, lease: Lease, backend: FineTuneBackend) -> JobRow:
        if lease.row.submit_intent_at is not None:
            settled = self._settle(lease, backend)
            if settled is not None:
                return settled
        if lease.row.cancel_requested_at is not None:
            return self._cancelled(lease)
        attempts = lease.row.submit_attempts
        if attempts >= MAX_SUBMIT_ATTEMPTS:
            return self._fail(
                lease,
                UnavailableError(
                    f"{backend.name} took none of {attempts} submits of {lease.row.id}; no job was started there; "
                    "submit again later",
                    provider=backend.name,
                ),
            )
        if not_before(lease.row, self._now()):
            return lease.row  # the provider said when
        # From this write on a crash leaves an intent, and the next step asks `find` before anything else.
        intent = {"submit_intent_at": now(), "absent_since": None, "submit_attempts": attempts + 1, "note": None}
        if not self._take_place(lease, backend, intent):
            return lease.row
        spec, files = _spec_for_backend(lease.row), self.store.files(lease.row.id)
        lease.ensure()
        try:
            state = backend.submit(spec, files, token=lease.row.token)
        except UnavailableError as error:
            self.events.tell(lease.row.id, f"The answer to the submit was lost: {error}", level="warning")
            return lease.write(note=f"the answer to the submit was lost ({error}); asking whether the job started")
        except RateLimitError as error:
            # Too many requests, or too many jobs: either passes, costs no attempt and is no failure. (Not a daily
            # limit: that is not retryable, and whoever has a deadline wants to know today.)
            lease.write(submit_intent_at=None, submit_attempts=attempts)
            if not error.retryable:
                raise
            return self._wait_for_place(lease, f"waits until {backend.name} takes another job: {error}", error)
        except TuneportError:
            lease.write(submit_intent_at=None, submit_attempts=attempts)  # any other error: nothing started
            raise
        return self._adopt(lease, backend, state)

    # --- places: how many jobs an account may have at once ----------------------------------------------------------

    def _take_place(self, lease: Lease, backend: FineTuneBackend, intent: dict[str, Any]) -> bool:
        """Write the intent, or else the reason why the job waits for others of the account to end."""
        limit = backend.manifest.limits.concurrent_jobs
        value = None if limit is None else limit.value
        row, blocking = self.store.take_place(lease.row.id, lease.owner, limit=value, **intent)
        if row is None and blocking:
            for job_id in blocking:
                self._look_at(job_id, backend)  # nobody else might, and one that has ended blocks no more
            row, blocking = self.store.take_place(lease.row.id, lease.owner, limit=value, **intent)
        if row is not None:
            lease.row = row
            return True
        lease.ensure()
        listed = ", ".join(blocking[:3]) + (f" and {len(blocking) - 3} more" if len(blocking) > 3 else "")
        note = f"waits for one of the {len(blocking)} jobs {listed} to end (limit of the account: {value} at once)"
        self._wait_for_place(lease, note)
        return False

    def _wait_for_place(self, lease: Lease, note: str, error: ProviderError | None = None) -> JobRow:
        due = None if error is None or error.retry_after is None else self._now() + timedelta(seconds=error.retry_after)
        if lease.row.waits_since is None:
            self.events.tell(lease.row.id, note[0].upper() + note[1:], type_="waiting")
        return lease.write(note=note, waits_since=lease.row.waits_since or now(), due_at=due or lease.row.due_at)

    def _look_at(self, job_id: str, backend: FineTuneBackend) -> None:
        """What has become of another job that takes a place: ask, or settle its submit, but start nothing."""
        row = self.store.job(job_id)
        if row.remote_id is None and row.submit_intent_at is None:
            return  # it only waits, as we do: to take its lease would keep its driver from it
        if row.polled_at is not None and self._now() - row.polled_at < timedelta(seconds=LOOK_AGAIN_SECONDS):
            return
        with contextlib.suppress(ProviderError, LeaseLostError), claimed(self.store, job_id) as lease:
            if lease is None or lease.row.job_status.terminal:
                return
            if lease.row.remote_id is not None:
                self._poll(lease, backend)
            elif lease.row.submit_intent_at is not None:
                self._settle(lease, backend)

    def _settle(self, lease: Lease, backend: FineTuneBackend) -> JobRow | None:
        """What became of the recorded intent: the row when there is something to wait for, None to submit anew."""
        row = lease.row
        found = backend.find(row.token)
        if found.answer == "found" and found.state is not None:
            told = f"Found the job that an interrupted submit had started: {found.state.remote_id}"
            self.events.tell(row.id, told, once=f"found {found.state.remote_id}")
            return self._adopt(lease, backend, found.state)
        if found.answer == "unknown":
            return lease.write(
                note=f"nobody knows yet whether the submit arrived ({found.reason}); asking again, starting nothing"
            )
        if row.absent_since is None:
            row = lease.write(absent_since=self._now(), note="the submit seems not to have arrived; asking once more")
        assert row.absent_since is not None
        if self._now() - row.absent_since < timedelta(seconds=backend.settle_seconds):
            return row
        once = f"absent {row.submit_attempts}"
        self.events.tell(row.id, "The interrupted submit did not arrive", level="warning", once=once)
        lease.write(submit_intent_at=None)
        return None

    def _adopt(self, lease: Lease, backend: FineTuneBackend, state: JobState) -> JobRow:
        """Write down whose job it is at once; its end, if it is over already, goes the way of everybody's."""
        status = JobStatus.FINALIZING if state.status.terminal else state.status
        # Told first: of a row with a remote id nobody would know any more that it was not.
        told = f"Submitted to {backend.name} as {state.remote_id}"
        self.events.tell(lease.row.id, told, type_="submitted", once=state.remote_id)
        lease.write(remote_id=state.remote_id, status=status, absent_since=None, waits_since=None, note=None)
        return self._record(lease, backend, state)

    def _poll(self, lease: Lease, backend: FineTuneBackend) -> JobRow:
        row = lease.row
        assert row.remote_id is not None
        if row.cancel_requested_at is not None and row.job_status is not JobStatus.CANCELLING:
            return self._ask(lease, backend, backend.cancel, "cancelled")
        if row.wish is not None:
            return self._fulfil(lease, backend, row.wish)
        self._record(lease, backend, backend.fetch(row.remote_id))
        return self.overfitting.look(lease, backend)

    def look_at_curve(self, job_id: str) -> None:
        """See `OverfittingStop.look`; nothing where somebody else is at the row."""
        with contextlib.suppress(LeaseLostError), claimed(self.store, job_id) as lease:
            if lease is not None and not lease.row.job_status.terminal:
                self.overfitting.look(lease, self.open_backend(lease.row.backend))

    def _fulfil(self, lease: Lease, backend: FineTuneBackend, wish: str) -> JobRow:
        calls = {
            "pause": (backend.pause, "paused"),
            "resume": (backend.resume, "resumed"),
            "stop": (backend.stop_early, "stopped"),
        }
        row = self._ask(lease, backend, *calls[wish])
        if wish == "stop":
            row = self.overfitting.withdraw_if_not_stopped(lease)
        return row if row.wish is None else lease.write(wish=None)

    def _ask(self, lease: Lease, backend: FineTuneBackend, call: Callable[[str], JobState], done: str) -> JobRow:
        """Ask for what was wished, and where that fails, how the job stands: it goes on, and whoever follows it, too.

        A refusal is a note, whatever its kind (a key may read and not cancel); an error that passes is raised.
        """
        remote_id = str(lease.row.remote_id)
        try:
            state = call(remote_id)
        except (ProviderError, UnsupportedError) as error:
            row = self._record(lease, backend, backend.fetch(remote_id))
            if row.job_status.terminal:
                return row
            if isinstance(error, ProviderError) and error.retryable:
                raise
            return lease.write(note=f"it cannot be {done} now: {error}", wish=None)
        return self._record(lease, backend, state)

    def reopen(self, job_id: str) -> JobRow:
        """Let a failed job go on at its backend, and follow it again. RejectedError where it would only fail again,
        BudgetError where the month has no room for the rest of it; then it stays as it is."""
        backend = self.open_backend(self.store.job(job_id).backend)
        with claimed(self.store, job_id) as lease:
            if lease is None:
                raise UnavailableError(f"another process is at {job_id}; try again in a moment", provider=backend.name)
            if lease.row.job_status is not JobStatus.FAILED:
                return lease.row  # somebody was quicker
            ended = {name: getattr(lease.row, name) for name in ("status", "finished_at", "reserved_usd")}
            lease.row = self.store.reopen(job_id, lease.owner, monthly_budget=self.monthly_budget)
            try:
                state = backend.resume(str(lease.row.remote_id))
            except UnavailableError:
                raise  # it may go on: the next look tells
            except TuneportError:
                lease.write(**ended)
                raise
            return self._record(lease, backend, state)

    def _delete(self, lease: Lease) -> JobRow:
        """Delete the tuned model that an ended job made. What is gone already counts as deleted."""
        row = lease.row
        try:
            self.open_backend(row.backend).delete(str(row.remote_id))
        except NotFoundError:
            pass
        except TuneportError as error:
            lease.write(note=f"its model is not deleted yet: {error}")
            raise
        self.events.tell(row.id, f"Deleted the tuned model at {row.backend}", type_="deleted")
        return lease.write(deleted_at=now(), note=None)

    def _record(self, lease: Lease, backend: FineTuneBackend, state: JobState) -> JobRow:
        """Events first: a job whose row says that it ended has its events stored, or an event that says why not."""
        note = self.events.collect_with(lease.row.id, backend, state)
        if state.progress.step is None:
            state = state.model_copy(update={"progress": self.store.told_progress(lease.row.id)})
        if note is not None and state.status.terminal:  # its last events are still to be had
            ending = {"status": JobStatus.FINALIZING, "state": state.model_dump(mode="json"), "polled_at": now()}
            return lease.write(**ending, due_at=now() + timedelta(seconds=SHORTEST), note=note)
        return lease.write(**columns_of(state, lease.row.created_at), events_due=False, note=note)

    # --- small things -----------------------------------------------------------------------------------------------

    def _cancelled(self, lease: Lease) -> JobRow:
        self.events.tell(lease.row.id, "Cancelled before anything was started")
        return lease.write(status=JobStatus.CANCELLED, finished_at=now(), note=None)

    def _fail(self, lease: Lease, error: TuneportError) -> JobRow:
        """End a job that was never started. Where only another provider can help, the reason names what it costs there.

        A provider that takes no jobs any more gets its files taken away: nobody will ever train on them there.
        """
        code = getattr(error, "code", None) or type(error).__name__
        elsewhere = list(self.alternatives(lease.row)) if code in ONLY_ELSEWHERE else []
        bound = code in ONLY_ELSEWHERE and lease.row.tune_spec.from_checkpoint is not None
        message = with_alternatives(str(error), elsewhere, bound_to=lease.row.backend if bound else None)
        details = {"alternatives": [alternative.as_dict() for alternative in elsewhere]} if elsewhere else {}
        failure = JobError(
            code=code,
            message=message,
            fault="provider" if error.exit_code == 3 else "user",
            retryable=getattr(error, "retryable", False),
            details=details,
        )
        self.events.tell(lease.row.id, message, level="error", type_="failed", data=details)
        return lease.write(
            status=JobStatus.FAILED,
            error=failure.model_dump(mode="json"),
            finished_at=now(),
            note=None,
            delete_files=lease.row.delete_files or code == "training_not_available",
        )


def _spec_for_backend(row: JobRow) -> TuneSpec:
    return row.tune_spec.model_copy(update={"model": row.model})


def not_before(row: JobRow, moment: datetime) -> bool:
    """Whether a job waits for a place, and the provider said until when it is not to be asked."""
    return row.waits_since is not None and row.due_at is not None and row.due_at > moment


def _waits(poll_seconds: float | None) -> Iterator[float]:
    """Half a second at first, for what is over soon, then slower, up to half a minute; or always the same."""
    wait = poll_seconds or 0.5
    while True:
        yield wait
        if poll_seconds is None:
            wait = min(wait * 1.15, 30.0)
