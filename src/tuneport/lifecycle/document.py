"""A job as one JSON document: what `--json` prints and the gateway sends."""

from __future__ import annotations

from typing import Any

from tuneport.data.rows.reading_options import READING_FIELDS, ReadingOptions
from tuneport.lifecycle.accounting.budgets import project_job_cost
from tuneport.lifecycle.schema.records import JobRecord, RequestRecord
from tuneport.lifecycle.submitting.hold_out import find_held_out_rows
from tuneport.lifecycle.submitting.options import JobOptions
from tuneport.types import Method


def describe_job(row: JobRecord) -> dict[str, Any]:
    """Return a job as one JSON document: the same keys for every backend and in every state."""
    from tuneport.lifecycle.proposing.terms import job_term_documents, list_job_terms  # and the facts of all providers

    spec, state, data = row.tune_spec, row.job_state, row.prepared_data
    projected, held_out = project_job_cost(row), find_held_out_rows(spec.dataset)
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
        "held_out": None if held_out is None else held_out.model_dump(mode="json"),
        **vars(ReadingOptions.of_spec(spec)),
        "ignored_columns": list(spec.ignored_columns),
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
        "provider_defaults": spec.provider_defaults,
        "quote": row.quote,
        "estimate": row.estimate,
        "actual": row.actual,
        "budget": spec.budget,
        "stopped_early": row.stopped_early,
        "curve": row.curve,
        "projection": None if projected is None else projected.as_dict(),
        "cost": None if state is None else state.cost,
        "trained_tokens": None if state is None else state.trained_tokens,
        "progress": progress,
        "terms": job_term_documents(list_job_terms(row.backend, row.model)),
        "error": row.error,
        "note": row.note,
        "needs": describe_job_question(row),
        "duplicates": list(row.job_submission.duplicates),
        "requested_action": row.requested_action,
        "wish": row.requested_action,  # the name of earlier releases
        **row.job_options.columns(),
        "deleted_at": None if row.deleted_at is None else row.deleted_at.isoformat(),
        "created_at": row.created_at.isoformat(),
        "finished_at": None if row.finished_at is None else row.finished_at.isoformat(),
        "estimated_finish": None
        if state is None or state.estimated_finish is None
        else state.estimated_finish.isoformat(),
        "details": {} if state is None else state.details,
    }


def describe_job_question(row: JobRecord) -> dict[str, Any] | None:
    """Return the question that a person has to answer before the job continues, or None."""
    submission = row.job_submission
    if submission.question is None or row.job_status.terminal or row.remote_id is not None:
        return None
    one = submission.candidates[0].remote_id if len(submission.candidates) == 1 else "ID"
    return {
        "kind": "resolve",
        "message": submission.question,
        "candidates": [candidate.model_dump(mode="json") for candidate in submission.candidates],
        "if_started": f"tuneport resolve {row.id} --started {one}",
        "if_not_started": f"tuneport resolve {row.id} --not-started",
    }


def describe_job_request(request: RequestRecord) -> dict[str, Any]:
    """Return the request of a client as a document with the same keys, while no job is made of it or if none ever
    was."""
    from tuneport.lifecycle.proposing.terms import job_term_documents, list_job_terms

    body = request.body
    own = body.get("tuneport") or {}
    method = body.get("method") or {"type": "supervised"}
    details = method.get(method["type"]) or {}
    given = own.get("hyperparameters") or (body.get("hyperparameters") or {}) | (details.get("hyperparameters") or {})
    unknown = ("model", "tuned_model", "raw_status", "remote_id", "quote", "estimate", "actual", "projection", "cost",
               "trained_tokens", "progress", "note", "requested_action", "wish", "deleted_at", "estimated_finish",
               "curve", "stopped_early", "needs", "held_out")  # fmt: skip
    return dict.fromkeys(unknown) | {
        "duplicates": [],
        "id": request.id,
        "object": "tuneport.job",
        "backend": request.backend,
        "requested_model": body["model"],
        "status": request.job_status.value,
        "method": own.get("method") or Method.of_openai(method["type"]),
        "adapter": own.get("adapter", "auto"),
        "dataset": {
            "path": body["training_file"],
            "sha256": body["training_sha256"],
            "format": None,
            "rows": None,
            "left_out": [],
        },
        "validation": body.get("validation_file"),
        **vars(ReadingOptions()),
        "ignored_columns": [],
        **{name: own[name] for name in READING_FIELDS if own.get(name) is not None},
        "hyperparameters": {"given": given, "resolved": {}},
        "grader": own.get("grader") or details.get("grader"),
        "reward": own.get("reward"),
        "suffix": body.get("suffix"),
        "seed": body.get("seed"),
        "from_checkpoint": own.get("from_checkpoint"),
        "wandb": next((row["wandb"] for row in body.get("integrations") or []), None),
        "metadata": body.get("metadata") or {},
        "provider_options": own.get("provider_options") or {},
        "provider_defaults": own.get("provider_defaults", False) if own else "auto",
        "budget": own.get("budget", body.get("budget")),
        "terms": job_term_documents(list_job_terms(request.backend, body["model"])) if request.backend else [],
        "error": request.error,
        **JobOptions.of_request(body).columns(),
        "created_at": request.created_at.isoformat(),
        "finished_at": None if request.finished_at is None else request.finished_at.isoformat(),
        "details": {},
    }
