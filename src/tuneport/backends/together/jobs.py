"""Together's job, events, metrics and checkpoints, read into our types. Fields that are missing are tolerated."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from tuneport.backends.hosted.backend import parse_provider_time
from tuneport.backends.hosted.http.answers import (
    parse_provider_count,
    parse_provider_number,
    parse_provider_object,
    parse_provider_rows,
    parse_provider_text,
    require_provider_text,
    sanitise_provider_json,
)
from tuneport.backends.hosted.statuses import parse_provider_status
from tuneport.types import Checkpoint, JobError, JobEvent, JobState, JobStatus, MetricPoint, Progress, now

_HYPERPARAMETERS = (
    "n_epochs",
    "batch_size",
    "learning_rate",
    "lr_scheduler",
    "warmup_ratio",
    "weight_decay",
    "max_grad_norm",
    "max_seq_length",
    "n_evals",
    "n_checkpoints",
    "packing",
    "random_seed",
    "training_type",
    "training_method",
)
_DETAILS = (
    "suffix",
    "training_file",
    "validation_file",
    "queue_depth",
    "early_stopped",
    "early_stopping_best_step",
    "early_stopping_best_metric",
    "adapter_object_id",
    "adapter_object_name",
    "model_object_id",
    "model_object_name",
    "model_output_name",
    "from_checkpoint",
    "from_hf_model",
    "hf_model_revision",
    "wandb_url",
    "started_at",
)
COST_DOUBT = "Together's specification names no unit for total_price; its own command line reads billionths of a dollar"


def parse_together_job_state(provider: str, statuses: Mapping[str, JobStatus], job: dict[str, Any]) -> JobState:
    """Translate a job into its state. Raises ValueError if it has no id or no status: then it is not a job of this
    API."""
    job = sanitise_provider_json(job)
    word = require_provider_text(job, "status")
    status = parse_provider_status(provider, statuses, word)
    progress = parse_provider_object(job.get("progress"))
    # The name of the model is given out when the job begins; there is a model when it has succeeded.
    name = parse_provider_text(job.get("model_output_name")) or parse_provider_text(job.get("adapter_output_name"))
    cost = _cost_of(status, parse_provider_count(job.get("total_price")))
    return JobState(
        remote_id=require_provider_text(job, "id"),
        status=status,
        raw_status=word,
        model=parse_provider_text(job.get("model")) or "",
        tuned_model=name if status is JobStatus.SUCCEEDED and name else None,
        created_at=parse_provider_time(job.get("created_at")),
        finished_at=parse_provider_time(job.get("updated_at")) if status.terminal else None,
        trained_tokens=parse_provider_count(job.get("token_count")),
        cost=cost,
        progress=Progress(
            step=parse_provider_count(job.get("steps_completed")),
            total_steps=parse_provider_count(job.get("total_steps")) or _total_steps(job),
            epoch=parse_provider_number(job.get("epochs_completed")),
            seconds_left=parse_provider_number(progress.get("seconds_remaining"))
            if progress.get("estimate_available")
            else None,
        ),
        error=_parse_error(status, job),
        hyperparameters={name: job[name] for name in _HYPERPARAMETERS if job.get(name) is not None},
        details={name: job[name] for name in _DETAILS if job.get(name) not in (None, "")}
        | _early_stop(job)
        | ({} if cost is None else {"cost_doubt": COST_DOUBT}),
    )


def _total_steps(job: dict[str, Any]) -> int | None:
    """Return the total steps from the events, since the job has no such field."""
    told = [parse_provider_count(event.get("total_steps")) for event in parse_provider_rows(job.get("events"))]
    return max((steps for steps in told if steps), default=None)


def _early_stop(job: dict[str, Any]) -> dict[str, Any]:
    """Return the step at which training stopped early; the model is that of `early_stopping_best_step`."""
    if not job.get("early_stopped"):
        return {}
    events = parse_provider_rows(job.get("events"))
    told = [event.get("step") for event in events if str(event.get("type", "")).lower() == "early_stopped"]
    step = told[-1] if told else job.get("steps_completed")
    return {} if step is None else {"early_stopped_at_step": step}


def _cost_of(status: JobStatus, total_price: int | None) -> float | None:
    """Return the cost, or None for zero, which means that there is no amount yet. See COST_DOUBT (together 3.1.1)."""
    return total_price / 1e9 if status.terminal and total_price else None


def _parse_error(status: JobStatus, job: dict[str, Any]) -> JobError | None:
    """Return the error in the last event of the failure, as a failed job has no such field. A failed job is
    refunded."""
    if status is not JobStatus.FAILED:
        return None
    events = parse_provider_rows(job.get("events"))
    told = [event for event in events if str(event.get("type", "")).lower() in ("job_error", "job_user_error")]
    told = told or [event for event in events if "error" in str(event.get("level", "")).lower()]
    user = job["status"].lower() == "user_error"
    message = (
        parse_provider_text(told[-1].get("message")) if told else None
    ) or "the provider gives no reason; see the job's events"
    return JobError(
        code=job["status"].lower(), message=message, fault="user" if user else "provider", retryable=not user
    )


def parse_together_events(events: Sequence[dict[str, Any]]) -> list[JobEvent]:
    """Return the events, oldest first. Together's events have no id, so it is made of the content, and a count among
    equal ones.

    The order is the service's own, reversed if it lists the newest first, not that of the times: an event that comes
    late with an earlier time would else stand before events already reported, and never be reported itself.
    """
    events = [sanitise_provider_json(event) for event in events]
    times = [str(event.get("created_at") or "") for event in events]
    ordered = list(reversed(events)) if times and times[0] > times[-1] else list(events)
    seen: Counter[str] = Counter()
    found = []
    for event in ordered:
        content = "\n".join(str(event.get(name)) for name in ("created_at", "type", "step", "message"))
        key = hashlib.sha256(content.encode()).hexdigest()[:20]
        seen[key] += 1
        standing = ("object", "created_at", "level", "message", "type")
        found.append(
            JobEvent(
                id=f"event-{key}-{seen[key]}",
                created_at=parse_provider_time(event.get("created_at")) or now(),
                level=_level(str(event.get("level") or "")),
                message=parse_provider_text(event.get("message")) or "",
                type=str(event.get("type") or "message").lower(),
                data={name: value for name, value in event.items() if name not in standing and value not in (None, "")},
            )
        )
    return found


def _level(word: str) -> Literal["info", "warning", "error"]:
    """Translate `Info`, `warning`, `legacy_iwarning` and so on."""
    word = word.lower()
    return "error" if "error" in word else "warning" if "warning" in word else "info"


def parse_together_metrics(lines: Sequence[dict[str, float]]) -> list[MetricPoint]:
    """Return one point a step; training and evaluation come as separate lines."""
    by_step: dict[int, dict[str, float]] = {}
    for line in lines:
        line = {
            name: value
            for name, value in parse_provider_object(line).items()
            if parse_provider_number(value) is not None
        }
        step = parse_provider_count(
            line.get("train/global_step", line.get("eval/global_step", line.get("global_step")))
        )
        if step is not None:
            by_step.setdefault(step, {}).update(line)
    return [_metric(step, by_step[step]) for step in sorted(by_step)]


def _metric(step: int, line: dict[str, float]) -> MetricPoint:
    named = {
        "train/epoch": "epoch",
        "train/loss": "train_loss",
        "eval/loss": "valid_loss",
        "train/learning_rate": "learning_rate",
    }
    point = {ours: float(line[theirs]) for theirs, ours in named.items() if line.get(theirs) is not None}
    known = {*named, "timestamp", "train/global_step", "eval/global_step", "global_step"}
    extra = {name: float(value) for name, value in line.items() if name not in known and value is not None}
    return MetricPoint(step=step, extra=extra, **point)


def parse_together_checkpoints(checkpoints: Sequence[dict[str, Any]]) -> list[Checkpoint]:
    """Return the checkpoints by step. None can answer completions without an endpoint of its own."""
    found = [
        Checkpoint(
            id=parse_provider_text(item.get("object_id")) or require_provider_text(item, "path"),
            step=item["step"],
            created_at=parse_provider_time(item.get("created_at")),
        )
        for item in checkpoints
    ]
    return sorted(found, key=lambda checkpoint: checkpoint.step)
