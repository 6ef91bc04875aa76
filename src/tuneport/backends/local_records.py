"""What stands in the JSON files of a run's folder (`local_run`)."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from tuneport.types import JobError, Progress

FINISHED = ("succeeded", "failed", "cancelled")


class TrainerState(BaseModel):
    """`state.json`, as the trainer writes it."""

    model_config = ConfigDict(extra="ignore", protected_namespaces=())
    status: str
    started_at: datetime | None = None
    finished_at: datetime | None = None
    progress: Progress = Progress()
    trained_tokens: int | None = None
    hyperparameters: dict[str, Any] = Field(default_factory=dict)
    trainable_parameters: int | None = None
    total_parameters: int | None = None
    device: str | None = None
    precision: str | None = None
    trainer: dict[str, Any] = Field(default_factory=dict)
    adapter: Path | None = None
    best_step: int | None = None
    micro_batch: int | None = None
    error: JobError | None = None
    waits: str | None = None
    notes: list[str] = Field(default_factory=list)


class Spawn(BaseModel):
    """`spawn.json`: written before the child starts, without its pid, and again when that is known.

    `memory_kills`: how many processes the kernel had killed for lack of memory by then.
    """

    spawned_at: datetime
    pid: int | None = None
    started: str | None = None
    boot_id: str = ""
    memory_kills: int | None = None


class Restarts(BaseModel):
    """`restarts.json`. `without_progress` counts from the newest checkpoint, `checkpoint_step`; `stops` counts the
    children that were started to stop what runs on a cluster."""

    total: int = 0
    stops: int = 0
    without_progress: int = 0
    checkpoint_step: int = 0
