"""OpenAI's job, event, checkpoint and result file, read into our types.

Fields that are missing and words that are unknown are tolerated.
"""

from __future__ import annotations

import base64
import binascii
import csv
import io
from collections.abc import Iterable, Mapping
from datetime import date
from typing import TYPE_CHECKING, Any, Literal

from tuneport.backends.hosted import timestamp
from tuneport.backends.openai_request import METHODS
from tuneport.backends.statuses import status_of
from tuneport.errors import ConfigError, ModelNotOfferedError
from tuneport.estimate.cost import training_price
from tuneport.manifests import load_models, resolve_model
from tuneport.types import (
    Adapter,
    Checkpoint,
    JobError,
    JobEvent,
    JobState,
    JobStatus,
    MetricPoint,
    Progress,
    RemoteModel,
    TuneSpec,
    now,
)

if TYPE_CHECKING:
    from tuneport.manifests import Manifest

_USER_CODES = ("invalid_", "unsafe_file", "file_not_found", "model_not_available", "moderation")
_LEVELS: dict[str, Literal["info", "warning", "error"]] = {"warn": "warning", "warning": "warning", "error": "error"}
# Of the names that the result file and the events have had over time, the first that is there counts.
_COLUMNS = {
    "epoch": ("epoch",),
    "train_loss": ("train_loss", "training_loss"),
    "train_accuracy": ("train_mean_token_accuracy", "train_accuracy", "training_token_accuracy"),
    "valid_loss": ("full_valid_loss", "valid_loss", "validation_loss"),
    "valid_accuracy": (
        "full_valid_mean_token_accuracy",
        "valid_mean_token_accuracy",
        "validation_mean_token_accuracy",  # Azure's page names this one
        "valid_accuracy",
    ),
    "learning_rate": ("learning_rate",),
}


def state_of(provider: str, statuses: Mapping[str, JobStatus], job: dict[str, Any]) -> JobState:
    """Raises KeyError where the job has no id or no status: then it is no job of this API."""
    status = status_of(provider, statuses, job["status"])
    method = job.get("method") or {}
    hyperparameters = (
        (method.get(method.get("type", "")) or {}).get("hyperparameters") or job.get("hyperparameters") or {}
    )
    known = (
        "training_file",
        "validation_file",
        "seed",
        "method",
        "metadata",
        "user_provided_suffix",
        "integrations",
        "trainingType",
    )
    return JobState(
        remote_id=job["id"],
        status=status,
        raw_status=job["status"],
        model=job.get("model") or "",
        tuned_model=job.get("fine_tuned_model") or None,
        created_at=timestamp(job.get("created_at")),
        finished_at=timestamp(job.get("finished_at")),
        estimated_finish=timestamp(job.get("estimated_finish")),
        trained_tokens=job.get("trained_tokens"),
        progress=Progress(),
        error=_error_of(status, job.get("error")),
        hyperparameters=hyperparameters,
        result_files=tuple(job.get("result_files") or ()),
        details={name: job[name] for name in known if job.get(name) is not None},
    )


def _error_of(status: JobStatus, error: dict[str, Any] | None) -> JobError | None:
    """Only of a job that failed: on success the service sends `{}` or an object of nulls."""
    if status is not JobStatus.FAILED:
        return None
    error = error or {}
    code = error.get("code") or "unknown"
    user = code.startswith(_USER_CODES)
    return JobError(
        code=code,
        message=error.get("message") or "the provider gives no reason",
        param=error.get("param"),
        fault="user" if user else "provider",
        retryable=not user,
    )


def event_of(event: dict[str, Any]) -> JobEvent:
    data = event.get("data")
    return JobEvent(
        id=event["id"],
        created_at=timestamp(event.get("created_at")) or now(),
        level=_LEVELS.get(event.get("level") or "", "info"),
        message=event.get("message") or "",
        type=event.get("type") or "message",
        data=data if isinstance(data, dict) else {},
    )


def checkpoint_of(checkpoint: dict[str, Any]) -> Checkpoint:
    metrics = checkpoint.get("metrics") or {}
    return Checkpoint(
        id=checkpoint["id"],
        step=checkpoint["step_number"],
        model=checkpoint.get("fine_tuned_model_checkpoint"),
        created_at=timestamp(checkpoint.get("created_at")),
        metrics={name: float(value) for name, value in metrics.items() if value is not None and name != "step"},
    )


def model_of(model: dict[str, Any]) -> RemoteModel:
    return RemoteModel(
        id=model["id"],
        tuned=base_of(model["id"]) != model["id"],
        created_at=timestamp(model.get("created")),
        owned_by=model.get("owned_by"),
        shutdown_date=_day(model.get("shutdown_date")),
    )


def base_of(model: str) -> str:
    """What a model was tuned from, by its name: `ft:BASE:ORGANISATION:...` at OpenAI, `BASE.ft-JOB` at Azure."""
    if model.startswith("ft:"):
        return model.split(":")[1]
    return model.partition(".ft-")[0]


def refuse_other_base(manifest: Manifest, spec: TuneSpec, start: str, base: str) -> None:
    """ConfigError where training that goes on from `start`, made of `base`, is none of the spec's model.

    The spec's model decides the price, the context and the methods; what is billed is the checkpoint's. Of a name
    that does not say what it is made of, as other servers have them, only a budget is refused.
    """
    wanted, found = (_identity(manifest, base_of(name)) for name in (spec.model, base))
    if wanted == found:
        return
    if found == start and found not in {row.id for row in manifest.models}:
        if spec.budget is not None:
            raise ConfigError(
                f"nothing tells which model {start} was tuned from, so its price is not known and no budget holds; "
                "leave the budget out"
            )
        return
    raise ConfigError(f"{start} was tuned from {found}, not from {wanted}; give --model {found}")


def _identity(manifest: Manifest, name: str) -> str:
    """The provider's own id: names of models come with their date, and without."""
    try:
        return resolve_model(name, manifest.name, manifest, load_models())
    except ModelNotOfferedError:
        return name


def with_cost(state: JobState, manifest: Manifest) -> JobState:
    """The state with what the job cost, where the manifest knows the price of its trained tokens.

    The API names no sum. By `billing`: trained_tokens (all epochs; validation is free) x the rate. Not for rft, which
    is billed by the hour, nor for a job that did not succeed, whose bill is not known.
    """
    kind = (state.details.get("method") or {}).get("type") or "supervised"
    method = next((method for method, word in METHODS.items() if word == kind), None)
    model = manifest.offered(base_of(state.model))
    if state.status is not JobStatus.SUCCEEDED or state.trained_tokens is None or method is None or model is None:
        return state
    if method.value in manifest.unpriced or manifest.billing is None or manifest.billing.unit != "tokens":
        return state
    price = training_price(manifest, model, method, Adapter.LORA)  # no row of such a provider is of one adapter only
    if price is None or price.usd_per_mtok is None:
        return state
    computed = {
        "computed": f"{state.trained_tokens:,} trained tokens at ${price.usd_per_mtok:.2f} per 1M",
        "source": manifest.sources[price.source].url,
        "as_of": price.as_of.isoformat(),
    }
    cost = state.trained_tokens / 1e6 * price.usd_per_mtok
    return state.model_copy(update={"cost": cost, "details": {**state.details, "cost": computed}})


def _day(value: Any) -> date | None:
    try:
        return date.fromisoformat(value[:10]) if isinstance(value, str) else None
    except ValueError:
        return None


def metrics_of_events(events: Iterable[dict[str, Any]]) -> list[MetricPoint]:
    """The steps that the events tell of, in order. A step that is told again counts as told last."""
    by_step = {}
    for event in events:
        data = event.get("data")
        if isinstance(data, dict) and _number(data.get("step")) is not None:
            by_step[data["step"]] = data
    return sorted((metric_of(data) for data in by_step.values()), key=lambda point: point.step)


def metric_of(values: Mapping[str, Any]) -> MetricPoint:
    """One step by column name; what has no place of its own goes to `extra`. Empty cells are absent."""
    numbers = {name: number for name, value in values.items() if (number := _number(value)) is not None}
    point: dict[str, float] = {}
    used = {"step", "total_steps"}
    for field, names in _COLUMNS.items():
        if found := next((name for name in names if name in numbers), None):
            point[field] = numbers[found]
            used.add(found)
    extra = {name: value for name, value in numbers.items() if name not in used}
    return MetricPoint(step=int(numbers["step"]), extra=extra, **point)


def metrics_of_csv(content: bytes) -> list[MetricPoint]:
    """The result file's steps in order. Some answers hold the file once more in base64."""
    text = content.decode("utf-8-sig", "replace")
    if "step" not in text.partition("\n")[0]:
        try:
            text = base64.b64decode(content, validate=False).decode("utf-8-sig")
        except (binascii.Error, UnicodeDecodeError) as error:
            raise ValueError("the result file is neither CSV nor base64 of CSV") from error
    rows = [row for row in csv.DictReader(io.StringIO(text)) if row.get("step")]
    return sorted((metric_of(row) for row in rows), key=lambda point: point.step)


def _number(value: Any) -> float | None:
    if value is None or value == "" or isinstance(value, (bool, dict, list)):
        return None
    try:
        return float(value)
    except ValueError:
        return None
