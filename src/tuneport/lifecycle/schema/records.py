"""Records of the store: frozen copies of rows, with the columns' names. No caller holds a row of the database."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from tuneport.lifecycle.schema.damage import parse_job_column, store_damaged_error
from tuneport.lifecycle.schema.estimates import JobActual, JobEstimate
from tuneport.lifecycle.schema.submission import JobSubmission
from tuneport.lifecycle.submitting.options import JobOptions, StoredOptions
from tuneport.types import JobError, JobState, JobStatus, PreparedData, Quote, TuneSpec

_OF_REQUESTS = {"failed": JobStatus.FAILED, "cancelled": JobStatus.CANCELLED}
UNFINISHED = [status.value for status in JobStatus if not status.terminal]


class JobColumns:
    """The columns of a job that hold documents, parsed. Raises StoreDamagedError if one has another shape."""

    if TYPE_CHECKING:
        id: Any
        backend: Any
        model: Any
        status: Any
        state: Any
        submission: Any
        quote: Any
        estimate: Any
        actual: Any
        error: Any

    @property
    def tune_spec(self) -> TuneSpec:
        return parse_job_column(TuneSpec, self, "spec")

    @property
    def prepared_data(self) -> PreparedData:
        return parse_job_column(PreparedData, self, "prepared")

    @property
    def job_options(self) -> JobOptions:
        return JobOptions.of_row(self)

    @property
    def job_status(self) -> JobStatus:
        try:
            return JobStatus(self.status)
        except ValueError as error:
            raise store_damaged_error(f"`status` of {self.id} in the store", error) from error

    @property
    def job_state(self) -> JobState | None:
        return None if self.state is None else parse_job_column(JobState, self, "state")

    @property
    def job_submission(self) -> JobSubmission:
        return JobSubmission() if self.submission is None else JobSubmission.model_validate(self.submission)

    @property
    def job_quote(self) -> Quote | None:
        return None if self.quote is None else parse_job_column(Quote, self, "quote")

    @property
    def job_estimate(self) -> JobEstimate | None:
        return None if self.estimate is None else parse_job_column(JobEstimate, self, "estimate")

    @property
    def job_actual(self) -> JobActual | None:
        return None if self.actual is None else parse_job_column(JobActual, self, "actual")

    @property
    def job_error(self) -> JobError | None:
        return None if self.error is None else parse_job_column(JobError, self, "error")

    def check_text(self) -> None:
        """Refuse bytes: SQLite returns whatever is in a column, and anything but text is damage."""
        if isinstance(self.id, str) and isinstance(self.backend, str):
            if isinstance(self.model, str) and isinstance(self.status, str):
                return
        for name in ("id", "backend", "model", "status"):
            if not isinstance(value := getattr(self, name), str):
                raise store_damaged_error(f"`{name}` of a job in the store", ValueError(f"{value!r} is no text"))


@dataclass(frozen=True)
class JobRecord(StoredOptions, JobColumns):
    """One job as the store has it. `state` is what the backend last said; see `JobRow` for the columns."""

    id: str
    project: str
    token: str
    backend: str
    model: str
    spec: dict[str, Any]
    prepared: dict[str, Any]
    quote: dict[str, Any] | None
    status: str
    remote_id: str | None
    state: dict[str, Any] | None
    error: dict[str, Any] | None
    note: str | None
    submit_intent_at: datetime | None
    submit_attempts: int
    cancel_requested_at: datetime | None
    created_at: datetime
    updated_at: datetime
    finished_at: datetime | None
    polled_at: datetime | None
    lease_owner: str | None
    lease_expires_at: datetime | None
    due_at: datetime | None
    waits_since: datetime | None
    tuned_model: str | None
    requested_action: str | None
    delete_requested_at: datetime | None
    deleted_at: datetime | None
    events_due: bool
    estimate: dict[str, Any] | None
    actual: dict[str, Any] | None
    running_at: datetime | None
    running_by: str | None
    budget_usd: float | None
    reserved_usd: float | None
    cost_usd: float | None
    usd_per_hour: float | None
    idle_seconds: float
    idle_since: datetime | None
    curve: dict[str, Any] | None
    curve_at: datetime | None
    stopped_early: dict[str, Any] | None
    submission: dict[str, Any] | None
    recheck_at: datetime | None
    announced_end: datetime | None


@dataclass(frozen=True)
class FileRecord:
    """A file as a client of the gateway knows it: one that it uploaded, or the results of its job."""

    id: str
    project: str
    sha256: str
    filename: str
    purpose: str
    bytes: int
    created_at: datetime
    expires_at: datetime | None


@dataclass(frozen=True)
class UploadRecord:
    """A file that is uploaded in parts, until it is completed or cancelled, or has expired."""

    id: str
    project: str
    filename: str
    purpose: str
    bytes: int
    status: str
    created_at: datetime
    expires_at: datetime
    file_seconds: int | None
    file_id: str | None


@dataclass(frozen=True)
class UploadPartRecord:
    """One part of such an upload."""

    id: str
    upload_id: str
    sha256: str
    bytes: int
    created_at: datetime


@dataclass(frozen=True)
class RequestRecord:
    """A client's request to the gateway; the job of the same id is made from it."""

    id: str
    project: str
    body: dict[str, Any]
    backend: str | None
    tuned_model: str
    idempotency_key: str | None
    state: str
    error: dict[str, Any] | None
    created_at: datetime
    finished_at: datetime | None
    lease_owner: str | None
    lease_expires_at: datetime | None
    results_file: str | None
    results_at: datetime | None

    @property
    def job_status(self) -> JobStatus:
        """Return the status that is shown until a job is made from it, or the one that it ended with."""
        return request_record_status(self.state)


@dataclass(frozen=True)
class EndpointRecord:
    """An endpoint that is notified of ends of jobs."""

    name: str
    kind: str
    events: list[str]
    seen_at: datetime


@dataclass(frozen=True)
class DeliveryRecord:
    """A notification to one endpoint, sent or still to be sent."""

    id: str
    endpoint: str
    kind: str
    event_id: str
    type: str
    job_id: str
    state: str
    created_at: datetime
    due_at: datetime | None
    began_at: datetime
    attempts: int
    last_status: int | None
    last_error: str | None
    ended_at: datetime | None
    lease_owner: str | None
    lease_expires_at: datetime | None


@dataclass(frozen=True)
class TokenRecord:
    """A secret that identifies a client of the gateway; only its SHA-256 is kept."""

    id: str
    name: str
    digest: str
    scope: str
    project: str | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


@dataclass(frozen=True)
class SessionRecord:
    """A browser that was let in with a token."""

    digest: str
    token_id: str
    created_at: datetime
    expires_at: datetime


@dataclass(frozen=True)
class AuditRecord:
    """An entry of the audit log: who did what. `id` is None until it is stored."""

    created_at: datetime
    project: str
    name: str
    token_id: str | None
    address: str | None
    request_id: str | None
    action: str
    subject: str
    usd: float | None
    prompt_tokens: int | None
    completion_tokens: int | None
    id: int | None = None


def request_record_status(state: str) -> JobStatus:
    return _OF_REQUESTS.get(state, JobStatus.PREPARING)
