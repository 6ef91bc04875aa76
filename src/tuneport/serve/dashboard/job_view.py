"""A job as the list's row and the head of its page show it: every number beside its source."""

from __future__ import annotations

from tuneport.errors import TuneportError
from tuneport.lifecycle.accounting.budgets import JobCostProjection, job_cost_so_far, project_job_cost
from tuneport.lifecycle.job_view import JobView
from tuneport.lifecycle.proposing.terms import BindingTerm, list_job_terms
from tuneport.lifecycle.schema.estimates import JobActual, JobEstimate
from tuneport.serve.gateway import Gateway
from tuneport.types import JobStatus, Quote

TONES = {JobStatus.SUCCEEDED: "pass", JobStatus.FAILED: "fail", JobStatus.CANCELLED: "off", JobStatus.PAUSED: "warn"}


class DashboardJob(JobView):
    """A job as the dashboard's pages show it."""

    @classmethod
    def from_job(cls, view: JobView) -> DashboardJob:
        return cls(view.record, view.request)

    @property
    def path(self) -> str:
        return f"/jobs/{self.id}"

    @property
    def name(self) -> str:
        """Return the job's name, or the requested model if it has none."""
        return self.suffix or self.requested_model

    @property
    def status_tone(self) -> str:
        return TONES.get(self.status, "busy")

    @property
    def progress_share(self) -> float | None:
        """Return the finished share of the steps, 0 to 1. Returns None if it is not known."""
        progress = self.progress
        if progress.step is None or not progress.total_steps:
            return None
        return min(1.0, progress.step / progress.total_steps)

    @property
    def error(self) -> str | None:
        return str(self.failure["message"]) if self.status is JobStatus.FAILED else None

    @property
    def note(self) -> str | None:
        """Return why the job makes no progress at present. Returns None if it does."""
        row = self.record
        if row is None:
            return "The gateway reads and checks the data." if self.is_unfinished else None
        if row.note:
            return row.note
        waits = None if self.state is None else self.state.details.get("waits")
        return None if waits is None else str(waits)

    @property
    def terms(self) -> list[BindingTerm]:
        """Return the terms that apply to training there or to using the result."""
        return [] if self.backend is None else list_job_terms(self.backend, self.model or self.requested_model)

    @property
    def tuned_model(self) -> str | None:
        row = self.record
        if row is None or row.tuned_model is None or row.deleted_at is not None:
            return None
        return self.model_name

    # --- what it costs and takes --------------------------------------------------------------------------------------

    @property
    def quote(self) -> Quote | None:
        return None if self.record is None else self.record.job_quote

    @property
    def estimate(self) -> JobEstimate | None:
        return None if self.record is None else self.record.job_estimate

    @property
    def actual(self) -> JobActual | None:
        return None if self.record is None else self.record.job_actual

    @property
    def spent(self) -> tuple[float, str] | None:
        """Return the cost in US dollars so far, or in all once the job has ended, and its source. Returns None if it
        is not known."""
        if self.actual is not None:
            return None if self.actual.usd is None else (self.actual.usd, self.actual.usd_because)
        return None if self.record is None else job_cost_so_far(self.record)

    @property
    def projected(self) -> JobCostProjection | None:
        return None if self.record is None else project_job_cost(self.record)

    @property
    def budget(self) -> float | None:
        return None if self.record is None else self.record.budget_usd


def list_dashboard_actions(gateway: Gateway, view: DashboardJob) -> dict[str, bool]:
    """Return which actions make sense now and are supported by the backend."""
    row, status = view.record, view.status
    offered = {"pause": False, "resume": False}
    resumes_failed = False
    if row is not None and row.remote_id is not None:
        try:
            backend = gateway.workspace.backend(row.backend)
        except TuneportError:  # its key is gone, for example: stored results are still shown
            backend = None
        if backend is not None:
            for verb in offered:
                offered[verb] = backend.supports(verb)
            resumes_failed = backend.resumes_failed
    held = status in (JobStatus.PAUSED, JobStatus.PAUSING)
    return {
        "cancel": view.is_unfinished and status is not JobStatus.CANCELLING,
        "pause": offered["pause"] and view.is_unfinished and not held and status is not JobStatus.CANCELLING,
        "resume": offered["resume"] and (held or (status is JobStatus.FAILED and resumes_failed)),
    }


def dashboard_shows_weights(gateway: Gateway, view: DashboardJob) -> bool:
    """Return whether the job has weights and its backend lets them be downloaded."""
    row = view.record
    if row is None or row.remote_id is None or view.tuned_model is None:
        return False
    try:
        backend = gateway.workspace.backend(row.backend)
    except TuneportError:
        return False
    return backend.supports("download")
