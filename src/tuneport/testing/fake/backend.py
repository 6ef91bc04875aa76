"""A provider in a folder (`home/fake`): behaves like a real one, faults included, and trains nothing.

Any process can ask about any job, because all is in the folder: `jobs/ID.json`, `files/ID.jsonl` and `faults.json`.
The rule of time: each `fetch` of a job takes it one stage further, in the order of `jobs.STAGES`; nothing else
does. So a test that asks five times has seen the same five states wherever and whenever it runs.

A tuned model answers what its training rows answered to the most similar last user message; a base model says that it
is none. Faults are armed in `faults.json` (see `ArmedFault`) or with `arm`, and used up one by one.
"""

from __future__ import annotations

import fcntl
import json
import re
import shutil
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import TypeAdapter

from tuneport import private
from tuneport.backends.base import FineTuneBackend
from tuneport.backends.hosted.statuses import parse_provider_status
from tuneport.backends.provider_options import refuse_hyperparameters
from tuneport.backends.streaming import Chunk, ChunkStream, openai_token_usage
from tuneport.digests import sha256_of
from tuneport.errors import NotFoundError, QuotaError, RateLimitError, RejectedError, UnavailableError
from tuneport.files import replace_file_atomically, write_atomically
from tuneport.testing.fake.jobs import STEPS, STEPS_PER_EPOCH, ArmedFault, FakeJob
from tuneport.types import (
    Adapter,
    Auto,
    Checkpoint,
    Completion,
    DataFile,
    Found,
    Hyperparameters,
    JobError,
    JobEvent,
    JobState,
    JobStatus,
    Method,
    MetricPoint,
    PreparedData,
    Progress,
    RemoteFile,
    RemoteModel,
    TuneSpec,
    now,
)

if TYPE_CHECKING:
    from tuneport.manifests import Manifest
    from tuneport.settings import Settings


class FakeBackend(FineTuneBackend):
    statuses: ClassVar[dict[str, JobStatus]] = {
        "checking": JobStatus.VALIDATING,
        "waiting": JobStatus.QUEUED,
        "training": JobStatus.RUNNING,
        "on hold": JobStatus.PAUSED,
        "packing": JobStatus.FINALIZING,
        "done": JobStatus.SUCCEEDED,
        "broken": JobStatus.FAILED,
        "stopped": JobStatus.CANCELLED,
    }
    at_the_provider: ClassVar[frozenset[str]] = frozenset({"wandb", "python_graders"})  # it does neither

    def __init__(self, manifest: Manifest, settings: Settings, *, faults: Sequence[ArmedFault] = ()) -> None:
        super().__init__(manifest, settings)
        self.folder = settings.home / "fake"
        for fault in faults:
            self.arm(fault)

    # --- faults and the folder --------------------------------------------------------------------------------------

    def arm(self, fault: ArmedFault) -> None:
        with self._locked():
            self._write_faults([*self._faults(), fault])

    def _faults(self) -> list[ArmedFault]:
        path = self.folder / "faults.json"
        return TypeAdapter(list[ArmedFault]).validate_json(path.read_bytes()) if path.exists() else []

    def _write_faults(self, faults: list[ArmedFault]) -> None:
        _write(self.folder / "faults.json", json.dumps([fault.model_dump() for fault in faults]))

    def _take(self, method: str) -> str | None:
        """Use up one armed fault of `method` and return its kind; raise if it keeps the call from happening."""
        faults = self._faults()
        fault = next((fault for fault in faults if fault.on == method), None)
        if fault is None:
            return None
        left = [fault.model_copy(update={"times": fault.times - 1})] if fault.times > 1 else []
        self._write_faults([other for other in faults if other is not fault] + left)
        if fault.kind == "unavailable":
            raise UnavailableError(f"{self.name} is down; try again later", provider=self.name, http_status=503)
        if fault.kind == "rate_limited":
            raise RateLimitError(f"{self.name} takes no more requests just now; try again later", provider=self.name)
        if fault.kind == "no_quota":
            raise QuotaError(f"{self.name} has no credit left for this account; add some", provider=self.name)
        if fault.kind == "rejected":
            raise RejectedError(f"{self.name} refuses the request; change it", provider=self.name, http_status=400)
        return fault.kind

    @contextmanager
    def _locked(self) -> Iterator[None]:
        private.make_private_folder(self.folder / "jobs")
        private.make_private_folder(self.folder / "files")
        try:
            lock = open(self.folder / "lock", "w", opener=private.private_file_opener)
        except OSError:  # in a home that can only be read
            lock = open(self.folder / "lock")
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @contextmanager
    def _call(self, method: str) -> Iterator[str | None]:
        """Provide one call under the folder's lock; a lost reply is raised when all is done."""
        with self._locked():
            kind = self._take(method)
            yield kind
        if kind == "lost_reply":
            raise UnavailableError(f"the answer of {self.name} to {method} was lost; ask again", provider=self.name)

    def _job(self, remote_id: str) -> FakeJob:
        path = self.folder / "jobs" / f"{remote_id}.json"
        if not re.fullmatch(r"fakejob-\d+", remote_id) or not path.exists():
            raise NotFoundError(
                f"{self.name} has no job {remote_id}; check the id", provider=self.name, http_status=404
            )
        return FakeJob.model_validate_json(path.read_bytes())

    def _jobs(self) -> list[FakeJob]:
        """Return the jobs, newest first."""
        paths = sorted((self.folder / "jobs").glob("fakejob-*.json"), reverse=True)
        return [FakeJob.model_validate_json(path.read_bytes()) for path in paths]

    def _save(self, job: FakeJob) -> JobState:
        _write(self.folder / "jobs" / f"{job.id}.json", job.model_dump_json(indent=1))
        return self._state(job)

    def _state(self, job: FakeJob) -> JobState:
        broken = job.ended and job.fails and not job.cancelled
        return JobState(
            remote_id=job.id,
            status=parse_provider_status(self.name, self.statuses, job.raw_status),
            raw_status=job.raw_status,
            model=job.spec.model,
            tuned_model=job.tuned_model,
            created_at=job.created_at,
            finished_at=job.events[-1].created_at if job.ended else None,
            trained_tokens=job.steps * 100 if job.ended else None,
            progress=Progress(step=job.steps, total_steps=STEPS, epoch=job.steps / STEPS_PER_EPOCH),
            error=JobError(code="machine_broke", message="The machine broke", retryable=True) if broken else None,
            hyperparameters=job.spec.hyperparameters.given(),
            details={"training_file": job.training_file},
        )

    # --- starting a job ---------------------------------------------------------------------------------------------

    @classmethod
    def hyperparameter_names(cls, method: Method, adapter: Adapter | Auto) -> Mapping[str, str]:
        # A real provider does not take everything either, and tests need one thing that this one does not.
        return {name: name for name in Hyperparameters.model_fields if name != "lora_dropout"}

    def check(self, spec: TuneSpec) -> None:
        refuse_hyperparameters(
            self.name, spec.hyperparameters.given(), self.hyperparameter_names(spec.method, spec.adapter)
        )
        super().check(spec)

    def prepare(self, spec: TuneSpec, data: PreparedData) -> Iterator[RemoteFile]:
        self.check(spec)
        yield self._place("training", data.training)
        if data.validation is not None:
            yield self._place("validation", data.validation)

    def _place(self, purpose: Literal["training", "validation"], file: DataFile) -> RemoteFile:
        file_id = f"fakefile-{file.sha256[:16]}"
        with self._call("prepare"):
            target = self.folder / "files" / f"{file_id}.jsonl"
            if not target.exists():
                with file.path.open("rb") as source, replace_file_atomically(target, durable=False) as copy:
                    shutil.copyfileobj(source, copy)
        return RemoteFile(id=file_id, purpose=purpose, sha256=file.sha256, filename=target.name, bytes=file.bytes)

    def submit(self, spec: TuneSpec, files: Sequence[RemoteFile], *, token: str) -> JobState:
        self.check(spec)
        training = next(file.id for file in files if file.purpose == "training")
        with self._call("submit") as fault:
            number = len(list((self.folder / "jobs").glob("*fakejob-*.json"))) + 1  # the deleted ones count
            job = FakeJob(
                id=f"fakejob-{number:06d}",
                token=token,
                spec=spec,
                training_file=training,
                created_at=now(),
                fails=fault == "fail_job",
                training_word="simmering" if fault == "unknown_status" else "training",
            )
            return self._save(job)

    def find(self, token: str) -> Found:
        try:
            with self._call("find") as fault:
                for job in self._jobs():
                    if job.token == token and fault != "unlisted":
                        return Found.found(self._state(job))
                return Found.absent()
        except (UnavailableError, RateLimitError) as error:
            return Found.unknown(str(error))

    # --- a job's life -----------------------------------------------------------------------------------------------

    def fetch(self, remote_id: str) -> JobState:
        with self._call("fetch"):
            job = self._job(remote_id)
            if not job.ended and not job.paused:
                job = job.model_copy(update={"stage": job.stage + 1})
            return self._save(job)

    def cancel(self, remote_id: str) -> JobState:
        with self._call("cancel"):
            job = self._job(remote_id)
            return self._save(job if job.ended else job.model_copy(update={"cancelled": True, "paused": False}))

    def pause(self, remote_id: str) -> JobState:
        return self._set_paused(remote_id, True)

    def resume(self, remote_id: str) -> JobState:
        return self._set_paused(remote_id, False)

    def _set_paused(self, remote_id: str, paused: bool) -> JobState:
        with self._call("pause" if paused else "resume"):
            job = self._job(remote_id)
            if job.ended:
                raise RejectedError(f"{remote_id} at {self.name} has ended; nothing to pause", provider=self.name)
            return self._save(job.model_copy(update={"paused": paused}))

    def delete(self, remote_id: str) -> None:
        with self._call("delete"):
            job = self._job(remote_id)
            (self.folder / "jobs" / f"{job.id}.json").rename(self.folder / "jobs" / f"deleted-{job.id}.json")

    def events(self, remote_id: str, *, after: str | None = None) -> Iterable[JobEvent]:
        with self._call("events"):
            events = self._job(remote_id).events
        position = next((index for index, event in enumerate(events) if event.id == after), -1)
        return events[position + 1 :]

    def metrics(self, remote_id: str) -> Sequence[MetricPoint]:
        with self._call("metrics"):
            return self._job(remote_id).metrics

    def checkpoints(self, remote_id: str) -> Sequence[Checkpoint]:
        with self._call("checkpoints"):
            job = self._job(remote_id)
        reached = range(STEPS_PER_EPOCH, job.steps + 1, STEPS_PER_EPOCH)
        return [Checkpoint(id=f"{job.id}-step-{step}", step=step) for step in reached]

    # --- the account ------------------------------------------------------------------------------------------------

    def list_jobs(self) -> Iterable[JobState]:
        with self._call("list_jobs"):
            return [self._state(job) for job in self._jobs()]

    def list_files(self) -> Iterable[RemoteFile]:
        with self._call("list_files"):
            return [
                RemoteFile(
                    id=path.stem,
                    purpose="training",
                    sha256=sha256_of(path),
                    filename=path.name,
                    bytes=path.stat().st_size,
                )
                for path in sorted((self.folder / "files").glob("*.jsonl"))
            ]

    def list_models(self) -> Iterable[RemoteModel]:
        return [
            RemoteModel(id=state.tuned_model, tuned=True) for state in self.list_jobs() if state.tuned_model is not None
        ]

    def read_file(self, file_id: str) -> bytes:
        with self._call("read_file"):
            return self._file(file_id).read_bytes()

    def delete_file(self, file_id: str) -> None:
        with self._call("delete_file"):
            self._file(file_id).unlink()

    def _file(self, file_id: str) -> Path:
        path = self.folder / "files" / f"{file_id}.jsonl"
        if not re.fullmatch(r"fakefile-[0-9a-f]+", file_id) or not path.exists():
            raise NotFoundError(f"{self.name} has no file {file_id}; check the id", provider=self.name, http_status=404)
        return path

    # --- chats ------------------------------------------------------------------------------------------------------

    def complete(
        self, model: str, messages: Sequence[dict[str, Any]], *, stream: bool = False, **options: Any
    ) -> Completion | Iterator[str]:
        with self._call("complete"):
            text = self._answer(model, messages)
        words = re.findall(r"\s*\S+|\s+$", text)
        most = options.get("max_completion_tokens") or options.get("max_tokens") or len(words)
        reason = "length" if len(words) > most else "stop"
        words = words[:most]
        asked = sum(len(_text(message).split()) for message in messages)
        if stream:
            return ChunkStream(_chunks(words, reason, openai_token_usage(asked, len(words))), lambda: None)
        return Completion(
            text="".join(words),
            model=model,
            finish_reason=reason,
            prompt_tokens=asked,
            completion_tokens=len(words),
        )

    def _answer(self, model: str, messages: Sequence[dict[str, Any]]) -> str:
        if not model.startswith("fake:"):
            return f"I am {model}, and I was not trained for this."
        job = next((job for job in self._jobs() if job.tuned_model == model), None)
        if job is None:
            raise NotFoundError(
                f"{self.name} has no model {model}; check the name", provider=self.name, http_status=404
            )
        asked = _words(_last(messages, "user"))
        best = ("", -1.0)
        for line in self._file(job.training_file).read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            turns = row.get("messages") or [*row["input"]["messages"], *row["preferred_output"]]
            known = _words(_last(turns, "user"))
            likeness = len(asked & known) / max(1, len(asked | known))
            if likeness > best[1]:
                best = (_last(turns, "assistant"), likeness)
        return best[0]


def _chunks(words: Sequence[str], reason: str, usage: dict[str, Any] | None) -> Generator[Chunk]:
    for word in words:
        yield Chunk.from_delta(content=word)
    yield Chunk.from_delta(reason, usage)


def _write(path: Path, text: str) -> None:
    """Write aside, then rename: a reader in another process never sees half a file."""
    private.make_private_folder(path.parent)
    write_atomically(path, text, durable=False)


def _text(message: dict[str, Any]) -> str:
    content = message.get("content") or ""
    if isinstance(content, list):
        return " ".join(part.get("text", "") for part in content)
    return str(content)


def _last(messages: Sequence[dict[str, Any]], role: str) -> str:
    return next((_text(message) for message in reversed(messages) if message.get("role") == role), "")


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))
