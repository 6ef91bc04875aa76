"""Translates a run's folder into a `JobState`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from tuneport.backends.hosted.statuses import parse_provider_status
from tuneport.backends.local.runs.run import LocalRun
from tuneport.run_protocol import DATA, ENVIRONMENT, EVENTS, FINISHED, LOG, METRICS, RunRequest, TrainerState
from tuneport.types import JobState, JobStatus, now

STATUSES = {
    "starting": JobStatus.QUEUED,
    "validating": JobStatus.VALIDATING,
    "queued": JobStatus.QUEUED,
    "running": JobStatus.RUNNING,
    "finalizing": JobStatus.FINALIZING,
    "pausing": JobStatus.PAUSING,
    "paused": JobStatus.PAUSED,
    "cancelling": JobStatus.CANCELLING,
    "succeeded": JobStatus.SUCCEEDED,
    "failed": JobStatus.FAILED,
    "cancelled": JobStatus.CANCELLED,
}
"""The trainer's words, `starting` before its first one, `pausing` and `cancelling` between a request and its end."""

STANDING_STILL = (*FINISHED, "pausing", "paused", "cancelling")
RESULT_FILES = (METRICS, EVENTS, LOG, ENVIRONMENT, DATA)


def read_local_job_state(run: LocalRun) -> JobState:
    """Return the state by the run's folder. Raises ProviderError if a file in it is damaged."""
    request = run.read_request()
    reported = run.read_trainer_report()
    raw = "starting" if reported is None else reported.status
    if run.cancel_requested and raw not in FINISHED:
        raw = "cancelling"
    elif run.pause_requested and raw not in FINISHED:
        raw = "paused" if raw == "paused" else "pausing"
    elif raw == "paused":
        raw = "queued"  # taken back while its child was ending; the next look starts another one
    reported = reported or TrainerState(status=raw)
    left = reported.progress.seconds_left
    finished = raw in FINISHED
    results = [run.folder / name for name in RESULT_FILES] if finished else []
    return JobState(
        remote_id=run.id,
        status=parse_provider_status("local", STATUSES, raw),
        raw_status=raw,
        model=request.model,
        tuned_model=local_tuned_model_name(run) if raw == "succeeded" else None,
        created_at=request.submitted_at,
        finished_at=reported.finished_at if finished else None,
        estimated_finish=now() + timedelta(seconds=left) if left is not None and raw not in STANDING_STILL else None,
        trained_tokens=reported.trained_tokens,
        progress=reported.progress,
        error=reported.error,
        hyperparameters=_numbers(reported.hyperparameters, request.hyperparameters),
        result_files=tuple(str(path) for path in results if path.exists()),
        details=_details(run, request, reported),
    )


def local_tuned_model_name(run: LocalRun) -> str:
    """Return `ft:MODEL:SUFFIX:` and the unique part of the run's id, as OpenAI builds such names."""
    return tuned_model_name_of_run(run.read_request(), run.id)


def tuned_model_name_of_run(request: RunRequest, run_id: str) -> str:
    model = Path(request.model).name if request.model.startswith(("/", ".", "~")) else request.model
    suffix = request.spec.get("suffix") or ""
    return f"ft:{model}:{suffix}:{run_id.removeprefix('run-')}"


def _numbers(reported: Mapping[str, Any], requested: Mapping[str, Any]) -> dict[str, Any]:
    """Return the numbers that the trainer used, else those asked for, without any that this method and adapter
    ignore."""
    idle = {name for name, value in requested.items() if value == "auto" and name != "max_length"}
    numbers = {**requested, **reported}
    return {name: value for name, value in numbers.items() if name not in idle and value not in (None, "auto")}


def _details(run: LocalRun, request: RunRequest, reported: TrainerState) -> dict[str, Any]:
    recommended = request.recommended
    facts = {
        "folder": str(run.folder),
        "log": str(run.folder / LOG),
        "started_at": None if reported.started_at is None else reported.started_at.isoformat(),
        "slurm_job": run.find_slurm_job_id(),
        "waits": reported.waits if reported.status == "queued" else None,
        "phase": run.describe_start_progress(),
        "device": reported.device,
        "precision": reported.precision,
        "trainable_parameters": reported.trainable_parameters,
        "total_parameters": reported.total_parameters,
        "trainable_share": _share(reported.trainable_parameters, reported.total_parameters),
        "adapter": None if reported.adapter is None else str(reported.adapter),
        "micro_batch": reported.micro_batch,
        "restarts": run.read_restarts().total or None,
        "notes": reported.notes or None,
        "trainer": reported.trainer or None,
        "memory_gib_expected": request.memory.get("expected_gib"),
        "recommended_learning_rate": recommended.get("learning_rate"),
        "learning_rate_multiplier": recommended.get("learning_rate_multiplier"),
        "hyperparameter_reasons": recommended.get("reasons"),
    }
    return {name: value for name, value in facts.items() if value is not None}


def _share(trainable: int | None, total: int | None) -> float | None:
    return None if trainable is None or not total else round(trainable / total, 6)
