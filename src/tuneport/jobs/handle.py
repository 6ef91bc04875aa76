"""Jobs as Python code sees them: `submit`, `job`, `jobs`, and the `Job` that they return."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tuneport.curves import CurveVerdict
from tuneport.data.prepare import method_of
from tuneport.errors import TrainingError, TuneportError
from tuneport.jobs.hub import push_job
from tuneport.jobs.service import Workspace, describe
from tuneport.jobs.tables import JobRow
from tuneport.settings import Settings
from tuneport.types import (
    Checkpoint,
    Completion,
    Hyperparameters,
    JobError,
    JobEvent,
    JobStatus,
    MetricPoint,
    TuneSpec,
    validated,
)


class JobFailedError(TrainingError):
    """A job that was waited for ended as failed or cancelled; `error` is what the backend said, if anything."""

    def __init__(self, message: str, error: JobError | None) -> None:
        self.error = error
        super().__init__(message)


class Job:
    """One job of a workspace. Attributes are as last known; `refresh` asks the backend."""

    def __init__(self, workspace: Workspace, row: JobRow) -> None:
        self._workspace = workspace
        self._row = row

    def __repr__(self) -> str:
        return f"Job({self.id!r}, {self.status.value}, {self._row.model!r} on {self.backend!r})"

    @property
    def id(self) -> str:
        return self._row.id

    @property
    def backend(self) -> str:
        return self._row.backend

    @property
    def status(self) -> JobStatus:
        return self._row.job_status

    @property
    def tuned_model(self) -> str | None:
        """The tuned model's name on its backend, once the job succeeded."""
        state = self._row.job_state
        return None if state is None else state.tuned_model

    @property
    def error(self) -> JobError | None:
        return self._row.job_error

    @property
    def note(self) -> str | None:
        """Why nothing moves at present, for people."""
        return self._row.note

    def as_dict(self) -> dict[str, Any]:
        """The same document that `tuneport show JOB --json` prints."""
        return describe(self._row)

    def refresh(self) -> Job:
        self._row = self._workspace.refresh(self.id)
        return self

    def wait(self, timeout: float | None = None, *, poll_seconds: float | None = None) -> Job:
        """Drive the job to its end and return it. JobFailedError where it failed or was cancelled.

        TimeoutError after `timeout` seconds; the job goes on, and `wait` may be called again.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        self._row = self._workspace.drive(
            self.id,
            until=lambda row: deadline is not None and time.monotonic() >= deadline,
            poll_seconds=poll_seconds,
        )
        if not self.status.terminal:
            raise TimeoutError(f"{self.id} is {self.status.value} after {timeout:g} seconds; it goes on")
        if self.status is not JobStatus.SUCCEEDED:
            reason = f": {self.error.message}" if self.error else ""
            raise JobFailedError(f"{self.id} {self.status.value} on {self.backend}{reason}", self.error)
        return self

    def cancel(self) -> Job:
        self._row = self._workspace.cancel(self.id)
        return self

    def pause(self) -> Job:
        self._row = self._workspace.pause(self.id)
        return self

    def resume(self) -> Job:
        self._row = self._workspace.resume(self.id)
        return self

    def delete(self) -> Job:
        """Delete the tuned model at the backend, for good; the job's record stays."""
        self._row = self._workspace.delete(self.id)
        return self

    def checkpoints(self) -> Sequence[Checkpoint]:
        return self._workspace.checkpoints(self.id)

    def download(self, folder: str | Path, *, merged: bool = False) -> Path:
        """Fetch the tuned weights into a new or empty folder; an interrupted download goes on where it stopped."""
        return self._workspace.download(self.id, Path(folder), merged=merged)

    def push_to_hub(self, name: str, *, merged: bool = False, private: bool = True) -> str:
        """Put the tuned weights on the model hub as OWNER/NAME, with HF_TOKEN; the address of the commit."""
        return push_job(self._workspace, self.id, name, merged=merged, private=private)

    def events(self) -> list[JobEvent]:
        """All events stored so far, oldest first."""
        return [event for _, event in self._workspace.events(self.id)]

    def metrics(self) -> Sequence[MetricPoint]:
        return self._workspace.metrics(self.id)

    def verdict(self) -> CurveVerdict | None:
        """What the loss curve says now: overfitting, still learning and so on, and why; None where there is none."""
        return self._workspace.verdict(self.id)

    def complete(
        self, prompt: str | Sequence[dict[str, Any]], *, stream: bool = False, **options: Any
    ) -> Completion | Iterator[str]:
        """Ask the tuned model. `prompt` is a user message, or a whole conversation in OpenAI's shape."""
        messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
        return self._workspace.complete(self.id, messages, stream=stream, **options)


def submit(
    dataset: str | Path,
    *,
    model: str,
    backend: str | None = None,
    validation: str | Path | None = None,
    columns: Mapping[str, str] | None = None,
    method: str | None = None,
    grader: Mapping[str, Any] | None = None,
    reward: str | None = None,
    adapter: str = "auto",
    hyperparameters: Mapping[str, Any] | None = None,
    suffix: str | None = None,
    seed: int | None = None,
    from_checkpoint: str | None = None,
    wandb: Mapping[str, Any] | None = None,
    budget: float | None = None,
    metadata: Mapping[str, str] | None = None,
    provider_options: Mapping[str, Any] | None = None,
    allow_personal_data: bool = False,
    delete_files: bool | None = None,
    cancel_over_budget: bool = False,
    stop_on_overfit: bool = False,
    settings: Settings | None = None,
) -> Job:
    """Start a fine-tuning job and return as soon as the backend has it; `job.wait()` follows it.

    Where the account has as many jobs under way as it may, the job is returned as it waits (`submitting`, its `note`
    says for what): `job.wait()` then waits for its place, too.

    `backend` None: `TUNEPORT_BACKEND`, `tuneport.toml`, else the best-ranked. `method` None: what the data is made for.
    `columns` maps the names that a format expects to those in the files (`--map`). `grader` is
    rft's, in OpenAI's shape. `reward` is grpo's and rloo's: `package.module:function`, or a reward model by its job or
    as a folder. `from_checkpoint` is a finished job (ours or the backend's id), `:STEP` behind it for one
    of its checkpoints; `wandb` has project, and name, entity and tags if wanted.
    `cancel_over_budget`: while it runs, it is cancelled as soon as it is on its way above `budget`. `stop_on_overfit`:
    once it surely overfits, it is stopped and its best checkpoint kept.
    Raises DatasetError, ModelNotOfferedError, BudgetError, UnsupportedError or ConfigError before anything is sent,
    and JobFailedError where the backend refused the job. Should the backend be out of reach, ProviderError; the job's
    row stays, and `tuneport.job(ID).wait()` goes on with it.
    """
    spec = validated(
        TuneSpec,
        {
            "model": model,
            "dataset": dataset,
            "validation": validation,
            "columns": dict(columns or {}),
            "method": method or ("rft" if grader else "grpo" if reward else method_of(Path(dataset), columns=columns)),
            "grader": None if grader is None else dict(grader),
            "reward": reward,
            "adapter": adapter,
            "hyperparameters": validated(Hyperparameters, hyperparameters or {}),
            "suffix": suffix,
            "seed": seed,
            "from_checkpoint": from_checkpoint,
            "wandb": None if wandb is None else dict(wandb),
            "budget": budget,
            "metadata": dict(metadata or {}),
            "provider_options": dict(provider_options or {}),
        },
    )
    workspace = Workspace(settings)
    try:
        row = workspace.submit(
            spec,
            backend=backend,
            allow_personal_data=allow_personal_data,
            delete_files=delete_files,
            cancel_over_budget=cancel_over_budget,
            stop_on_overfit=stop_on_overfit,
        )
        row = workspace.start(row.id)
    except TuneportError:
        workspace.close()
        raise
    started = Job(workspace, row)
    if row.job_status is JobStatus.FAILED and row.remote_id is None:
        failure = row.job_error
        raise JobFailedError(f"{row.id} was not started: {failure.message if failure else 'no reason given'}", failure)
    return started


def job(job_id: str, *, settings: Settings | None = None) -> Job:
    """A job by its id, the backend's id, or the beginning of ours. NotFoundError where there is none."""
    workspace = Workspace(settings)
    return Job(workspace, workspace.job(job_id))


def jobs(*, limit: int | None = None, settings: Settings | None = None) -> list[Job]:
    """The jobs, newest first, as last known."""
    workspace = Workspace(settings)
    return [Job(workspace, row) for row in workspace.store.jobs(limit=limit)]
