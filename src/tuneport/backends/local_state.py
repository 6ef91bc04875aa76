"""From a run's folder to a `JobState`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from tuneport.backends.local_records import FINISHED, TrainerState
from tuneport.backends.local_run import Run
from tuneport.backends.statuses import status_of
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
RESULT_FILES = ("metrics.jsonl", "events.jsonl", "log.txt", "environment.json", "data.json")


def job_state(run: Run) -> JobState:
    """What the folder says now. ProviderError where a file in it is damaged."""
    request = run.request()
    reported = run.reported()
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
        status=status_of("local", STATUSES, raw),
        raw_status=raw,
        model=request["model"],
        tuned_model=tuned_name(run) if raw == "succeeded" else None,
        created_at=_time(request.get("created_at")),
        finished_at=reported.finished_at if finished else None,
        estimated_finish=now() + timedelta(seconds=left) if left is not None and raw not in STANDING_STILL else None,
        trained_tokens=reported.trained_tokens,
        progress=reported.progress,
        error=reported.error,
        hyperparameters=_numbers(reported.hyperparameters, request.get("hyperparameters") or {}),
        result_files=tuple(str(path) for path in results if path.exists()),
        details=_details(run, request, reported),
    )


def tuned_name(run: Run) -> str:
    """`ft:MODEL:SUFFIX:` and what is unique in the run's id, as OpenAI builds such names."""
    return tuned_name_of(run.request(), run.id)


def tuned_name_of(request: Mapping[str, Any], run_id: str) -> str:
    model = Path(request["model"]).name if request["model"].startswith(("/", ".", "~")) else request["model"]
    suffix = (request.get("spec") or {}).get("suffix") or ""
    return f"ft:{model}:{suffix}:{run_id.removeprefix('run-')}"


def _numbers(reported: Mapping[str, Any], requested: Mapping[str, Any]) -> dict[str, Any]:
    """What the trainer used, else what it was asked to, without what does not matter to this method and adapter."""
    idle = {name for name, value in requested.items() if value == "auto" and name != "max_length"}
    numbers = {**requested, **reported}
    return {name: value for name, value in numbers.items() if name not in idle and value not in (None, "auto")}


def _details(run: Run, request: Mapping[str, Any], reported: TrainerState) -> dict[str, Any]:
    recommended = request.get("recommended") or {}
    facts = {
        "folder": str(run.folder),
        "log": str(run.folder / "log.txt"),
        "started_at": None if reported.started_at is None else reported.started_at.isoformat(),
        "slurm_job": run.slurm_job(),
        "waits": reported.waits if reported.status == "queued" else None,
        "device": reported.device,
        "precision": reported.precision,
        "trainable_parameters": reported.trainable_parameters,
        "total_parameters": reported.total_parameters,
        "trainable_share": _share(reported.trainable_parameters, reported.total_parameters),
        "adapter": None if reported.adapter is None else str(reported.adapter),
        "micro_batch": reported.micro_batch,
        "restarts": run.restarts().total or None,
        "notes": reported.notes or None,
        "trainer": reported.trainer or None,
        "memory_gib_expected": (request.get("memory") or {}).get("expected_gib"),
        "recommended_learning_rate": recommended.get("learning_rate"),
        "learning_rate_multiplier": recommended.get("learning_rate_multiplier"),
        "hyperparameter_reasons": recommended.get("reasons"),
    }
    return {name: value for name, value in facts.items() if value is not None}


def _share(trainable: int | None, total: int | None) -> float | None:
    return None if trainable is None or not total else round(trainable / total, 6)


def _time(value: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
