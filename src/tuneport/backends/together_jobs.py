"""Together's job, events, metrics and checkpoints, read into our types. Fields that are missing are tolerated."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from tuneport.backends.hosted import timestamp
from tuneport.backends.statuses import status_of
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
    "from_checkpoint",
    "from_hf_model",
    "hf_model_revision",
    "wandb_url",
    "started_at",
)
COST_DOUBT = "Together's specification names no unit for total_price; its own command line reads billionths of a dollar"


def state_of(provider: str, statuses: Mapping[str, JobStatus], job: dict[str, Any]) -> JobState:
    """Raises KeyError where the job has no id or no status: then it is no job of this API."""
    status = status_of(provider, statuses, job["status"])
    progress = job.get("progress") or {}
    # The name of the model is given out when the job begins; there is a model when it has succeeded.
    name = job.get("model_output_name") or job.get("adapter_output_name")
    cost = _cost_of(status, job.get("total_price"))
    return JobState(
        remote_id=job["id"],
        status=status,
        raw_status=job["status"],
        model=job.get("model") or "",
        tuned_model=name if status is JobStatus.SUCCEEDED and name else None,
        created_at=timestamp(job.get("created_at")),
        finished_at=timestamp(job.get("updated_at")) if status.terminal else None,
        trained_tokens=job.get("token_count"),
        cost=cost,
        progress=Progress(
            step=job.get("steps_completed"),
            total_steps=job.get("total_steps") or _total_steps(job),
            epoch=job.get("epochs_completed"),
            seconds_left=progress.get("seconds_remaining") if progress.get("estimate_available") else None,
        ),
        error=_error_of(status, job),
        hyperparameters={name: job[name] for name in _HYPERPARAMETERS if job.get(name) is not None},
        details={name: job[name] for name in _DETAILS if job.get(name) not in (None, "")}
        | _early_stop(job)
        | ({} if cost is None else {"cost_doubt": COST_DOUBT}),
    )


def _total_steps(job: dict[str, Any]) -> int | None:
    """The job has no such field, its events have."""
    told = [event.get("total_steps") for event in job.get("events") or () if isinstance(event, dict)]
    return max((steps for steps in told if isinstance(steps, int) and steps > 0), default=None)


def _early_stop(job: dict[str, Any]) -> dict[str, Any]:
    """At which step training stopped before its end; the model is that of `early_stopping_best_step`."""
    if not job.get("early_stopped"):
        return {}
    events = [event for event in job.get("events") or () if isinstance(event, dict)]
    told = [event.get("step") for event in events if str(event.get("type", "")).lower() == "early_stopped"]
    step = told[-1] if told else job.get("steps_completed")
    return {} if step is None else {"early_stopped_at_step": step}


def _cost_of(status: JobStatus, total_price: int | None) -> float | None:
    """See COST_DOUBT (together 3.1.1). A zero is no sum but a job that has none yet."""
    return total_price / 1e9 if status.terminal and total_price else None


def _error_of(status: JobStatus, job: dict[str, Any]) -> JobError | None:
    """A failed job has no error field; the last event of the failure tells. A failed job is refunded."""
    if status is not JobStatus.FAILED:
        return None
    events = [event for event in job.get("events") or () if isinstance(event, dict)]
    told = [event for event in events if str(event.get("type", "")).lower() in ("job_error", "job_user_error")]
    told = told or [event for event in events if "error" in str(event.get("level", "")).lower()]
    user = job["status"].lower() == "user_error"
    message = (told[-1].get("message") if told else None) or "the provider gives no reason; see the job's events"
    return JobError(
        code=job["status"].lower(), message=message, fault="user" if user else "provider", retryable=not user
    )


def events_of(events: Sequence[dict[str, Any]]) -> list[JobEvent]:
    """Oldest first. Together's events have no id, so it is made of the content, and of a count among equal ones.

    The order is the service's own, turned round where it has the newest first, not that of the times: an event that
    comes late with an earlier time would else be put before ones already told, and never be told itself.
    """
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
                created_at=timestamp(event.get("created_at")) or now(),
                level=_level(str(event.get("level") or "")),
                message=event.get("message") or "",
                type=str(event.get("type") or "message").lower(),
                data={name: value for name, value in event.items() if name not in standing and value not in (None, "")},
            )
        )
    return found


def _level(word: str) -> Literal["info", "warning", "error"]:
    """`Info`, `warning`, `legacy_iwarning` and so on."""
    word = word.lower()
    return "error" if "error" in word else "warning" if "warning" in word else "info"


def metrics_of(lines: Sequence[dict[str, float]]) -> list[MetricPoint]:
    """Training and evaluation come as lines of their own; those of one step make one point."""
    by_step: dict[int, dict[str, float]] = {}
    for line in lines:
        step = line.get("train/global_step", line.get("eval/global_step", line.get("global_step")))
        if step is not None:
            by_step.setdefault(int(step), {}).update(line)
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


def checkpoints_of(checkpoints: Sequence[dict[str, Any]]) -> list[Checkpoint]:
    """By step. None can be asked for completions as it is: each would need an endpoint."""
    found = [
        Checkpoint(
            id=item.get("object_id") or item["path"],
            step=item["step"],
            created_at=timestamp(item.get("created_at")),
        )
        for item in checkpoints
    ]
    return sorted(found, key=lambda checkpoint: checkpoint.step)


def preview_of(answer: dict[str, Any]) -> dict[str, Any]:
    """The service's own tokens of the first rows: an oracle for what `tuneport preview` reckons."""
    rows = [
        {
            "tokens": row["tokens"],
            "ids": row["input_ids"],
            "labels": row["labels"],
            "num_tokens": row["num_tokens"],
            "trained": row["num_trained_tokens"],
            "cut": row["truncated"],
        }
        for row in answer["rows"]
    ]
    return {"dataset_format": answer["dataset_format"], "limit": answer["max_seq_length"], "rows": rows}
