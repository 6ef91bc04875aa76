"""A backend as a package outside tuneport would have it, in one file: a provider in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from tuneport.backends.base import FineTuneBackend
from tuneport.backends.provider_options import refuse_hyperparameters
from tuneport.errors import NotFoundError
from tuneport.types import (
    Checkpoint,
    Found,
    JobEvent,
    JobState,
    JobStatus,
    MetricPoint,
    PreparedData,
    RemoteFile,
    TuneSpec,
    now,
)

manifest = Path(__file__).with_name("toy.toml")
STAGES = ("waiting", "working", "working", "finished")


@dataclass
class ToyJob:
    id: str
    token: str
    spec: TuneSpec
    created_at: datetime = field(default_factory=now)
    stage: int = 0
    stopped: bool = False

    @property
    def ended(self) -> bool:
        return self.stopped or STAGES[self.stage] == "finished"


class Toy(FineTuneBackend):
    statuses = {
        "waiting": JobStatus.QUEUED,
        "working": JobStatus.RUNNING,
        "finished": JobStatus.SUCCEEDED,
        "stopped": JobStatus.CANCELLED,
    }

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.jobs: dict[str, ToyJob] = {}

    @classmethod
    def hyperparameter_names(cls, *_: Any) -> Mapping[str, str]:
        return {"epochs": "rounds"}

    def check(self, spec: TuneSpec) -> None:
        refuse_hyperparameters(self.name, spec.hyperparameters.given(), self.hyperparameter_names())
        super().check(spec)

    def prepare(self, spec: TuneSpec, data: PreparedData) -> Iterator[RemoteFile]:
        self.check(spec)
        file = data.training
        yield RemoteFile(
            id=f"file-{file.sha256[:12]}", purpose="training", sha256=file.sha256, filename="train.jsonl",
            bytes=file.bytes,
        )  # fmt: skip

    def submit(self, spec: TuneSpec, files: Sequence[RemoteFile], *, token: str) -> JobState:
        self.check(spec)
        job = ToyJob(f"toy-{len(self.jobs) + 1}", token, spec)
        self.jobs[job.id] = job
        return self._state(job)

    def find(self, token: str) -> Found:
        job = next((job for job in self.jobs.values() if job.token == token), None)
        return Found.absent() if job is None else Found.found(self._state(job))

    def fetch(self, remote_id: str) -> JobState:
        job = self._job(remote_id)
        if not job.ended:
            job.stage += 1
        return self._state(job)

    def cancel(self, remote_id: str) -> JobState:
        job = self._job(remote_id)
        job.stopped = not job.ended or job.stopped
        return self._state(job)

    def events(self, remote_id: str, *, after: str | None = None) -> list[JobEvent]:
        job = self._job(remote_id)
        words = [*STAGES[: job.stage + 1], *(["stopped"] if job.stopped else [])]
        events = [
            JobEvent(id=f"{job.id}-{number}", created_at=job.created_at + timedelta(seconds=number), message=word)
            for number, word in enumerate(words)
        ]
        return events if after is None else [event for event in events if event.id > after]

    def metrics(self, remote_id: str) -> list[MetricPoint]:
        return [MetricPoint(step=step, train_loss=1 / step) for step in range(1, self._job(remote_id).stage + 1)]

    def checkpoints(self, remote_id: str) -> list[Checkpoint]:
        return [Checkpoint(id=f"{remote_id}-last", step=self._job(remote_id).stage)]

    def _job(self, remote_id: str) -> ToyJob:
        if remote_id not in self.jobs:
            raise NotFoundError(f"{self.name} has no job {remote_id}; check the id", provider=self.name)
        return self.jobs[remote_id]

    def _state(self, job: ToyJob) -> JobState:
        word = "stopped" if job.stopped else STAGES[job.stage]
        done = word == "finished"
        return JobState(
            remote_id=job.id,
            status=self.statuses[word],
            raw_status=word,
            model=job.spec.model,
            tuned_model=f"toy:{job.id}" if done else None,
            created_at=job.created_at,
            finished_at=now() if job.ended else None,
        )


class Forgetful(Toy):
    """Has a fault: no submit is ever found again, so tuneport would start a second job."""

    def find(self, token: str) -> Found:
        return Found.absent()
