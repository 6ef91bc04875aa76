"""Drives a job's row from `preparing` to its end, one step at a time, under the row's lease.

What may be lost is a step's time, never a job: each step first writes what it is about to do, and begins by asking
what became of an earlier try. `submit` is called once for each recorded intent; an intent without an answer is settled
by `find(token)` and by nothing else.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from tuneport.backends.base import FineTuneBackend
from tuneport.data.prepare import prepare
from tuneport.errors import BudgetError, ProviderError, TuneportError, UnavailableError, UnsupportedError
from tuneport.jobs.store import LEASE_SECONDS, JobRow, LeaseLostError, Store
from tuneport.types import JobError, JobEvent, JobState, JobStatus, PreparedData, RemoteFile, TuneSpec, now

MAX_SUBMIT_ATTEMPTS = 3


class Worker:
    """One driver. `open_backend` gives the backend of a name; `files` is the folder for prepared files."""

    def __init__(self, store: Store, open_backend: Callable[[str], FineTuneBackend], files: Path) -> None:
        self.store = store
        self.open_backend = open_backend
        self.files = files
        self.owner = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"

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
            try:
                row = self.step(job_id)
                trouble_since = None
            except ProviderError as error:
                trouble_since = trouble_since or time.monotonic()
                if not error.retryable or time.monotonic() - trouble_since >= patience:
                    raise
                row = self.store.job(job_id)
                time.sleep(error.retry_after or 0)
            on_change(row)
            if row.job_status.terminal or until(row):
                return row
            time.sleep(self._pause(row, waits))

    def _pause(self, row: JobRow, waits: Iterator[float]) -> float:
        if row.job_status is JobStatus.SUBMITTING and row.submit_intent_at is None:
            return 0.0  # the next step is ours to take
        return next(waits)

    def step(self, job_id: str) -> JobRow:
        """Take one step if the lease is free, and return the row as it then is.

        A failure that ends the job is written to the row, not raised. Errors that do not end it (the backend is down,
        the key is wrong while polling) are noted in the row and raised.
        """
        row = self.store.claim(job_id, self.owner)
        if row is None:
            return self.store.job(job_id)
        try:
            with self._renewing(job_id):
                return self._advance(row)
        except LeaseLostError:
            return self.store.job(job_id)
        finally:
            self.store.release(job_id, self.owner)

    @contextmanager
    def _renewing(self, job_id: str) -> Iterator[None]:
        """Keep the lease while a long call (an upload, a validation) runs."""
        done = threading.Event()

        def renew() -> None:
            while not done.wait(LEASE_SECONDS / 4):
                self.store.claim(job_id, self.owner)

        thread = threading.Thread(target=renew, name=f"lease-{job_id}", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def _advance(self, row: JobRow) -> JobRow:
        status = row.job_status
        if status.terminal:
            return row
        if row.cancel_requested_at is not None and row.remote_id is None and row.submit_intent_at is None:
            self._tell(row, "Cancelled before anything was started")
            return self._write(row, status=JobStatus.CANCELLED, finished_at=now(), note=None)
        try:
            backend = self.open_backend(row.backend)
            if status is JobStatus.PREPARING:
                return self._prepare(row, backend)
            if status is JobStatus.SUBMITTING:
                return self._submit(row, backend)
            return self._poll(row, backend)
        except LeaseLostError:
            raise
        except ProviderError as error:
            if row.remote_id is not None or error.retryable:
                self._write(row, note=str(error))
                raise
            return self._fail(row, error)
        except TuneportError as error:
            if row.remote_id is not None:
                self._write(row, note=str(error))
                raise
            return self._fail(row, error)

    # --- the three phases -------------------------------------------------------------------------------------------

    def _prepare(self, row: JobRow, backend: FineTuneBackend) -> JobRow:
        spec = self._spec_for_backend(row)
        data = self._prepared(spec, backend)
        journalled = {file.sha256 for file in self.store.files(row.id)}
        for file in backend.prepare(spec, data):
            self.store.add_file(row.id, file)
            if file.sha256 not in journalled:
                self._tell(row, f"The {file.purpose} file is ready: {file.id}", type_="file")
        if spec.budget is not None:
            self._check_budget(row, spec, backend, self.store.files(row.id))
        return self._write(
            row, status=JobStatus.SUBMITTING, dataset_sha256=data.training.sha256, submit_intent_at=None, note=None
        )

    def _prepared(self, spec: TuneSpec, backend: FineTuneBackend) -> PreparedData:
        target = "openai-preference" if spec.method == "dpo" else backend.manifest.data_format
        training = prepare(spec.dataset, target, self.files)
        validation = None if spec.validation is None else prepare(spec.validation, target, self.files)
        return PreparedData(training=training, validation=validation)

    def _check_budget(self, row: JobRow, spec: TuneSpec, backend: FineTuneBackend, files: Sequence[RemoteFile]) -> None:
        """The provider's own quote, asked for now that its copy of the file is validated, has the last word."""
        quote = backend.quote(spec, files)
        if quote is None or spec.budget is None:
            return
        self._write(row, quote=quote.model_dump(mode="json"))
        if quote.expected is None:
            raise BudgetError(
                f"{row.backend} gives no price for this job ({quote.unavailable}) and there is a budget of "
                f"${spec.budget:.2f}; nothing was started; submit without --budget to go on"
            )
        if (quote.high or quote.expected) > spec.budget:
            raise BudgetError(
                f"{row.backend} asks ${quote.high or quote.expected:.2f} for this job, more than the budget of "
                f"${spec.budget:.2f}; nothing was started; raise --budget or train on fewer tokens"
            )

    def _submit(self, row: JobRow, backend: FineTuneBackend) -> JobRow:
        if row.submit_intent_at is not None:
            settled = self._settle(row, backend)
            if settled is not None:
                return settled
        if row.cancel_requested_at is not None:
            return self._write(row, status=JobStatus.CANCELLED, finished_at=now(), note=None)
        if row.submit_attempts >= MAX_SUBMIT_ATTEMPTS:
            return self._fail(
                row,
                UnavailableError(
                    f"{row.backend} took none of {row.submit_attempts} submits of {row.id}; no job was started there; "
                    "submit again later",
                    provider=row.backend,
                ),
            )
        # From this write on a crash leaves an intent, and the next step asks `find` before anything else.
        row = self._write(
            row, submit_intent_at=now(), absent_since=None, submit_attempts=row.submit_attempts + 1, note=None
        )
        try:
            state = backend.submit(self._spec_for_backend(row), self.store.files(row.id), token=row.token)
        except UnavailableError as error:
            self._write(row, note=f"the answer to the submit was lost ({error}); asking whether the job started")
            self._tell(row, f"The answer to the submit was lost: {error}", level="warning")
            return self.store.job(row.id)
        except TuneportError:
            self._write(row, submit_intent_at=None)  # any other error means that nothing started
            raise
        return self._adopt(row, backend, state)

    def _settle(self, row: JobRow, backend: FineTuneBackend) -> JobRow | None:
        """What became of the recorded intent: the row when there is something to wait for, None to submit anew."""
        found = backend.find(row.token)
        if found.answer == "found" and found.state is not None:
            self._tell(row, f"Found the job that an interrupted submit had started: {found.state.remote_id}")
            return self._adopt(row, backend, found.state)
        if found.answer == "unknown":
            return self._write(
                row,
                note=f"nobody knows yet whether the submit arrived ({found.reason}); asking again, starting nothing",
            )
        if row.absent_since is None:
            row = self._write(row, absent_since=now(), note="the submit seems not to have arrived; asking once more")
        assert row.absent_since is not None
        if now() - row.absent_since < timedelta(seconds=backend.settle_seconds):
            return row
        self._tell(row, "The interrupted submit did not arrive", level="warning")
        return None

    def _adopt(self, row: JobRow, backend: FineTuneBackend, state: JobState) -> JobRow:
        row = self._write(
            row,
            remote_id=state.remote_id,
            status=state.status,
            state=state.model_dump(mode="json"),
            absent_since=None,
            note=None,
        )
        self._tell(row, f"Submitted to {row.backend} as {state.remote_id}", type_="submitted")
        # Some jobs are over at once; their end has to go the same way as everybody's.
        return self._record(row, backend, state)

    def _poll(self, row: JobRow, backend: FineTuneBackend) -> JobRow:
        assert row.remote_id is not None
        if row.cancel_requested_at is not None and row.job_status is not JobStatus.CANCELLING:
            return self._record(row, backend, backend.cancel(row.remote_id))
        return self._record(row, backend, backend.fetch(row.remote_id))

    def record(self, job_id: str, state: JobState) -> JobRow:
        """Store a state that a list call brought, unless another process is at the job just now."""
        row = self.store.claim(job_id, self.owner)
        if row is None:
            return self.store.job(job_id)
        try:
            return self._record(row, self.open_backend(row.backend), state)
        except LeaseLostError:
            return self.store.job(job_id)
        finally:
            self.store.release(job_id, self.owner)

    def _record(self, row: JobRow, backend: FineTuneBackend, state: JobState) -> JobRow:
        """Events first: a job whose row says that it ended has all its events stored."""
        try:
            self.store.add_events(row.id, backend.events(state.remote_id, after=self.store.last_backend_event(row.id)))
        except UnsupportedError:
            pass  # a backend without events has none to lose
        return self._write(
            row,
            status=state.status,
            state=state.model_dump(mode="json"),
            error=None if state.error is None else state.error.model_dump(mode="json"),
            finished_at=(state.finished_at or now()) if state.status.terminal else None,
            polled_at=now(),
            note=None,
        )

    # --- small things -----------------------------------------------------------------------------------------------

    def _spec_for_backend(self, row: JobRow) -> TuneSpec:
        return row.tune_spec.model_copy(update={"model": row.model})

    def _write(self, row: JobRow, **values: object) -> JobRow:
        return self.store.write(row.id, self.owner, **values)

    def _fail(self, row: JobRow, error: TuneportError) -> JobRow:
        code = getattr(error, "code", None) or type(error).__name__
        failure = JobError(
            code=code,
            message=str(error),
            fault="provider" if error.exit_code == 3 else "user",
            retryable=getattr(error, "retryable", False),
        )
        self._tell(row, str(error), level="error", type_="failed")
        return self._write(
            row, status=JobStatus.FAILED, error=failure.model_dump(mode="json"), finished_at=now(), note=None
        )

    def _tell(self, row: JobRow, message: str, *, level: str = "info", type_: str = "message") -> None:
        event = JobEvent(
            id=f"tuneport-{uuid.uuid4().hex[:12]}",
            created_at=now(),
            level=level,  # type: ignore[arg-type]
            message=message,
            type=type_,
        )
        self.store.add_events(row.id, [event], origin="tuneport")


def _waits(poll_seconds: float | None) -> Iterator[float]:
    """Half a second at first, for what is over soon, then slower, up to half a minute; or always the same."""
    wait = poll_seconds or 0.5
    while True:
        yield wait
        if poll_seconds is None:
            wait = min(wait * 1.15, 30.0)
