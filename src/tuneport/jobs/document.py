"""A job as one JSON document: what `--json` prints and the gateway sends."""

from __future__ import annotations

from typing import Any

from tuneport.jobs.budgets import projection
from tuneport.jobs.tables import JobRow


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
