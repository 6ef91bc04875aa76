"""A job of ours in OpenAI's words: its document, its events, its checkpoints."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from tuneport.jobs.tables import JobRequestRow, JobRow
from tuneport.serve import wire
from tuneport.serve.files import unix
from tuneport.serve.intake import ORGANIZATION
from tuneport.serve.job_documents import by_file
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
"""OpenAI's published words, and `paused`, which its service says where its document has no word."""
RESULTS_SECONDS = 60.0
"""A job that has succeeded is shown as running until its results are a file, but for no longer."""
_SHOWN = ("n_epochs", "batch_size", "learning_rate_multiplier")
_OURS = {"n_epochs": ("n_epochs", "epochs")}
_LEVELS = {"info": "info", "warning": "warn", "error": "error"}
_BEFORE = 2
"""Events that a client sees before any that the store has: of the request itself."""


def document(request: JobRequestRow, row: JobRow | None) -> wire.FineTuningJob:
    """`row` None: the job is still to be made, or was refused before it was one."""
    body = request.body
    state = None if row is None else row.job_state
    status = _status(request, row)
    error = None
    if status == "failed":
        error = _failure(request, row)
    finished = request.finished_at if row is None else row.finished_at
    succeeded = status == "succeeded"
    return wire.FineTuningJob(
        id=request.id,
        created_at=unix(request.created_at),
        error=error,
        fine_tuned_model=model_name(request, row) if succeeded else None,
        finished_at=unix(finished) if finished is not None and status in ("succeeded", "failed", "cancelled") else None,
        hyperparameters=wire.JobHyperparameters.model_validate(_hyperparameters(body, state, _SHOWN)),
        model=body["model"],
        organization_id=f"org-{ORGANIZATION}",
        result_files=[request.results_file] if succeeded and request.results_file else [],
        status=status,  # type: ignore[arg-type]
        trained_tokens=None if state is None or not succeeded else state.trained_tokens,
        training_file=body["training_file"],
        validation_file=body.get("validation_file"),
        integrations=[wire.IntegrationTold.model_validate(row) for row in body.get("integrations") or []],
        seed=_seed(request),
        estimated_finish=None
        if finished is not None or state is None or state.estimated_finish is None
        else unix(state.estimated_finish),
        method=wire.MethodTold.model_validate(_method(body, state)),
        metadata=body.get("metadata"),
        user_provided_suffix=body.get("suffix"),
    )


def _status(request: JobRequestRow, row: JobRow | None) -> str:
    if request.state in ("failed", "cancelled"):
        return request.state
    if row is None:
        return "validating_files"
    if row.job_status is JobStatus.SUCCEEDED and request.results_at is None and row.finished_at is not None:
        # Clients that see the end look for the results at once.
        if now() - row.updated_at < timedelta(seconds=RESULTS_SECONDS):
            return "running"
    return STATUSES[row.job_status]


def model_name(request: JobRequestRow, row: JobRow | None) -> str:
    return name_told(request.tuned_model, None if row is None else row.tuned_model)


def name_told(asked: str, upstream: str | None) -> str:
    """OpenAI's own name of a model that was tuned there; else the one that the gateway gave it."""
    return upstream if upstream is not None and _is_theirs(upstream) else asked


def _is_theirs(name: str) -> bool:
    """`ft:BASE:ORGANIZATION:SUFFIX:CODE`; other backends' names have another shape."""
    return name.startswith("ft:") and name.count(":") >= 4


def _failure(request: JobRequestRow, row: JobRow | None) -> wire.JobFailure:
    told: dict[str, Any] = (row.error if row is not None else request.error) or {}
    return wire.JobFailure(
        code=told.get("code") or "unknown",
        message=by_file(request, told.get("message") or "the backend gives no reason"),
        param=told.get("param"),
    )


def _hyperparameters(body: dict[str, Any], state: Any, names: Sequence[str]) -> dict[str, Any]:
    """What was asked for; of `auto`, what the backend made of it, once it has said so in a number."""
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


def _seed(request: JobRequestRow) -> int:
    """A client that gave none is told one nevertheless, as at OpenAI: always the same for a job."""
    given = request.body.get("seed")
    return given if given is not None else int(hashlib.sha256(request.id.encode()).hexdigest()[:7], 16)


# --- events ----------------------------------------------------------------------------------------------------------


def first_events(request: JobRequestRow) -> list[wire.Event]:
    """What OpenAI says before a job has begun; positions -1 and 0."""
    validation = request.body.get("validation_file")
    files = f"training file: {request.body['training_file']}" + (
        f" and validation file: {validation}" if validation else ""
    )
    return [
        wire.Event(
            id=event_id(request.id, position),
            created_at=unix(request.created_at),
            level="info",
            message=message,
        )
        for position, message in ((-1, f"Created fine-tuning job: {request.id}"), (0, f"Validating {files}"))
    ]


def last_events(request: JobRequestRow) -> list[wire.Event]:
    """Of a request that never became a job: why."""
    if request.state not in ("failed", "cancelled") or request.finished_at is None:
        return []
    told = by_file(request, (request.error or {}).get("message") or "")
    message = f"Fine-tuning job failed: {told}" if request.state == "failed" else "Fine-tuning job cancelled"
    return [
        wire.Event(
            id=event_id(request.id, 1),
            created_at=unix(request.finished_at),
            level="error" if request.state == "failed" else "info",
            message=message,
        )
    ]


def event(job_id: str, position: int, told: JobEvent) -> wire.Event:
    return wire.Event(
        id=event_id(job_id, position),
        created_at=unix(told.created_at),
        level=_LEVELS[told.level],  # type: ignore[arg-type]
        message=told.message,
        type="metrics" if told.type == "metrics" else "message",
        data=told.data,
    )


def event_id(job_id: str, position: int) -> str:
    """Says which event of which job it is, so that a cursor needs no table: 16 digits of the job, 8 of the position."""
    return f"ftevent-{_digest(job_id)}{position + _BEFORE:08x}"


def position_of(job_id: str, id_: str) -> int | None:
    """The position behind an event's id, or None where it is no event of that job."""
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


def checkpoint(request: JobRequestRow, row: JobRow, told: Checkpoint) -> wire.Checkpoint:
    metrics = {
        name: next((told.metrics[key] for key in keys if key in told.metrics), None) for name, keys in _METRICS.items()
    }
    upstream = told.model if told.model is not None and _is_theirs(told.model) else None
    created = told.created_at or row.finished_at or row.created_at
    return wire.Checkpoint(
        id=f"ftckpt_{_digest(request.id)}{told.step:08x}",
        created_at=unix(created),
        fine_tuned_model_checkpoint=upstream or f"{request.tuned_model}:ckpt-step-{told.step}",
        fine_tuning_job_id=request.id,
        step_number=told.step,
        metrics=wire.CheckpointMetrics(step=told.step, **metrics),
    )
