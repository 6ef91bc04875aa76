"""Drives a job's row from `preparing` to its end, one step at a time, under the row's lease.

A crash may lose a step's time, never a job: each step first writes what it is about to do, and begins by asking what
became of an earlier try. `submit` is called once for each recorded intent; an intent without an answer is settled by
`find(token)` or by a person's word, and by nothing else (see `unclear_starts`).
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from tuneport.backends.base import FineTuneBackend
from tuneport.backends.hosted.http.loop_guard import forwarded_via_gateways
from tuneport.errors import (
    ConfigError,
    NotFoundError,
    ProviderError,
    RateLimitError,
    StorageError,
    TuneportError,
    UnavailableError,
    UnresolvedStartError,
    UnsupportedError,
)
from tuneport.formatting import money
from tuneport.lifecycle.planning.alternatives import JobAlternative
from tuneport.lifecycle.schema.machine_clock import StoreClockReading, read_store_machine_clock
from tuneport.lifecycle.schema.records import JobRecord
from tuneport.lifecycle.store.store import LeaseLostError, Store
from tuneport.lifecycle.worker.endings import JobEndings
from tuneport.lifecycle.worker.event_collection import JobEventCollector
from tuneport.lifecycle.worker.leases import JobLease, claim_job_lease, describe_lease_owner
from tuneport.lifecycle.worker.poll_interval import SHORTEST
from tuneport.lifecycle.worker.preparing import (
    compare_job_with_our_quote,
    refuse_job_quote_above_budget,
    restore_submitted_job_files,
)
from tuneport.lifecycle.worker.recording import FAILED_AGAIN, job_state_columns
from tuneport.lifecycle.worker.remote_files import JobRemoteFiles
from tuneport.lifecycle.worker.stopping import OverfittingJobStop
from tuneport.lifecycle.worker.unclear_starts import MOST_STARTS, UnclearStarts
from tuneport.types import JobState, JobStatus, TuneSpec, now

_ADVICE = re.compile(r"; [^;]*try again later$")
"""The end of a provider's error. Who obeys it after a lost answer pays twice."""
LONGEST_WAIT = 60.0
LOOK_AGAIN_SECONDS = 10.0
"""Seconds after which a job that occupies a slot is polled by the jobs that wait for it, unless it was polled since."""


class JobWorker:
    """`open_backend` gives the backend of a name; `files` is the folder for prepared files. Threads may share one.

    `fetch` gets a content that a gateway's client uploaded, by its hash, and returns its path on this machine.
    `alternatives` ranks the other backends for a job that its own one does not take. `monthly_budget`: what all jobs of
    a calendar month may cost, in US dollars; a provider's own quote is held against it, too. `sleep`, `monotonic`,
    `clock` and `machine_clock` are the time, which tests replace.
    """

    def __init__(
        self,
        store: Store,
        open_backend: Callable[[str], FineTuneBackend],
        files: Path,
        *,
        fetch: Callable[[str], Path],
        alternatives: Callable[[JobRecord], Sequence[JobAlternative]] = lambda row: (),
        monthly_budget: float | None = None,
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
        clock: Callable[[], datetime] = now,
        machine_clock: Callable[[], StoreClockReading] = read_store_machine_clock,
    ) -> None:
        self.store = store
        self._sleep, self._monotonic, self._now = sleep, monotonic, clock
        self.open_backend = open_backend
        self.files, self.fetch = files, fetch
        self.monthly_budget = monthly_budget
        self.remote_files = JobRemoteFiles(store, open_backend)
        self.events = JobEventCollector(store)
        self.overfitting = OverfittingJobStop(self.events, clock=clock)
        self.endings = JobEndings(self.events, alternatives)
        self.unclear = UnclearStarts(store, self.events, clock=clock, machine_clock=machine_clock)

    def drive(
        self,
        job_id: str,
        *,
        until: Callable[[JobRecord], bool],
        on_change: Callable[[JobRecord], None] = lambda row: None,
        patience: float = 900.0,
        poll_seconds: float | None = None,
    ) -> JobRecord:
        """Drive the job step by step until `until(row)` or the end; call `on_change` after each step.

        While another process holds the lease, watch what it does. Retryable provider errors are retried for `patience`
        seconds in a row, then raised; others are raised at once. The row stays and says why. Raises
        UnresolvedStartError if only a person can say whether the job was started.
        """
        for row, seconds in self.turns(job_id, patience=patience, poll_seconds=poll_seconds):
            on_change(row)
            if row.job_status.terminal or until(row):
                break
            self._sleep(seconds)
        return row

    def turns(
        self, job_id: str, *, patience: float = 900.0, poll_seconds: float | None = None
    ) -> Iterator[tuple[JobRecord, float]]:
        """Take a step on each `next`, and yield the row with the seconds to wait before the next one; end with the job.

        See `drive` for what it raises.
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
                row = self.store.jobs.get(job_id)
                wait = min(error.retry_after or 0.0, patience_left, LONGEST_WAIT)
            if row.job_status.terminal:
                yield row, 0.0
                return
            if row.remote_id is None and (question := row.job_submission.question) is not None:
                yield row, 0.0
                raise UnresolvedStartError(question, provider=row.backend)
            ours_to_go_on = row.job_status is JobStatus.SUBMITTING and row.submit_intent_at is None and row.note is None
            if is_job_slot_dated(row, self._now()) and row.due_at is not None:
                wait = max(wait, min((row.due_at - self._now()).total_seconds(), LONGEST_WAIT))
            yield row, max(wait, 0.0 if ours_to_go_on else next(waits))

    def step(self, job_id: str) -> JobRecord:
        """Take one step if no other worker holds the row, and return the row as it then is.

        A failure that ends the job is written to the row, not raised. Errors that do not end it (the backend is down,
        the key is wrong while polling, the disk is full) are noted in the row and raised. When a job has ended, its
        files are deleted at the provider, if that is asked for.
        """
        row = self._step(job_id)
        if row.job_status.terminal:
            self.remote_files.delete_unneeded_files(row.backend)
        return row

    def _step(self, job_id: str) -> JobRecord:
        try:
            with claim_job_lease(self.store, job_id) as lease:
                if lease is not None:
                    return self._advance(lease)
        except LeaseLostError:
            return self.store.jobs.get(job_id)
        row = self.store.jobs.get(job_id)
        told = f"{describe_lease_owner(row.lease_owner)} drives this job; there is nothing to do here"
        return replace(row, note=told)  # it is not stored

    def record(self, job_id: str, state: JobState) -> JobRecord:
        """Store a state that a list call brought, unless the job has ended or another process is at it."""
        try:
            with claim_job_lease(self.store, job_id) as lease:
                if lease is not None and not lease.row.job_status.terminal:
                    return self._record(lease, self.open_backend(lease.row.backend), state)
        except LeaseLostError:
            pass  # the worker that took it over knows better
        return self.store.jobs.get(job_id)

    def collect_events(self, job_id: str) -> None:
        """Store the events that the backend has and the store does not. Raises ProviderError if they cannot be read."""
        row = self.store.jobs.get(job_id)
        if row.remote_id is not None:
            self.events.collect(row.id, self.open_backend(row.backend), row.remote_id)
            self.store.events.mark_stored(row.id)

    def _advance(self, lease: JobLease) -> JobRecord:
        row = lease.row
        if row.job_status.terminal:
            return self._delete(lease) if row.delete_requested_at is not None and row.deleted_at is None else row
        if row.cancel_requested_at is not None and row.remote_id is None and row.submit_intent_at is None:
            return self.endings.end_cancelled_job(lease)
        try:
            backend = self.open_backend(row.backend)
            if row.job_status in (JobStatus.PREPARING, JobStatus.SUBMITTING):
                begin = self._prepare if row.job_status is JobStatus.PREPARING else self._submit
                with forwarded_via_gateways(self.store.requests.read_gateway_hops(row.id)):
                    return begin(lease, backend)
            return self._poll(lease, backend)
        except LeaseLostError:
            raise
        except TuneportError as error:
            passing = isinstance(error, StorageError) or (isinstance(error, ProviderError) and error.retryable)
            if lease.row.remote_id is None and lease.row.submit_intent_at is None and not passing:
                return self.endings.end_failed_job(lease, error)
            lease.write(note=str(error))
            raise

    # --- the three phases -------------------------------------------------------------------------------------------

    def _prepare(self, lease: JobLease, backend: FineTuneBackend) -> JobRecord:
        spec = _spec_for_backend(lease.row, backend)
        data = restore_submitted_job_files(lease.row, self.files, self.fetch)
        journalled = {file.sha256 for file in self.store.files.list_job_files(lease.row.id)}
        for file in backend.prepare(spec, data):
            self.store.files.add(lease.row.id, file)
            if self.store.files.is_being_deleted(backend.name, file.id):
                return lease.write(note=f"{file.id} is being deleted at {backend.name}; it will be uploaded again")
            if file.sha256 not in journalled:
                self.events.add_tuneport_event(
                    lease.row.id, f"The {file.purpose} file is ready: {file.id}", type_="file"
                )
        self._ask_price(lease, backend, spec)
        return lease.write(status=JobStatus.SUBMITTING, note=None)

    def _ask_price(self, lease: JobLease, backend: FineTuneBackend, spec: TuneSpec) -> None:
        """Replace our quote by the provider's own, if it gives one. If there is a budget, the quote must be known and
        within it; without a budget, a provider that cannot be asked delays nothing."""
        budgeted = spec.budget is not None or self.monthly_budget is not None
        try:
            quote = backend.quote(spec, self.store.files.list_job_files(lease.row.id))
        except ProviderError as error:
            if budgeted:
                raise
            self.events.add_tuneport_event(lease.row.id, f"{backend.name} gave no price: {error}", level="warning")
            return
        if quote is None or not (budgeted or quote.authority == "provider"):
            return
        quote = compare_job_with_our_quote(quote, lease.row.job_quote)
        lease.write(quote=quote.model_dump(mode="json"))
        if spec.budget is not None:
            refuse_job_quote_above_budget(spec.budget, quote)
        lease.row = self.store.leases.write_quote(lease.row.id, lease.owner, quote, monthly_budget=self.monthly_budget)
        if quote.expected is not None:
            self.events.add_tuneport_event(
                lease.row.id, f"{backend.name} asks {money(quote.expected)}: {quote.explanation}", type_="quote"
            )

    def _submit(self, lease: JobLease, backend: FineTuneBackend) -> JobRecord:
        if lease.row.submit_intent_at is not None:
            outcome = self.unclear.settle_start(lease, backend)
            if isinstance(outcome, JobState):
                return self._adopt(lease, backend, outcome)
            if outcome is not None:
                undecided = outcome.job_submission.question is not None and outcome.cancel_requested_at is not None
                return (
                    self.endings.end_given_up_job(lease, self.unclear.next_duplicate_check(outcome, backend))
                    if undecided
                    else outcome
                )
        if lease.row.cancel_requested_at is not None:
            return self.endings.end_cancelled_job(lease, self.unclear.next_duplicate_check(lease.row, backend))
        attempts = lease.row.submit_attempts
        if attempts >= MOST_STARTS:  # only where ABSENT is certain: elsewhere a person was asked before
            return self.endings.end_failed_job(
                lease,
                UnavailableError(
                    f"{backend.name} took none of {attempts} submits of {lease.row.id}; no job was started there; "
                    "submit again later",
                    provider=backend.name,
                ),
            )
        if is_job_slot_dated(lease.row, self._now()):
            return lease.row  # the provider said when
        earlier = self.unclear.find_earlier_start(lease, backend)
        if earlier is not None:
            return self._adopt(lease, backend, earlier) if isinstance(earlier, JobState) else earlier
        # From this write on a crash leaves an intent, and the next step asks `find` before anything else.
        intent = self.unclear.submit_intent_columns(lease.row) | {"submit_attempts": attempts + 1, "note": None}
        if not self._acquire_slot(lease, backend, intent):
            return lease.row
        spec, files = _spec_for_backend(lease.row, backend), self.store.files.list_job_files(lease.row.id)
        lease.renew_now()
        try:
            state = backend.submit(spec, files, token=lease.row.token)
        except UnavailableError as error:
            why = _ADVICE.sub("", str(error))
            self.events.add_tuneport_event(lease.row.id, f"The answer to the submit was lost: {why}", level="warning")
            return lease.write(note=f"the answer to the submit was lost ({why}); it is not known whether it started")
        except RateLimitError as error:
            # Too many requests, or too many jobs: either passes, costs no attempt and is no failure. (Not a daily
            # limit: that is not retryable, and users with a deadline need to know today.)
            lease.write(submit_intent_at=None, submit_attempts=attempts)
            if not error.retryable:
                raise
            return self._wait_for_slot(lease, f"waits until {backend.name} takes another job: {error}", error)
        except TuneportError:
            lease.write(submit_intent_at=None, submit_attempts=attempts)  # any other error: nothing started
            raise
        if (reason := self.unclear.misnamed_job_reason(lease, backend, state)) is not None:
            told = f"{backend.name} answered the submit with a job that is not this one: {reason}"
            self.events.add_tuneport_event(lease.row.id, told, level="warning")
            return lease.write(note=f"{told}; it is not known whether it started")
        return self._adopt(lease, backend, state)

    # --- slots: how many jobs an account may have at once ----------------------------------------------------------

    def _acquire_slot(self, lease: JobLease, backend: FineTuneBackend, intent: dict[str, Any]) -> bool:
        """Write the intent, or else the reason why the job waits for others of the account to end."""
        limit = backend.manifest.limits.concurrent_jobs
        value = None if limit is None else limit.value
        row, blocking = self.store.schedule.acquire_slot(lease.row.id, lease.owner, limit=value, **intent)
        if row is None and blocking:
            for job_id in blocking:
                self._refresh_blocking_job(
                    job_id, backend
                )  # no other worker might, and one that has ended blocks no more
            row, blocking = self.store.schedule.acquire_slot(lease.row.id, lease.owner, limit=value, **intent)
        if row is not None:
            lease.row = row
            return True
        lease.renew_now()
        listed = ", ".join(blocking[:3]) + (f" and {len(blocking) - 3} more" if len(blocking) > 3 else "")
        note = f"waits for one of the {len(blocking)} jobs {listed} to end (limit of the account: {value} at once)"
        self._wait_for_slot(lease, note)
        return False

    def _wait_for_slot(self, lease: JobLease, note: str, error: ProviderError | None = None) -> JobRecord:
        due = None if error is None or error.retry_after is None else self._now() + timedelta(seconds=error.retry_after)
        if lease.row.waits_since is None:
            self.events.add_tuneport_event(lease.row.id, note[0].upper() + note[1:], type_="waiting")
        return lease.write(note=note, waits_since=lease.row.waits_since or now(), due_at=due or lease.row.due_at)

    def _refresh_blocking_job(self, job_id: str, backend: FineTuneBackend) -> None:
        """Refresh another job that occupies a slot (poll it, or resolve its interrupted submit). It never starts
        one."""
        row = self.store.jobs.get(job_id)
        if row.remote_id is None and row.submit_intent_at is None:
            return  # it only waits, as we do: to take its lease would keep its driver from it
        if row.polled_at is not None and self._now() - row.polled_at < timedelta(seconds=LOOK_AGAIN_SECONDS):
            return
        with contextlib.suppress(ProviderError, LeaseLostError), claim_job_lease(self.store, job_id) as lease:
            if lease is None or lease.row.job_status.terminal:
                return
            if lease.row.remote_id is not None:
                self._poll(lease, backend)
            elif lease.row.submit_intent_at is not None:
                outcome = self.unclear.settle_start(lease, backend)
                if isinstance(outcome, JobState):
                    self._adopt(lease, backend, outcome)

    def _adopt(self, lease: JobLease, backend: FineTuneBackend, state: JobState) -> JobRecord:
        """Record the job's remote id at once; if the job has already ended, its end is handled like any other."""
        status = JobStatus.FINALIZING if state.status.terminal else state.status
        # The event comes first: a row with a remote id no longer shows that it had none.
        told = f"Submitted to {backend.name} as {state.remote_id}"
        self.events.add_tuneport_event(lease.row.id, told, type_="submitted", once=state.remote_id)
        submission = lease.row.job_submission.model_copy(update={"question": None, "candidates": ()})
        lease.write(
            remote_id=state.remote_id,
            status=status,
            submission=submission.model_dump(mode="json"),
            recheck_at=self.unclear.next_duplicate_check(lease.row, backend),
            waits_since=None,
            note=None,
        )
        return self._record(lease, backend, state)

    def resolve(self, job_id: str, *, started: str | None, force: bool = False) -> JobRecord:
        """Take a person's word on a start whose outcome is unknown: the provider's job `started`, or, with None, that
        there is none.

        `force`: before tuneport has looked as long as it would, or for a job that looks different. Raises ConfigError
        if the job cannot be that one, or if there is nothing to decide.
        """
        with claim_job_lease(self.store, job_id) as lease:
            if lease is None:
                raise self._held_by_another(job_id)
            row = lease.row
            if row.remote_id is not None:
                raise ConfigError(f"{row.id} is {row.remote_id} at {row.backend}; there is nothing to decide")
            if row.job_status.terminal or (row.submit_intent_at is None and not row.job_submission.unclear):
                raise ConfigError(f"{row.id} is {row.status} and no answer is missing; there is nothing to decide")
            if started is None:
                if row.job_submission.question is None and not force:
                    raise ConfigError(
                        f"{row.id} is still looked for at {row.backend}; `tuneport watch {row.id}` continues that, "
                        "or add --force to pay for another start now"
                    )
                return self.unclear.record_not_started(lease)
            backend = self.open_backend(row.backend)
            state = backend.fetch(started)
            if (reason := self.unclear.foreign_job_reason(row, backend, state)) is not None:
                raise ConfigError(f"{started} cannot be {row.id}: {reason}; name another job")
            if not force and (reason := self.unclear.job_difference(row, state)) is not None:
                raise ConfigError(f"{started} does not look like {row.id}: {reason}; name another job, or add --force")
            self.events.add_tuneport_event(row.id, f"A person said that {started} is this job")
            return self._adopt(lease, backend, state)

    def recheck(self, job_id: str) -> JobRecord:
        """Poll once more a job that may have changed unseen; does nothing if that is not due.

        A provider may take back that a job failed, and after an unclear start a second job may have come up.
        """
        with claim_job_lease(self.store, job_id) as lease:
            if lease is None or lease.row.recheck_at is None or lease.row.recheck_at > self._now():
                return self.store.jobs.get(job_id)
            backend = self.open_backend(lease.row.backend)
            if not lease.row.job_status.terminal and lease.row.remote_id is None:
                return self._submit(lease, backend)  # a person is asked, and it may have shown itself
            try:
                if lease.row.job_submission.unclear:
                    self.unclear.look_for_duplicates(lease, backend)
                if lease.row.job_status is JobStatus.FAILED and lease.row.remote_id is not None:
                    self._ask_about_failure(lease, backend, lease.row.remote_id)
            except ProviderError:
                return lease.write(recheck_at=self._now() + timedelta(seconds=FAILED_AGAIN))
            if lease.row.job_submission.unclear and (left := self.unclear.seconds_until_settled(lease, backend)) > 0:
                return lease.write(recheck_at=self._now() + timedelta(seconds=left))
            return lease.write(recheck_at=None)

    def _ask_about_failure(self, lease: JobLease, backend: FineTuneBackend, remote_id: str) -> None:
        try:
            state = backend.fetch(remote_id)
        except NotFoundError:
            return  # deleted over there since
        if state.status is JobStatus.FAILED:
            return
        told = f"{backend.name} takes back that the job failed: it is {state.raw_status}"
        self.events.add_tuneport_event(lease.row.id, told, level="warning", type_="taken_back")
        lease.row = self.store.leases.reopen(lease.row.id, lease.owner)
        self._record(lease, backend, state)

    def _poll(self, lease: JobLease, backend: FineTuneBackend) -> JobRecord:
        row = lease.row
        assert row.remote_id is not None
        if row.cancel_requested_at is not None and row.job_status is not JobStatus.CANCELLING:
            return self._ask(lease, backend, backend.cancel, "cancelled")
        if row.requested_action is not None:
            return self._apply_action(lease, backend, row.requested_action)
        self._record(lease, backend, backend.fetch(row.remote_id))
        return self.overfitting.check_curve(lease, backend)

    def check_curve(self, job_id: str) -> None:
        """Check the curve; see `OverfittingJobStop.check_curve`. Does nothing if another worker holds the row."""
        with contextlib.suppress(LeaseLostError), claim_job_lease(self.store, job_id) as lease:
            if lease is not None and not lease.row.job_status.terminal:
                self.overfitting.check_curve(lease, self.open_backend(lease.row.backend))

    def _apply_action(self, lease: JobLease, backend: FineTuneBackend, requested_action: str) -> JobRecord:
        calls = {
            "pause": (backend.pause, "paused"),
            "resume": (backend.resume, "resumed"),
            "stop": (backend.stop_early, "stopped"),
        }
        row = self._ask(lease, backend, *calls[requested_action])
        if requested_action == "stop":
            row = self.overfitting.withdraw_stop_note(lease)
        return row if row.requested_action is None else lease.write(requested_action=None)

    def _ask(self, lease: JobLease, backend: FineTuneBackend, call: Callable[[str], JobState], done: str) -> JobRecord:
        """Ask the backend for the requested action, and for the state if that fails, so that the job is still followed.

        A refusal is a note, whatever its kind (a key may read and not cancel); a transient error is raised.
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
            return lease.write(note=f"it cannot be {done} now: {error}", requested_action=None)
        return self._record(lease, backend, state)

    def _held_by_another(self, job_id: str) -> UnavailableError:
        row = self.store.jobs.get(job_id)
        holder = describe_lease_owner(row.lease_owner)
        return UnavailableError(f"{holder} drives {job_id} just now; try again in a moment", provider=row.backend)

    def resume_failed_job(self, job_id: str) -> JobRecord:
        """Resume a failed job at its backend, and follow it again. Raises RejectedError if it would only fail again,
        and BudgetError if the month has no room for the rest of it; then it stays as it is."""
        backend = self.open_backend(self.store.jobs.get(job_id).backend)
        with claim_job_lease(self.store, job_id) as lease:
            if lease is None:
                raise self._held_by_another(job_id)
            if lease.row.job_status is not JobStatus.FAILED:
                return lease.row  # another worker was quicker
            ended = {name: getattr(lease.row, name) for name in ("status", "finished_at", "reserved_usd")}
            lease.row = self.store.leases.reopen(job_id, lease.owner, monthly_budget=self.monthly_budget)
            try:
                state = backend.resume(str(lease.row.remote_id))
            except UnavailableError:
                raise  # it may go on: the next look tells
            except TuneportError:
                lease.write(**ended)
                raise
            return self._record(lease, backend, state)

    def _delete(self, lease: JobLease) -> JobRecord:
        """Delete the tuned model of an ended job. A model that is already gone counts as deleted."""
        row = lease.row
        try:
            self.open_backend(row.backend).delete(str(row.remote_id))
        except NotFoundError:
            pass
        except TuneportError as error:
            lease.write(note=f"its model is not deleted yet: {error}")
            raise
        self.events.add_tuneport_event(row.id, f"Deleted the tuned model at {row.backend}", type_="deleted")
        return lease.write(deleted_at=now(), note=None)

    def _record(self, lease: JobLease, backend: FineTuneBackend, state: JobState) -> JobRecord:
        """Write the state, after its events: a job whose row says that it ended has its events stored, or an event that
        says why not."""
        if lease.row.job_submission.unclear and state.status.terminal:
            with contextlib.suppress(UnavailableError):  # asked again when the time is over: `recheck`
                self.unclear.look_for_duplicates(lease, backend)
        note = self.events.collect_before_state(lease.row.id, backend, state)
        if state.progress.step is None:
            state = state.model_copy(update={"progress": self.store.events.read_job_progress(lease.row.id)})
        if note is not None and state.status.terminal:  # its last events are still to be had
            ending = {"status": JobStatus.FINALIZING, "state": state.model_dump(mode="json"), "polled_at": now()}
            return lease.write(**ending, due_at=now() + timedelta(seconds=SHORTEST), note=note)
        return lease.write(**job_state_columns(state, lease.row.created_at), events_due=False, note=note)


def _spec_for_backend(row: JobRecord, backend: FineTuneBackend) -> TuneSpec:
    """Return the spec with the backend's id of the model, and with the numbers that were settled for it: the row keeps
    what the user wrote."""
    changes: dict[str, Any] = {"model": row.model}
    settled = None if row.job_estimate is None else row.job_estimate.training
    if settled is not None and not backend.settles_numbers:
        changes["hyperparameters"] = settled.hyperparameters
    return row.tune_spec.model_copy(update=changes)


def is_job_slot_dated(row: JobRecord, moment: datetime) -> bool:
    """Return whether a job waits for a slot, and the provider said until when it is not to be asked."""
    return row.waits_since is not None and row.due_at is not None and row.due_at > moment


def _waits(poll_seconds: float | None) -> Iterator[float]:
    """Yield the seconds of each wait: half a second at first, then longer, up to half a minute; or always the same."""
    wait = poll_seconds or 0.5
    while True:
        yield wait
        if poll_seconds is None:
            wait = min(wait * 1.15, 30.0)
