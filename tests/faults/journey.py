"""One whole run as a user has it: submit, follow to the end, look at everything, fetch the result, delete the files.

Nothing is replaced but time: workspace, store, worker, backends and the vendors' SDKs are the real ones.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from tests.faults.clock import Clock
from tuneport.backends import backend_manifest
from tuneport.backends.hosted.backend import HostedBackend
from tuneport.backends.openai.backend import OpenAIBackend
from tuneport.backends.together.backend import TogetherBackend
from tuneport.data.dataset import Dataset
from tuneport.errors import ProviderError, TuneportError, UnsupportedError
from tuneport.lifecycle.planning.planning import Plan, RankedJob
from tuneport.lifecycle.schema.records import JobRecord
from tuneport.lifecycle.service import JobService
from tuneport.lifecycle.worker.worker import JobWorker
from tuneport.manifests import Manifest
from tuneport.router import BackendChoice, DatasetFacts, Machine
from tuneport.settings import BackendSettings, ProjectFile, Settings
from tuneport.types import Hyperparameters, JobStatus, Quote, TuneSpec


class OpenAIInParts(OpenAIBackend):
    """With limits so small that each file goes up in parts."""

    part_bytes = 500

    def __init__(self, manifest: Manifest, settings: Settings, **time: Any) -> None:
        assert manifest.limits.max_file_bytes is not None
        small = manifest.limits.max_file_bytes.model_copy(update={"value": 100})
        limits = manifest.limits.model_copy(update={"max_file_bytes": small})
        super().__init__(manifest.model_copy(update={"limits": limits}), settings, **time)


BACKENDS: dict[str, type[HostedBackend]] = {
    "openai": OpenAIBackend,
    "together": TogetherBackend,
    "openai in parts": OpenAIInParts,
}
"""By route: whose wire format it is, and in which way."""
MODELS = {"openai": "gpt-4.1-mini-2025-04-14", "together": "Qwen/Qwen3.5-4B"}
KEYS = {"openai": "sk-secret-0123456789abcdef", "together": "tgp_v1_secret-0123456789abcdef"}
KEY_VARIABLES = {"openai": "OPENAI_API_KEY", "together": "TOGETHER_API_KEY"}
BUDGET = 50.0  # so that Together is asked for its quote before the job is started
POLL_SECONDS = 2.0
SETTLED_SLOWLY, SETTLING_POLL_SECONDS = timedelta(minutes=1), 60.0
"""A start without an answer is waited for over an hour: looked at each minute, once it has lasted for so long."""
TRIES = 4  # of a user who reads the error and does the same again


@dataclass
class Trouble:
    """What a user was told: an error that a verb raised, or that a job failed with before it was started."""

    verb: str
    kind: str
    message: str
    code: str | None
    retryable: bool


@dataclass
class Report:
    """How the run went for the user."""

    troubles: list[Trouble] = field(default_factory=list)
    results: dict[str, Any] = field(default_factory=dict)


class BenchWorkspace(JobService):
    """A workspace with the bench's clock. Planning is left out: it asks nobody, and its answer depends on the day."""

    def __init__(self, settings: Settings, name: str, clock: Clock, make: type[HostedBackend]) -> None:
        super().__init__(settings)
        self.clock = clock
        self._backends[name] = make(
            backend_manifest(name, settings), settings, sleep=clock.sleeper("backend"), monotonic=clock.monotonic
        )

    def _make_worker(self) -> JobWorker:
        return JobWorker(
            self.store,
            self.backend,
            self.settings.home / "files",
            fetch=self.contents.fetch_content,
            sleep=self.clock.sleeper("worker"),
            monotonic=self.clock.monotonic,
            clock=self.clock.now,
            machine_clock=self.clock.machine,
        )

    def plan(self, spec: TuneSpec, *, backend: str | None = None, dataset: Dataset | None = None) -> Plan:
        assert backend is not None
        unknown = Quote.unknown(backend, spec.model, "the bench does not plan")
        choice = BackendChoice(backend=backend, title=backend, model=spec.model, quote=unknown)
        training = dataset or Dataset(spec.dataset, spec.columns)
        validation = None if spec.validation is None else training.validation_like(spec.validation)
        ranked = RankedJob(spec, self.settings, [choice], training, validation, DatasetFacts(rows=0), Machine())
        return Plan(ranked, choice, backend_manifest(backend, self.settings), named_by="your choice")


def provider_of(route: str) -> str:
    return route.partition(" ")[0]


def open_workspace(
    route: str,
    base_url: str,
    home: Path,
    clock: Clock,
    *,
    timeout: float = 60.0,
    make: type[HostedBackend] | None = None,
) -> BenchWorkspace:
    name = provider_of(route)
    environment = {
        "TUNEPORT_HOME": str(home / "home"),
        f"TUNEPORT_{name.upper()}_BASE_URL": base_url,
        KEY_VARIABLES[name]: KEYS[name],
    }
    home.mkdir(parents=True, exist_ok=True)
    project = ProjectFile(backends={name: BackendSettings(options={"timeout": timeout, "poll_interval": POLL_SECONDS})})
    settings = Settings.load(home, environment).model_copy(update={"project": project})
    return BenchWorkspace(settings, name, clock, make or BACKENDS[route])


def write_data(folder: Path) -> tuple[Path, Path]:
    """Twelve chats to train on and four to validate with."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = folder / "train.jsonl", folder / "validation.jsonl"
    for path, rows in zip(paths, (12, 4), strict=True):
        chats = [
            [
                {"role": "user", "content": f"{path.stem} question {number}?"},
                {"role": "assistant", "content": f"Answer {number}."},
            ]
            for number in range(rows)
        ]
        path.write_text("".join(json.dumps({"messages": chat}) + "\n" for chat in chats))
    return paths


def spec_of(name: str, folder: Path) -> TuneSpec:
    training, validation = write_data(folder)
    return TuneSpec(
        model=MODELS[name],
        dataset=training,
        validation=validation,
        hyperparameters=Hyperparameters(epochs=2, batch_size=4),
        suffix="bench",
        seed=7,
        budget=BUDGET,
    )


def travel(workspace: BenchWorkspace, route: str, folder: Path) -> Report:
    """The whole run. What a verb raises is noted, and the verb is called again, as its user would."""
    report, name = Report(), provider_of(route)
    pause = workspace.clock.sleeper("user")
    backend = workspace.backend(name)

    def persist(verb: str, call: Callable[[], Any]) -> None:
        for _ in range(TRIES):
            try:
                report.results[verb] = call()
                return
            except TuneportError as error:
                report.troubles.append(_trouble(verb, error))
                pause((error.retry_after if isinstance(error, ProviderError) else None) or 1.0)

    def settles_slowly(row: JobRecord) -> bool:
        sent = row.submit_intent_at if row.remote_id is None else None
        return sent is not None and workspace.clock.now() - sent > SETTLED_SLOWLY

    def to_the_end() -> str:
        # Whatever is in the store is gone on with; a job that was never started is submitted again.
        row = next((row for row in workspace.store.jobs.all() if row.status != JobStatus.FAILED), None)
        if row is None:
            row = workspace.submit(spec_of(name, folder / "data"), backend=name, allow_personal_data=True)
        while True:
            slowly = settles_slowly(row)
            row = workspace.drive(
                row.id,
                until=lambda row, before=slowly: settles_slowly(row) != before,
                poll_seconds=SETTLING_POLL_SECONDS if slowly else POLL_SECONDS,
            )
            if row.job_status.terminal:
                break
        if row.job_error is not None:
            failed = row.job_error
            raise _NotStartedError(failed.message, failed.code, failed.retryable)
        return row.status

    persist("drive", to_the_end)
    (row, *_) = workspace.store.jobs.all()
    if row.remote_id is None or row.status != JobStatus.SUCCEEDED:
        return report
    remote_id = row.remote_id
    persist("metrics", lambda: [point.model_dump(mode="json") for point in workspace.metrics(row.id)])
    persist("checkpoints", lambda: [point.step for point in backend.checkpoints(remote_id)])
    persist("result", lambda: _result(backend, remote_id, folder / "weights"))
    persist("delete files", lambda: _delete_files(workspace, backend, row.id))
    return report


class _NotStartedError(TuneportError):
    def __init__(self, message: str, code: str, retryable: bool) -> None:
        super().__init__(message)
        self.code, self.retryable = code, retryable


def _trouble(verb: str, error: TuneportError) -> Trouble:
    code, retryable = getattr(error, "code", None), bool(getattr(error, "retryable", False))
    return Trouble(verb, type(error).__name__, str(error), code, retryable)


def _result(backend: HostedBackend, remote_id: str, folder: Path) -> list[str]:
    """The hashes of what there is to fetch: the weights, or else the result files."""
    try:
        weights = backend.download(remote_id, folder)
        files = sorted(weights.rglob("*.safetensors")) if weights.is_dir() else [weights]
        contents = [file.read_bytes() for file in files]
    except UnsupportedError:
        contents = [backend.read_file(file_id) for file_id in backend.fetch(remote_id).result_files]
    return [hashlib.sha256(content).hexdigest() for content in contents]


def _delete_files(workspace: BenchWorkspace, backend: HostedBackend, job_id: str) -> int:
    """Delete the job's files that are still there, and return how many of them are left."""
    ours = {file.id for file in workspace.store.files.list_job_files(job_id)}
    for file in backend.list_files():
        if file.id in ours:
            backend.delete_file(file.id)
    return sum(file.id in ours for file in backend.list_files())
