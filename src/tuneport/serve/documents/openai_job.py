"""Jobs in OpenAI's format: the job document, its events and its checkpoints."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from tuneport.lifecycle.job_view import JobView, is_job_openai_model_name
from tuneport.serve import wire
from tuneport.serve.documents.command_line_jobs import build_client_request
from tuneport.serve.documents.openai_words import ORGANIZATION, openai_document_timestamp
from tuneport.types import Checkpoint, JobEvent, JobStatus, now

STATUSES = {
    JobStatus.PREPARING: "validating_files",
    JobStatus.SUBMITTING: "validating_files",
    JobStatus.VALIDATING: "validating_files",
    JobStatus.QUEUED: "queued",
    JobStatus.RUNNING: "running",
    JobStatus.FINALIZING: "running",
    JobStatus.PAUSING: "running",
    JobStatus.PAUSED: "paused",
    JobStatus.CANCELLING: "running",
    JobStatus.SUCCEEDED: "succeeded",
    JobStatus.FAILED: "failed",
    JobStatus.CANCELLED: "cancelled",
}
"""OpenAI's published statuses, and `paused`, which its service sends and its document lacks."""
RESULTS_SECONDS = 60.0
"""How long a succeeded job may be shown as running while its result file is missing."""
_SHOWN = ("n_epochs", "batch_size", "learning_rate_multiplier")
_OURS = {"n_epochs": ("n_epochs", "epochs")}
_LEVELS = {"info": "info", "warning": "warn", "error": "error"}
_BEFORE = 2
"""Events about the request, which a client sees before the stored ones."""


def openai_job_document(view: JobView, files: Mapping[str, str]) -> wire.FineTuningJob:
    """Return the job as OpenAI's document. `files` is described at `command_line_jobs.list_gateway_file_ids`."""
    body, state, status, finished = requested_openai_fields(view, files), view.state, _status(view), view.finished_at
    succeeded = status == "succeeded"
    results = None if view.request is None else view.request.results_file
    return wire.FineTuningJob(
        id=view.id,
        created_at=openai_document_timestamp(view.requested_at),
        error=_failure(view) if status == "failed" else None,
        fine_tuned_model=view.model_name if succeeded else None,
        finished_at=openai_document_timestamp(finished)
        if finished is not None and status in ("succeeded", "failed", "cancelled")
        else None,
        hyperparameters=wire.JobHyperparameters.model_validate(_hyperparameters(body, state, _SHOWN)),
        model=body["model"],
        organization_id=f"org-{ORGANIZATION}",
        result_files=[results] if succeeded and results else [],
        status=status,  # type: ignore[arg-type]
        trained_tokens=None if state is None or not succeeded else state.trained_tokens,
        training_file=body["training_file"],
        validation_file=body.get("validation_file"),
        integrations=[wire.IntegrationTold.model_validate(row) for row in body.get("integrations") or []],
        seed=_seed(view.id, body),
        estimated_finish=None
        if finished is not None or state is None or state.estimated_finish is None
        else openai_document_timestamp(state.estimated_finish),
        method=wire.MethodTold.model_validate(_method(body, state)),
        metadata=body.get("metadata"),
        user_provided_suffix=body.get("suffix"),
    )


def requested_openai_fields(view: JobView, files: Mapping[str, str]) -> dict[str, Any]:
    """Return what the client asked for, or would have to ask for to get the same job."""
    if view.request is not None:
        return view.request.body
    assert view.record is not None
    return build_client_request(view.record, files)


def _status(view: JobView) -> str:
    request, row = view.request, view.record
    if request is not None and request.job_status.terminal:
        return request.state
    if row is None:
        return "validating_files"
    pending = request is not None and request.results_at is None and row.finished_at is not None
    if row.job_status is JobStatus.SUCCEEDED and pending:
        # Clients that see the end look for the results at once.
        if now() - row.updated_at < timedelta(seconds=RESULTS_SECONDS):
            return "running"
    return STATUSES[row.job_status]


def _failure(view: JobView) -> wire.JobFailure:
    told = view.failure
    return wire.JobFailure(code=told.get("code") or "unknown", message=told["message"], param=told.get("param"))


def _hyperparameters(body: dict[str, Any], state: Any, names: Sequence[str]) -> dict[str, Any]:
    """Return the requested hyperparameters; `auto` is replaced by the backend's number once that is known."""
    method = body.get("method") or {}
    own = (method.get(method.get("type", "")) or {}).get("hyperparameters") or {}
    asked = {**(body.get("hyperparameters") or {}), **own}
    resolved = {} if state is None else state.hyperparameters
    found = {}
    for name in names:
        value = asked.get(name, "auto")
        if value == "auto":
            for theirs in _OURS.get(name, (name,)):
                number = resolved.get(theirs)
                if isinstance(number, (int, float)) and not isinstance(number, bool):
                    value = int(number) if name in ("n_epochs", "batch_size") else number
        found[name] = value
    return found


def _method(body: dict[str, Any], state: Any) -> dict[str, Any]:
    method = body.get("method") or {"type": "supervised"}
    kind = method["type"]
    own = dict(method.get(kind) or {})
    names = [*_SHOWN, *(name for name in own.get("hyperparameters") or {} if name not in _SHOWN)]
    own["hyperparameters"] = _hyperparameters(body, state, names)
    return {"type": kind, kind: own}


def _seed(job_id: str, body: dict[str, Any]) -> int:
    """Return the requested seed. As at OpenAI, a client that gave none sees one: always the same for a job."""
    given = body.get("seed")
    return given if given is not None else int(hashlib.sha256(job_id.encode()).hexdigest()[:7], 16)


# --- events ----------------------------------------------------------------------------------------------------------


def first_openai_events(view: JobView, files: Mapping[str, str]) -> list[wire.Event]:
    """Return the events that OpenAI sends before a job has begun; their positions are -1 and 0."""
    body = requested_openai_fields(view, files)
    validation = body.get("validation_file")
    told = f"training file: {body['training_file']}" + (f" and validation file: {validation}" if validation else "")
    return [
        wire.Event(
            id=openai_event_id(view.id, position),
            created_at=openai_document_timestamp(view.requested_at),
            level="info",
            message=message,
        )
        for position, message in ((-1, f"Created fine-tuning job: {view.id}"), (0, f"Validating {told}"))
    ]


def last_openai_events(view: JobView) -> list[wire.Event]:
    """Return the event that says why a request never became a job."""
    request = view.request
    if view.record is not None or request is None or not request.job_status.terminal or request.finished_at is None:
        return []
    failed = request.job_status is JobStatus.FAILED
    told = view.name_client_file((request.error or {}).get("message") or "")
    message = f"Fine-tuning job failed: {told}" if failed else "Fine-tuning job cancelled"
    return [
        wire.Event(
            id=openai_event_id(view.id, 1),
            created_at=openai_document_timestamp(request.finished_at),
            level="error" if failed else "info",
            message=message,
        )
    ]


def openai_event_document(job_id: str, position: int, told: JobEvent) -> wire.Event:
    return wire.Event(
        id=openai_event_id(job_id, position),
        created_at=openai_document_timestamp(told.created_at),
        level=_LEVELS[told.level],  # type: ignore[arg-type]
        message=told.message,
        type="metrics" if told.type == "metrics" else "message",
        data=told.data,
    )


def openai_event_id(job_id: str, position: int) -> str:
    """Return an event's id, which names its job and position, so that a cursor needs no table: 16 digits of the job,
    8 of the position."""
    return f"ftevent-{_digest(job_id)}{position + _BEFORE:08x}"


def openai_event_position(job_id: str, id_: str) -> int | None:
    """Return the position in an event's id. Returns None if it is not an event of that job."""
    digits = id_.removeprefix("ftevent-")
    if len(digits) != 24 or not digits.startswith(_digest(job_id)):
        return None
    try:
        return int(digits[16:], 16) - _BEFORE
    except ValueError:
        return None


def _digest(job_id: str) -> str:
    return hashlib.sha256(job_id.encode()).hexdigest()[:16]


# --- checkpoints -----------------------------------------------------------------------------------------------------

_METRICS = {
    "train_loss": ("train_loss",),
    "train_mean_token_accuracy": ("train_mean_token_accuracy", "train_accuracy"),
    "valid_loss": ("valid_loss",),
    "valid_mean_token_accuracy": ("valid_mean_token_accuracy", "valid_accuracy"),
    "full_valid_loss": ("full_valid_loss", "valid_loss"),
    "full_valid_mean_token_accuracy": ("full_valid_mean_token_accuracy", "valid_accuracy"),
}


def openai_checkpoint_document(view: JobView, told: Checkpoint) -> wire.Checkpoint:
    metrics = {
        name: next((told.metrics[key] for key in keys if key in told.metrics), None) for name, keys in _METRICS.items()
    }
    upstream = told.model if told.model is not None and is_job_openai_model_name(told.model) else None
    name = view.gateway_model_name
    return wire.Checkpoint(
        id=f"ftckpt_{_digest(view.id)}{told.step:08x}",
        created_at=openai_document_timestamp(told.created_at or view.finished_at or view.created_at),
        fine_tuned_model_checkpoint=upstream or f"{name}:ckpt-step-{told.step}",
        fine_tuning_job_id=view.id,
        step_number=told.step,
        metrics=wire.CheckpointMetrics(step=told.step, **metrics),
    )
