"""Drives a job's row from `preparing` to its end, one step at a time, under the row's lease.

What may be lost is a step's time, never a job: each step first writes what it is about to do, and begins by asking
what became of an earlier try. `submit` is called once for each recorded intent; an intent without an answer is settled
by `find(token)` and by nothing else.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from tuneport.backends.base import FineTuneBackend
from tuneport.data.prepare import prepare
from tuneport.errors import (
    BudgetError,
    DatasetError,
    DatasetProblem,
    ProviderError,
    RejectedError,
    StorageError,
    TuneportError,
    UnavailableError,
    UnsupportedError,
)
from tuneport.jobs.leases import Lease, claimed
from tuneport.jobs.store import LeaseLostError, Store
from tuneport.jobs.tables import JobRow
from tuneport.types import DataFile, JobError, JobEvent, JobState, JobStatus, PreparedData, RemoteFile, TuneSpec, now

MAX_SUBMIT_ATTEMPTS = 3
EVENT_TRIES = 3
LONGEST_WAIT = 60.0


class Worker:
    """`open_backend` gives the backend of a name; `files` is the folder for prepared files. Threads may share one.

    `sleep`, `monotonic` and `clock` are time itself, for whoever wants another.
    """

    def __init__(
        self,
        store: Store,
        open_backend: Callable[[str], FineTuneBackend],
        files: Path,
        *,
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
        clock: Callable[[], datetime] = now,
    ) -> None:
        self.store = store
        self._sleep, self._monotonic, self._now = sleep, monotonic, clock
        self.open_backend = open_backend
        self.files = files
        self._event_failures: dict[str, int] = {}

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
            self._sleep(max(wait, 0.0 if ours_to_go_on else next(waits)))

    def step(self, job_id: str) -> JobRow:
        """Take one step if nobody else is at the row, and return the row as it then is.

        A failure that ends the job is written to the row, not raised. Errors that do not end it (the backend is down,
        the key is wrong while polling, the disk is full) are noted in the row and raised.
        """
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

    def _advance(self, lease: Lease) -> JobRow:
        row = lease.row
        if row.job_status.terminal:
            return row
        if row.cancel_requested_at is not None and row.remote_id is None and row.submit_intent_at is None:
            return self._cancelled(lease)
        try:
            backend = self.open_backend(row.backend)
            if row.job_status is JobStatus.PREPARING:
                return self._prepare(lease, backend)
            if row.job_status is JobStatus.SUBMITTING:
                return self._submit(lease, backend)
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
        data = self._prepared(lease.row)
        journalled = {file.sha256 for file in self.store.files(lease.row.id)}
        for file in backend.prepare(spec, data):
            self.store.add_file(lease.row.id, file)
            if file.sha256 not in journalled:
                self._tell(lease.row, f"The {file.purpose} file is ready: {file.id}", type_="file")
        if spec.budget is not None:
            self._check_budget(lease, spec, backend, self.store.files(lease.row.id))
        return lease.write(status=JobStatus.SUBMITTING, note=None)

    def _prepared(self, row: JobRow) -> PreparedData:
        """The files as they were at submit. One that was cleaned away is made again, if its source is the same."""
        data, spec = row.prepared_data, row.tune_spec
        for file, source in ((data.training, spec.dataset), (data.validation, spec.validation)):
            if file is None or source is None or file.path.is_file():
                continue
            again: DataFile = prepare(source, file.format, self.files)
            if again.sha256 != file.sha256:
                rule = f"has changed since {row.id} was submitted, and the copy made then is gone"
                raise DatasetError(DatasetProblem(str(source), None, "", rule, "submit it again"))
        return data

    def _check_budget(
        self, lease: Lease, spec: TuneSpec, backend: FineTuneBackend, files: Sequence[RemoteFile]
    ) -> None:
        """The provider's own quote, asked for now that its copy of the file is validated, has the last word."""
        quote = backend.quote(spec, files)
        if quote is None or spec.budget is None:
            return
        lease.write(quote=quote.model_dump(mode="json"))
        if quote.expected is None:
            raise BudgetError(
                f"{backend.name} gives no price for this job ({quote.unavailable}) and there is a budget of "
                f"${spec.budget:.2f}; nothing was started; submit without --budget to go on"
            )
        if (quote.high or quote.expected) > spec.budget:
            raise BudgetError(
                f"{backend.name} asks ${quote.high or quote.expected:.2f} for this job, more than the budget of "
                f"${spec.budget:.2f}; nothing was started; raise --budget or train on fewer tokens"
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
        # From this write on a crash leaves an intent, and the next step asks `find` before anything else.
        lease.write(submit_intent_at=now(), absent_since=None, submit_attempts=attempts + 1, note=None)
        spec, files = _spec_for_backend(lease.row), self.store.files(lease.row.id)
        lease.ensure()
        try:
            state = backend.submit(spec, files, token=lease.row.token)
        except UnavailableError as error:
            self._tell(lease.row, f"The answer to the submit was lost: {error}", level="warning")
            return lease.write(note=f"the answer to the submit was lost ({error}); asking whether the job started")
        except TuneportError:
            lease.write(submit_intent_at=None, submit_attempts=attempts)  # any other error: nothing started
            raise
        return self._adopt(lease, backend, state)

    def _settle(self, lease: Lease, backend: FineTuneBackend) -> JobRow | None:
        """What became of the recorded intent: the row when there is something to wait for, None to submit anew."""
        row = lease.row
        found = backend.find(row.token)
        if found.answer == "found" and found.state is not None:
            self._tell(row, f"Found the job that an interrupted submit had started: {found.state.remote_id}")
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
        self._tell(row, "The interrupted submit did not arrive", level="warning")
        lease.write(submit_intent_at=None)
        return None

    def _adopt(self, lease: Lease, backend: FineTuneBackend, state: JobState) -> JobRow:
        """Write down whose job it is at once; its end, if it is over already, goes the way of everybody's."""
        status = JobStatus.FINALIZING if state.status.terminal else state.status
        # Told first: of a row with a remote id nobody would know any more that it was not.
        told = f"Submitted to {backend.name} as {state.remote_id}"
        self._tell(lease.row, told, type_="submitted", once=state.remote_id)
        lease.write(remote_id=state.remote_id, status=status, absent_since=None, note=None)
        return self._record(lease, backend, state)

    def _poll(self, lease: Lease, backend: FineTuneBackend) -> JobRow:
        assert lease.row.remote_id is not None
        if lease.row.cancel_requested_at is not None and lease.row.job_status is not JobStatus.CANCELLING:
            try:
                return self._record(lease, backend, backend.cancel(lease.row.remote_id))
            except RejectedError as error:
                row = self._record(lease, backend, backend.fetch(lease.row.remote_id))
                return row if row.job_status.terminal else lease.write(note=f"it cannot be cancelled now: {error}")
        return self._record(lease, backend, backend.fetch(lease.row.remote_id))

    def _record(self, lease: Lease, backend: FineTuneBackend, state: JobState) -> JobRow:
        """Events first: a job whose row says that it ended has its events stored, or an event that says why not."""
        note = self._store_events(lease.row, backend, state)
        if note is not None and state.status.terminal:  # its last events are still to be had
            ending = JobStatus.FINALIZING
            return lease.write(status=ending, state=state.model_dump(mode="json"), polled_at=now(), note=note)
        return lease.write(
            status=state.status,
            state=state.model_dump(mode="json"),
            error=None if state.error is None else state.error.model_dump(mode="json"),
            finished_at=(state.finished_at or now()) if state.status.terminal else None,
            polled_at=now(),
            note=note,
        )

    def _store_events(self, row: JobRow, backend: FineTuneBackend, state: JobState) -> str | None:
        """Fetch what is new. Trouble is a note.

        At the job's end it is tried again some times, with the note or, where waiting helps, with the error; then it is
        told as an event.
        """
        try:
            self.store.add_events(row.id, backend.events(state.remote_id, after=self.store.last_backend_event(row.id)))
        except UnsupportedError:
            pass  # a backend without events has none to lose
        except ProviderError as error:
            note = f"its events cannot be read: {error}"
            if not state.status.terminal:
                return note
            failures = self._event_failures[row.id] = self._event_failures.get(row.id, 0) + 1
            if failures < EVENT_TRIES:
                if error.retryable:
                    raise
                return note
            self._tell(row, f"The backend's last events could not be read: {error}", level="warning")
        return None

    # --- small things -----------------------------------------------------------------------------------------------

    def _cancelled(self, lease: Lease) -> JobRow:
        self._tell(lease.row, "Cancelled before anything was started")
        return lease.write(status=JobStatus.CANCELLED, finished_at=now(), note=None)

    def _fail(self, lease: Lease, error: TuneportError) -> JobRow:
        """End a job that was never started."""
        failure = JobError(
            code=getattr(error, "code", None) or type(error).__name__,
            message=str(error),
            fault="provider" if error.exit_code == 3 else "user",
            retryable=getattr(error, "retryable", False),
        )
        self._tell(lease.row, str(error), level="error", type_="failed")
        return lease.write(status=JobStatus.FAILED, error=failure.model_dump(mode="json"), finished_at=now(), note=None)

    def _tell(
        self, row: JobRow, message: str, *, level: str = "info", type_: str = "message", once: str | None = None
    ) -> None:
        """`once` names what is told: a second time it is not."""
        event = JobEvent(
            id=f"tuneport-{once or uuid.uuid4().hex[:12]}",
            created_at=now(),
            level=level,  # type: ignore[arg-type]
            message=message,
            type=type_,
        )
        self.store.add_events(row.id, [event], origin="tuneport")


def _spec_for_backend(row: JobRow) -> TuneSpec:
    return row.tune_spec.model_copy(update={"model": row.model})


def _waits(poll_seconds: float | None) -> Iterator[float]:
    """Half a second at first, for what is over soon, then slower, up to half a minute; or always the same."""
    wait = poll_seconds or 0.5
    while True:
        yield wait
        if poll_seconds is None:
            wait = min(wait * 1.15, 30.0)
