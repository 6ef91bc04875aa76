"""A job as Python code sees it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, overload

from tuneport.curves import CurveVerdict
from tuneport.errors import TrainingError
from tuneport.formatting import money
from tuneport.lifecycle.hub import push_job_to_hub
from tuneport.lifecycle.open_service import OpenJobService
from tuneport.lifecycle.schema.records import JobRecord
from tuneport.lifecycle.service import JobService, describe_job
from tuneport.pages.notebook import Verdict, render_notebook_view
from tuneport.types import (
    Checkpoint,
    Completion,
    Deployment,
    JobError,
    JobEvent,
    JobStatus,
    MetricPoint,
    Progress,
)

if TYPE_CHECKING:
    from tuneport.lifecycle.proposing.consent import ConfirmEndpoint


class JobFailedError(TrainingError):
    """A job that was waited for failed or was cancelled; `error` is what the backend said, if anything."""

    def __init__(self, message: str, error: JobError | None) -> None:
        self.error = error
        super().__init__(message)


@dataclass(frozen=True)
class JobUpdate:
    """One update of `Job.follow`: the job as it is now, and its events since the update before."""

    status: JobStatus
    note: str | None
    progress: Progress
    events: tuple[JobEvent, ...]


class Job:
    """One job of a workspace. Attributes are as last known; `refresh` asks the backend."""

    def __init__(self, workspace: OpenJobService | JobService, row: JobRecord) -> None:
        self._home = workspace
        self._row = row

    def __repr__(self) -> str:
        return f"Job({self.id!r}, {self.status.value}, {self._row.model!r} on {self.backend!r})"

    def _repr_html_(self) -> str:
        state = self._row.job_state
        facts = [("backend", self.backend), ("model", self._row.model)]
        if state is not None and state.progress.step is not None:
            steps = f"{state.progress.step:,}"
            facts.append(
                ("step", steps if state.progress.total_steps is None else f"{steps} of {state.progress.total_steps:,}")
            )
        if self.tuned_model is not None:
            facts.append(("tuned model", self.tuned_model))
        if state is not None and state.cost is not None:
            facts.append(("cost", money(state.cost)))
        notes = [self.error.message] if self.error is not None else [self.note] if self.note else []
        kind: Verdict = "pass" if self.status is JobStatus.SUCCEEDED else "fail" if self.status.terminal else "note"
        return render_notebook_view(self.id, facts, ruling=(self.status.value, kind), notes=notes)

    @property
    def _workspace(self) -> JobService:
        return self._home.service if isinstance(self._home, OpenJobService) else self._home

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
        """Return the tuned model's name on its backend, once the job succeeded."""
        state = self._row.job_state
        return None if state is None else state.tuned_model

    @property
    def error(self) -> JobError | None:
        return self._row.job_error

    @property
    def note(self) -> str | None:
        """Return why nothing moves at present, for people."""
        return self._row.note

    def as_dict(self) -> dict[str, Any]:
        """Return the same document that `tuneport show JOB --json` prints."""
        return describe_job(self._row)

    def refresh(self) -> Job:
        self._row = self._workspace.refresh(self.id)
        return self

    def wait(self, timeout: float | None = None, *, poll_seconds: float | None = None) -> Job:
        """Drive the job to its end and return it. Raises JobFailedError if it failed or was cancelled.

        Raises TimeoutError after `timeout` seconds; the job continues, and `wait` may be called again.
        """
        deadline = _deadline(timeout)
        for seconds in self.turns(poll_seconds):
            if deadline is not None and not self.status.terminal and time.monotonic() >= deadline:
                raise self.timed_out(timeout)
            time.sleep(seconds)
        return self.succeeded()

    def turns(self, poll_seconds: float | None) -> Iterator[float]:
        """Bring the job one step on at each `next`, and yield the seconds until the one after; ends with the job."""
        for row, seconds in self._workspace.worker.turns(self.id, poll_seconds=poll_seconds):
            self._row = row
            yield seconds

    def timed_out(self, timeout: float | None) -> TimeoutError:
        return TimeoutError(f"{self.id} is {self.status.value} after {timeout:g} seconds; it continues")

    def succeeded(self) -> Job:
        """Return the job that has ended. Raises JobFailedError if it failed or was cancelled."""
        if self.status is not JobStatus.SUCCEEDED:
            reason = f": {self.error.message}" if self.error else ""
            raise JobFailedError(f"{self.id} {self.status.value} on {self.backend}{reason}", self.error)
        return self

    def follow(self, timeout: float | None = None, *, poll_seconds: float | None = None) -> Iterator[JobUpdate]:
        """Drive the job and yield each change of its status, note or progress, with the events that are new.

        The last update is the job's end; a job that failed ends like any other, and its `status` says so. Stored events
        come with the first update. Raises TimeoutError after `timeout` seconds; the job continues.
        """
        deadline = _deadline(timeout)
        for update, seconds in self.updates(poll_seconds):
            if update is not None:
                yield update
            if deadline is not None and not self.status.terminal and time.monotonic() >= deadline:
                raise self.timed_out(timeout)
            time.sleep(seconds)

    def updates(self, poll_seconds: float | None) -> Iterator[tuple[JobUpdate | None, float]]:
        """Yield what changed in each turn, or None, and the seconds until the next one."""
        position, before = 0, None
        for seconds in self.turns(poll_seconds):
            new = self._workspace.events(self.id, after=position)
            position = new[-1][0] if new else position
            state = self._row.job_state
            now = (self.status, self.note, Progress() if state is None else state.progress)
            changed = now != before or bool(new)
            before = now
            yield (JobUpdate(*now, tuple(event for _, event in new)) if changed else None), seconds

    def cancel(self) -> Job:
        self._row = self._workspace.cancel(self.id)
        return self

    def resolve(self, *, started: str | None = None, not_started: bool = False, force: bool = False) -> Job:
        """Record what became of a start whose answer was lost; `as_dict()["needs"]` has the question, if there is
        one."""
        self._row = self._workspace.resolve(self.id, started=started, not_started=not_started, force=force)
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
        """Download the tuned weights into a new or empty folder; an interrupted download continues."""
        return self._workspace.download(self.id, Path(folder), merged=merged)

    def push_to_hub(self, name: str, *, merged: bool = False, private: bool = True) -> str:
        """Put the tuned weights on the model hub as OWNER/NAME, with HF_TOKEN; the address of the commit."""
        return push_job_to_hub(self._workspace, self.id, name, merged=merged, private=private)

    def events(self) -> list[JobEvent]:
        """Return all events stored so far, oldest first."""
        return [event for _, event in self._workspace.events(self.id)]

    def metrics(self) -> Sequence[MetricPoint]:
        return self._workspace.metrics(self.id)

    def verdict(self) -> CurveVerdict | None:
        """Return the verdict on the loss curve (overfitting, still learning and so on) and its reasons, or None if
        there is none."""
        return self._workspace.verdict(self.id)

    @overload
    def complete(self, prompt: Prompt, *, stream: Literal[False] = False, **options: Any) -> Completion: ...

    @overload
    def complete(self, prompt: Prompt, *, stream: Literal[True], **options: Any) -> Iterator[str]: ...

    def complete(self, prompt: Prompt, *, stream: bool = False, **options: Any) -> Completion | Iterator[str]:
        """Ask the tuned model. `prompt` is a user message, or a whole conversation in OpenAI's shape.

        `options` take OpenAI's names (`max_tokens`, `temperature`, `tools` ...). `stream` True does the same as
        `stream()`.
        """
        if stream:
            return self.stream(prompt, **options)
        return self._workspace.complete(self.id, job_prompt_messages(prompt), **options)

    def stream(self, prompt: Prompt, **options: Any) -> Iterator[str]:
        """Ask as `complete` does, and yield the pieces of the answer's text as they are written."""
        return self._workspace.stream(self.id, job_prompt_messages(prompt), **options)

    def deploy(
        self,
        *,
        hardware: str | None = None,
        replicas: int | None = None,
        inactive_timeout: int | None = None,
        max_usd_per_hour: float | None = None,
        confirm: ConfirmEndpoint = None,
    ) -> Deployment:
        """Start an endpoint for the tuned model; see `tuneport.deploy`."""
        options = given_job_options(
            hardware=hardware, replicas=replicas, inactive_timeout=inactive_timeout, max_usd_per_hour=max_usd_per_hour
        )
        return self._workspace.deploy(self.id, options, confirm=confirm)


Prompt: TypeAlias = str | Sequence[dict[str, Any]]


def job_prompt_messages(prompt: Prompt) -> list[dict[str, Any]]:
    return [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)


def given_job_options(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _deadline(timeout: float | None) -> float | None:
    return None if timeout is None else time.monotonic() + timeout
