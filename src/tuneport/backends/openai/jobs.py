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

from tuneport.backends.hosted.backend import parse_provider_time
from tuneport.backends.hosted.http.answers import (
    parse_provider_count,
    parse_provider_number,
    parse_provider_object,
    parse_provider_text,
    require_provider_text,
    sanitise_provider_json,
)
from tuneport.backends.hosted.statuses import parse_provider_status
from tuneport.errors import ConfigError, ModelNotOfferedError
from tuneport.estimate.cost import training_price
from tuneport.formatting import money
from tuneport.manifests import find_manifest_model, resolve_manifest_model_id
from tuneport.methods import Method
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


def parse_openai_job_state(provider: str, statuses: Mapping[str, JobStatus], job: dict[str, Any]) -> JobState:
    """Translate a job into its state. Raises ValueError if it has no id or no status: then it is not a job of this
    API."""
    job = sanitise_provider_json(job)
    word = require_provider_text(job, "status")
    status = parse_provider_status(provider, statuses, word)
    method = parse_provider_object(job.get("method"))
    own = parse_provider_object(method.get(parse_provider_text(method.get("type")) or ""))
    hyperparameters = parse_provider_object(own.get("hyperparameters")) or parse_provider_object(
        job.get("hyperparameters")
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
        remote_id=require_provider_text(job, "id"),
        status=status,
        raw_status=word,
        model=parse_provider_text(job.get("model")) or "",
        tuned_model=parse_provider_text(job.get("fine_tuned_model")),
        created_at=parse_provider_time(job.get("created_at")),
        finished_at=parse_provider_time(job.get("finished_at")),
        estimated_finish=parse_provider_time(job.get("estimated_finish")),
        trained_tokens=parse_provider_count(job.get("trained_tokens")),
        progress=Progress(),
        error=_parse_error(status, job.get("error")),
        hyperparameters=hyperparameters,
        result_files=_texts(job.get("result_files")),
        details={name: job[name] for name in known if job.get(name) is not None},
    )


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(item for item in value if parse_provider_text(item)) if isinstance(value, list) else ()


def _parse_error(status: JobStatus, error: Any) -> JobError | None:
    """Return the error of a failed job, or None: on success the service sends `{}` or an object of nulls."""
    if status is not JobStatus.FAILED:
        return None
    error = parse_provider_object(error)
    code = parse_provider_text(error.get("code")) or "unknown"
    user = code.startswith(_USER_CODES)
    return JobError(
        code=code,
        message=parse_provider_text(error.get("message")) or "the provider gives no reason",
        param=parse_provider_text(error.get("param")),
        fault="user" if user else "provider",
        retryable=not user,
    )


def parse_openai_job_event(event: dict[str, Any]) -> JobEvent:
    event = sanitise_provider_json(event)
    data = event.get("data")
    return JobEvent(
        id=require_provider_text(event, "id"),
        created_at=parse_provider_time(event.get("created_at")) or now(),
        level=_LEVELS.get(parse_provider_text(event.get("level")) or "", "info"),
        message=parse_provider_text(event.get("message")) or "",
        type=parse_provider_text(event.get("type")) or "message",
        data=data if isinstance(data, dict) else {},
    )


def parse_openai_checkpoint(checkpoint: dict[str, Any]) -> Checkpoint:
    checkpoint = sanitise_provider_json(checkpoint)
    metrics = parse_provider_object(checkpoint.get("metrics"))
    return Checkpoint(
        id=require_provider_text(checkpoint, "id"),
        step=checkpoint["step_number"],
        model=parse_provider_text(checkpoint.get("fine_tuned_model_checkpoint")),
        created_at=parse_provider_time(checkpoint.get("created_at")),
        metrics={
            name: float(value)
            for name, value in metrics.items()
            if parse_provider_number(value) is not None and name != "step"
        },
    )


def parse_remote_model(model: dict[str, Any]) -> RemoteModel:
    return RemoteModel(
        id=require_provider_text(model, "id"),
        tuned=parse_openai_base_model(model["id"]) != model["id"],
        created_at=parse_provider_time(model.get("created")),
        owned_by=parse_provider_text(model.get("owned_by")),
        shutdown_date=_day(model.get("shutdown_date")),
    )


def parse_openai_base_model(model: str) -> str:
    """Return the base model in a model's name: `ft:BASE:ORGANISATION:...` at OpenAI, `BASE.ft-JOB` at Azure."""
    if model.startswith("ft:"):
        return model.split(":")[1]
    return model.partition(".ft-")[0]


def refuse_other_checkpoint_base(manifest: Manifest, spec: TuneSpec, start: str, base: str) -> None:
    """Raise ConfigError if `start`, made of `base`, is not a model of the spec's.

    The spec's model decides the price, the context and the methods; the checkpoint's is billed. For a name that does
    not show its base, as on other servers, only a budget is refused.
    """
    wanted, found = (_identity(manifest, parse_openai_base_model(name)) for name in (spec.model, base))
    if wanted == found:
        return
    if found == start and found not in {row.id for row in manifest.models}:
        if spec.budget is not None:
            raise ConfigError(
                f"the base model of {start} is unknown, so its price is, too, and a budget cannot be kept; "
                "leave the budget out"
            )
        return
    raise ConfigError(f"{start} was tuned from {found}, not from {wanted}; give --model {found}")


def _identity(manifest: Manifest, name: str) -> str:
    """Return the provider's own id: names of models come with their date, and without."""
    try:
        # No aliases: one name is the id that `submit` has resolved, the other is in the name of a tuned model. An alias
        # that is spelt like an id of the provider would make two different models look the same.
        return resolve_manifest_model_id(name, manifest)
    except ModelNotOfferedError:
        return name


def add_openai_job_cost(state: JobState, manifest: Manifest) -> JobState:
    """Return the state with the cost of the job, if the manifest knows the price of its trained tokens.

    The API has no amount. By `billing`: trained_tokens (all epochs; validation is free) x the rate. Not for rft, which
    is billed by the hour, nor for a job that did not succeed, whose bill is not known.
    """
    kind = parse_provider_object(state.details.get("method")).get("type") or "supervised"
    method = Method.of_openai(kind)
    model = find_manifest_model(manifest, parse_openai_base_model(state.model))
    if state.status is not JobStatus.SUCCEEDED or state.trained_tokens is None or method is None or model is None:
        return state
    if method.value in manifest.unpriced or manifest.billing is None or manifest.billing.unit != "tokens":
        return state
    price = training_price(manifest, model, method, Adapter.LORA)  # no row of such a provider is of one adapter only
    if price is None or price.usd_per_mtok is None:
        return state
    computed = {
        "computed": f"{state.trained_tokens:,} trained tokens at {money(price.usd_per_mtok)} per 1M",
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


def parse_openai_event_metrics(events: Iterable[dict[str, Any]]) -> list[MetricPoint]:
    """Return the steps in the events, in order. The last report of a step counts."""
    by_step = {}
    for event in events:
        data = sanitise_provider_json(event.get("data"))
        if isinstance(data, dict) and _step(data.get("step")) is not None:
            by_step[data["step"]] = data
    return sorted((parse_openai_metric(data) for data in by_step.values()), key=lambda point: point.step)


def parse_openai_metric(values: Mapping[str, Any]) -> MetricPoint:
    """Return one step by column name; columns without a field of their own go to `extra`. Empty cells are absent."""
    numbers = {name: number for name, value in values.items() if (number := _number(value)) is not None}
    point: dict[str, float] = {}
    used = {"step", "total_steps"}
    for field, names in _COLUMNS.items():
        if found := next((name for name in names if name in numbers), None):
            point[field] = numbers[found]
            used.add(found)
    extra = {name: value for name, value in numbers.items() if name not in used}
    return MetricPoint(step=int(numbers["step"]), extra=extra, **point)


def parse_openai_metrics_csv(content: bytes) -> list[MetricPoint]:
    """Return the result file's steps in order. Some answers hold the file again in base64."""
    content_ = content.decode("utf-8-sig", "replace")
    if "step" not in content_.partition("\n")[0]:
        try:
            content_ = base64.b64decode(content, validate=False).decode("utf-8-sig")
        except (binascii.Error, UnicodeDecodeError) as error:
            raise ValueError("the result file is neither CSV nor base64 of CSV") from error
    rows = [row for row in csv.DictReader(io.StringIO(content_)) if _step(row.get("step")) is not None]
    return sorted((parse_openai_metric(row) for row in rows), key=lambda point: point.step)


def _number(value: Any) -> float | None:
    if value is None or value == "" or isinstance(value, (bool, dict, list)):
        return None
    try:
        return parse_provider_number(float(value))
    except (ValueError, OverflowError, TypeError):
        return None


def _step(value: Any) -> int | None:
    found = _number(value)
    return None if found is None else parse_provider_count(float(found))
