"""A job as its row on the list and the head of its page show it: every figure beside where it comes from."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tuneport.backends.base import FineTuneBackend
from tuneport.errors import TuneportError
from tuneport.jobs.budgets import Projection, projection
from tuneport.jobs.estimates import Actual, JobEstimate
from tuneport.jobs.overview import Listed, cost_so_far
from tuneport.serve.gateway import Gateway
from tuneport.serve.job_document import model_name
from tuneport.serve.job_documents import by_file
from tuneport.types import JobState, JobStatus, Progress, Quote

TONES = {JobStatus.SUCCEEDED: "pass", JobStatus.FAILED: "fail", JobStatus.CANCELLED: "off", JobStatus.PAUSED: "warn"}


@dataclass(frozen=True)
class JobView:
    listed: Listed

    @property
    def id(self) -> str:
        return self.listed.id

    @property
    def path(self) -> str:
        return f"/jobs/{self.id}"

    @property
    def name(self) -> str:
        """What its owner called it, else the model that it was asked for."""
        return self.suffix or self.requested_model

    @property
    def suffix(self) -> str | None:
        given = self._asked("suffix")
        return None if given is None else str(given)

    @property
    def requested_model(self) -> str:
        request, row = self.listed.request, self.listed.row
        if request is not None:
            return str(request.body["model"])
        assert row is not None
        return str(row.spec["model"])

    def _asked(self, name: str) -> Any:
        if self.listed.row is not None:
            return self.listed.row.spec.get(name)
        assert self.listed.request is not None
        return self.listed.request.body.get(name)

    @property
    def model(self) -> str | None:
        return None if self.listed.row is None else self.listed.row.model

    @property
    def backend(self) -> str | None:
        found = self.listed.row or self.listed.request
        return None if found is None else found.backend

    @property
    def status(self) -> JobStatus:
        return self.listed.status

    @property
    def tone(self) -> str:
        return TONES.get(self.status, "busy")

    @property
    def unfinished(self) -> bool:
        return not self.status.terminal

    @property
    def created_at(self) -> datetime:
        return self.listed.created_at

    @property
    def finished_at(self) -> datetime | None:
        found = self.listed.row or self.listed.request
        return None if found is None else found.finished_at

    @property
    def state(self) -> JobState | None:
        return None if self.listed.row is None else self.listed.row.job_state

    @property
    def progress(self) -> Progress:
        return Progress() if self.state is None else self.state.progress

    @property
    def share(self) -> float | None:
        """Of its steps, 0 to 1."""
        progress = self.progress
        if progress.step is None or not progress.total_steps:
            return None
        return min(1.0, progress.step / progress.total_steps)

    @property
    def error(self) -> str | None:
        if self.status is not JobStatus.FAILED:
            return None
        row, request = self.listed.row, self.listed.request
        told = (row.error if row is not None else request.error if request is not None else None) or {}
        message = str(told.get("message") or "the backend gives no reason")
        return message if request is None else by_file(request, message)

    @property
    def note(self) -> str | None:
        """Why nothing moves at present."""
        row = self.listed.row
        if row is None:
            return "The gateway reads and checks the data." if self.unfinished else None
        if row.note:
            return row.note
        waits = None if self.state is None else self.state.details.get("waits")
        return None if waits is None else str(waits)

    @property
    def tuned_model(self) -> str | None:
        row, request = self.listed.row, self.listed.request
        if row is None or row.tuned_model is None or row.deleted_at is not None:
            return None
        return row.tuned_model if request is None else model_name(request, row)

    # --- what it costs and takes --------------------------------------------------------------------------------------

    @property
    def quote(self) -> Quote | None:
        return None if self.listed.row is None else self.listed.row.job_quote

    @property
    def estimate(self) -> JobEstimate | None:
        return None if self.listed.row is None else self.listed.row.job_estimate

    @property
    def actual(self) -> Actual | None:
        return None if self.listed.row is None else self.listed.row.job_actual

    @property
    def spent(self) -> tuple[float, str] | None:
        """US dollars so far, or in all once it has ended, and by what that is known."""
        if self.actual is not None:
            return None if self.actual.usd is None else (self.actual.usd, self.actual.usd_because)
        return None if self.listed.row is None else cost_so_far(self.listed.row)

    @property
    def projected(self) -> Projection | None:
        return None if self.listed.row is None else projection(self.listed.row)

    @property
    def budget(self) -> float | None:
        return None if self.listed.row is None else self.listed.row.budget_usd


def can(gateway: Gateway, view: JobView) -> dict[str, bool]:
    """Which wishes make sense now, where its backend has them."""
    row, status = view.listed.row, view.status
    offered = {"pause": False, "resume": False}
    resumes_failed = False
    if row is not None and row.remote_id is not None:
        try:
            backend = gateway.workspace.backend(row.backend)
        except TuneportError:  # its key is gone, say: what was asked of it before is still worth looking at
            backend = None
        if backend is not None:
            for verb in offered:
                offered[verb] = getattr(type(backend), verb) is not getattr(FineTuneBackend, verb)
            resumes_failed = backend.resumes_failed
    held = status in (JobStatus.PAUSED, JobStatus.PAUSING)
    return {
        "cancel": view.unfinished and status is not JobStatus.CANCELLING,
        "pause": offered["pause"] and view.unfinished and not held and status is not JobStatus.CANCELLING,
        "resume": offered["resume"] and (held or (status is JobStatus.FAILED and resumes_failed)),
    }


def has_weights(gateway: Gateway, view: JobView) -> bool:
    """Whether its backend gives tuned weights away, and there are some."""
    row = view.listed.row
    if row is None or row.remote_id is None or view.tuned_model is None:
        return False
    try:
        backend = gateway.workspace.backend(row.backend)
    except TuneportError:
        return False
    return type(backend).download is not FineTuneBackend.download
