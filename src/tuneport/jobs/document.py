"""A job as one JSON document: what `--json` prints and the gateway sends."""

from __future__ import annotations

from typing import Any

from tuneport.jobs.budgets import projection
from tuneport.jobs.tables import JobRequestRow, JobRow


def describe(row: JobRow) -> dict[str, Any]:
    """A job as one JSON document: the same keys for every backend and in every state."""
    spec, state, data = row.tune_spec, row.job_state, row.prepared_data
    projected = projection(row)
    progress = None if state is None else state.progress.model_dump(mode="json")
    return {
        "id": row.id,
        "object": "tuneport.job",
        "backend": row.backend,
        "requested_model": spec.model,
        "model": row.model,
        "tuned_model": None if state is None else state.tuned_model,
        "status": row.status,
        "raw_status": None if state is None else state.raw_status,
        "remote_id": row.remote_id,
        "method": spec.method.value,
        "adapter": spec.adapter,
        "dataset": {
            "path": str(spec.dataset),
            "sha256": data.training.sha256,
            "format": data.training.format,
            "rows": data.training.rows,
            "left_out": list(data.training.left_out),
        },
        "validation": None if spec.validation is None else str(spec.validation),
        "columns": spec.columns,
        "hyperparameters": {
            "given": spec.hyperparameters.given(),
            "resolved": {} if state is None else state.hyperparameters,
        },
        "grader": spec.grader,
        "reward": spec.reward,
        "suffix": spec.suffix,
        "seed": spec.seed,
        "from_checkpoint": spec.from_checkpoint,
        "wandb": None if spec.wandb is None else spec.wandb.model_dump(mode="json"),
        "metadata": spec.metadata,
        "provider_options": spec.provider_options,
        "quote": row.quote,
        "estimate": row.estimate,
        "actual": row.actual,
        "budget": spec.budget,
        "cancel_over_budget": row.cancel_over_budget,
        "stop_on_overfit": row.stop_on_overfit,
        "stopped_early": row.stopped_early,
        "curve": row.curve,
        "projection": None if projected is None else projected.as_dict(),
        "cost": None if state is None else state.cost,
        "trained_tokens": None if state is None else state.trained_tokens,
        "progress": progress,
        "error": row.error,
        "note": row.note,
        "wish": row.wish,
        "delete_files": row.delete_files,
        "deleted_at": None if row.deleted_at is None else row.deleted_at.isoformat(),
        "created_at": row.created_at.isoformat(),
        "finished_at": None if row.finished_at is None else row.finished_at.isoformat(),
        "estimated_finish": None
        if state is None or state.estimated_finish is None
        else state.estimated_finish.isoformat(),
        "details": {} if state is None else state.details,
    }


_METHODS = {"supervised": "sft", "dpo": "dpo", "reinforcement": "rft"}
_STATES = {"failed": "failed", "cancelled": "cancelled"}


def describe_request(request: JobRequestRow) -> dict[str, Any]:
    """What a client asked the gateway for, while it is no job yet, or where it never was one: the same keys."""
    body = request.body
    own = body.get("tuneport") or {}
    method = body.get("method") or {"type": "supervised"}
    details = method.get(method["type"]) or {}
    given = own.get("hyperparameters") or (body.get("hyperparameters") or {}) | (details.get("hyperparameters") or {})
    unknown = ("model", "tuned_model", "raw_status", "remote_id", "quote", "estimate", "actual", "projection", "cost",
               "trained_tokens", "progress", "note", "wish", "deleted_at", "estimated_finish",
               "curve", "stopped_early")  # fmt: skip
    return dict.fromkeys(unknown) | {
        "id": request.id,
        "object": "tuneport.job",
        "backend": request.backend,
        "requested_model": body["model"],
        "status": _STATES.get(request.state, "preparing"),
        "method": own.get("method") or _METHODS[method["type"]],
        "adapter": own.get("adapter", "auto"),
        "dataset": {
            "path": body["training_file"],
            "sha256": body["training_sha256"],
            "format": None,
            "rows": None,
            "left_out": [],
        },
        "validation": body.get("validation_file"),
        "columns": own.get("columns") or {},
        "hyperparameters": {"given": given, "resolved": {}},
        "grader": own.get("grader") or details.get("grader"),
        "reward": own.get("reward"),
        "suffix": body.get("suffix"),
        "seed": body.get("seed"),
        "from_checkpoint": own.get("from_checkpoint"),
        "wandb": next((row["wandb"] for row in body.get("integrations") or []), None),
        "metadata": body.get("metadata") or {},
        "provider_options": own.get("provider_options") or {},
        "budget": own.get("budget", body.get("budget")),
        "cancel_over_budget": own.get("cancel_over_budget", False),
        "stop_on_overfit": own.get("stop_on_overfit", False),
        "error": request.error,
        "delete_files": own.get("delete_files") or False,
        "created_at": request.created_at.isoformat(),
        "finished_at": None if request.finished_at is None else request.finished_at.isoformat(),
        "details": {},
    }
