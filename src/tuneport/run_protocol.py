"""The folder of a local training run: its files, and what stands in them.

`backends/local/runs/` (the parent, which may be any process) and `train/run/run_folder.py` (the child, which trains)
agree on what is here. The parent writes `run.json`, `start`, `spawn.json`, `restarts.json` (which a child that drives a
Slurm job writes, too) and the requests `cancel`, `pause` and `stop_early`. The child writes everything else, and the
parent changes that only while the child is dead. Readers ignore keys that they do not know and give missing ones their
defaults, so that a folder may be older or newer than the program.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from tuneport.types import JobError, Progress

REQUEST, STATE, SPAWN, RESTARTS = "run.json", "state.json", "spawn.json", "restarts.json"
EVENTS, METRICS, LOG = "events.jsonl", "metrics.jsonl", "log.txt"
DATA, ENVIRONMENT = "data.json", "environment.json"
STARTING = "starting.json"
"""Where a trainer stands that does not train yet: a `StartPhase`."""
CANCEL, PAUSE, STOP_EARLY = "cancel", "pause", "stop_early"
"""Files that ask the child to stop: for good, until it is resumed, or with its best weights."""
LOCK, SPAWN_LOCK, PID = "lock", "spawn.lock", "pid"
"""The child holds `lock` for life. `spawn.lock` keeps two processes that find it dead from starting two children."""
SLURM, RAY = "slurm.json", "ray.json"
"""What a run has on a cluster."""
CHECKPOINTS, START = "checkpoints", "start"
WRITING = ".writing"
"""Holds, in `checkpoints`, a checkpoint or an adapter that is written before it is renamed."""
_STEP, _DAMAGED = "step-", "damaged-step-"

ANOTHER_CHILD_LIVES = 75  # EX_TEMPFAIL
FOLDER_GONE = 66  # EX_NOINPUT
AGAIN = 79  # to go on at once in a new process
STOPPED_FROM_OUTSIDE = 143  # 128 + SIGTERM

RESTARTS_WITHOUT_PROGRESS = 3
FINISHED = ("succeeded", "failed", "cancelled")


class _Record(BaseModel):
    model_config = ConfigDict(extra="ignore", protected_namespaces=())


class RunRequest(_Record):
    """`run.json`: what is to be trained, written once by the parent.

    `spec`, `training` and `validation` are a TuneSpec and DataFiles as JSON: the child validates them, and a parent of
    another version only looks. `recommended` has the reason for each number, `base` facts about the base model,
    `memory` the least memory that the run needs, and `reward_model` the path of the reward model's weights.
    """

    run_id: str = ""
    token: str = ""
    created_at: str | None = None
    model: str
    model_name_or_path: str = ""
    home: str = ""
    devices: list[str] | None = None
    spec: dict[str, Any] = Field(default_factory=dict)
    reward_model: dict[str, str | None] | None = None
    training: dict[str, Any] | None = None
    validation: dict[str, Any] | None = None
    hyperparameters: dict[str, Any] = Field(default_factory=dict)
    recommended: dict[str, Any] = Field(default_factory=dict)
    base: dict[str, Any] = Field(default_factory=dict)
    memory: dict[str, Any] = Field(default_factory=dict)
    tuned_name: str | None = None

    @field_validator("spec", "hyperparameters", "recommended", "base", "memory", mode="before")
    @classmethod
    def _empty_for_null(cls, value: Any) -> Any:
        return {} if value is None else value

    @property
    def submitted_at(self) -> datetime | None:
        try:
            return None if self.created_at is None else datetime.fromisoformat(self.created_at)
        except ValueError:
            return None

    @property
    def options(self) -> Mapping[str, Any]:
        """Return the spec's `provider_options`."""
        return self.spec.get("provider_options") or {}


class TrainerState(_Record):
    """`state.json`: how far the run is.

    `micro_batch_limit`: rows at once that are known to fit into memory. `start_anew`: the run may start from step 0 if
    no checkpoint is whole, because the user has allowed it.
    """

    status: str
    started_at: datetime | None = None
    updated_at: datetime | None = None
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
    micro_batch_limit: int | None = None
    start_anew: bool | None = None
    error: JobError | None = None
    waits: str | None = None
    notes: list[str] = Field(default_factory=list)


class SpawnRecord(_Record):
    """`spawn.json`: written before the child starts, without its pid, and again when that is known.

    `memory_kills`: how many processes the kernel had killed for lack of memory by then.
    """

    spawned_at: datetime
    pid: int | None = None
    started: str | None = None
    boot_id: str = ""
    memory_kills: int | None = None


class RestartCounts(_Record):
    """`restarts.json`. `without_progress` counts from the newest checkpoint, `checkpoint_step`; `stops` counts the
    children that were started to stop what runs on a cluster."""

    total: int = 0
    stops: int = 0
    without_progress: int = 0
    checkpoint_step: int = 0

    def as_of_checkpoint(self, newest_step: int) -> RestartCounts:
        """Return the count as of the newest checkpoint, `newest_step`."""
        if newest_step <= self.checkpoint_step:
            return self
        return RestartCounts(total=self.total, checkpoint_step=newest_step)


class StartPhase(_Record):
    """`starting.json`."""

    phase: str
    since: datetime
    pid: int = 0


def run_checkpoint_folder(run: Path, step: int) -> Path:
    return run / CHECKPOINTS / f"{_STEP}{step}"


def run_checkpoint_folders(run: Path) -> list[tuple[int, Path]]:
    """Return step and folder of each complete checkpoint, oldest first. One in the making has another name."""
    named = ((_number(entry.name, _STEP), entry) for entry in (run / CHECKPOINTS).glob(f"{_STEP}*"))
    return sorted((step, entry) for step, entry in named if step is not None and entry.is_dir())


def parse_run_checkpoint_step(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix(_STEP))


def damaged_run_checkpoint_folder(run: Path, step: int) -> Path:
    """Return the path of a damaged checkpoint, which is kept for people to look at."""
    return run / CHECKPOINTS / f"{_DAMAGED}{step}"


def damaged_run_checkpoint_folders(run: Path) -> list[tuple[int | None, Path]]:
    return [(_number(entry.name, _DAMAGED), entry) for entry in (run / CHECKPOINTS).glob(f"{_DAMAGED}*")]


def _number(name: str, prefix: str) -> int | None:
    number = name.removeprefix(prefix)
    return int(number) if number.isascii() and number.isdigit() else None
