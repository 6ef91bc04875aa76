"""The verbs on jobs. The command line, the gateway and Python code all call these."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tuneport.backends import backend_names, manifest_of, open_backend
from tuneport.backends.base import FineTuneBackend
from tuneport.data.containers.hub import hub_name
from tuneport.data.prepare import format_for, prepare
from tuneport.errors import ConfigError, ModelNotOfferedError, ProviderError, UnsupportedError
from tuneport.jobs.planning import Plan, plan
from tuneport.jobs.store import Store, UnknownJobError
from tuneport.jobs.tables import JobRow
from tuneport.jobs.worker import Worker
from tuneport.manifests import load_models, resolve_model
from tuneport.settings import Settings
from tuneport.types import (
    Completion,
    JobEvent,
    JobStatus,
    MetricPoint,
    PreparedData,
    TuneSpec,
)

CANCELLED_OR_ENDED = (JobStatus.CANCELLING, JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED)


class Workspace:
    """One home: its settings, its store, and the backends opened so far. Close it, or use it with `with`.

    Methods that take a job take its id, the backend's id for it, or the beginning of ours.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings.load()
        self.store = Store(self.settings.database_url)
        self.worker = Worker(self.store, self.backend, self.settings.home / "files")
        self._backends: dict[str, FineTuneBackend] = {}
        self._opening = threading.Lock()

    def __enter__(self) -> Workspace:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        for backend in self._backends.values():
            backend.close()
        self._backends.clear()
        self.store.close()

    def backend(self, name: str) -> FineTuneBackend:
        with self._opening:
            if name not in self._backends:
                self._backends[name] = open_backend(name, self.settings)
            return self._backends[name]

    # --- start ------------------------------------------------------------------------------------------------------

    def plan(self, spec: TuneSpec, *, backend: str | None = None) -> Plan:
        """Where the spec would run and what it would cost there, without starting anything."""
        return plan(spec, self.settings, backend=backend)

    def submit(self, spec: TuneSpec, *, backend: str | None = None, allow_personal_data: bool = False) -> JobRow:
        """Check, choose a backend, convert the data, and write the job's row.

        Nothing is uploaded yet: `drive` (or a worker) does that, with the data as it is now, whatever becomes of the
        file. Raises what makes the spec impossible, and then there is no row: DatasetError, ConversionLossError,
        ModelNotOfferedError, BudgetError, UnsupportedError, AuthError (no key), ConfigError (personal data on its way
        to a third party and not allowed, among others).
        """
        planned = self.plan(spec, backend=backend)
        choice = planned.chosen
        assert choice.model is not None  # `choose` gives no backend that does not offer the model
        opened = self.backend(choice.backend)
        opened.check(spec.model_copy(update={"model": choice.model}))
        data = self._prepared(spec, opened.manifest.data_format)
        if planned.third_party and not allow_personal_data:
            _refuse_personal_data(spec, data, choice.backend)
        spec = spec.model_copy(
            update={
                "dataset": _absolute(spec.dataset),
                "validation": None if spec.validation is None else _absolute(spec.validation),
            }
        )
        return self.store.add_job(spec, data, backend=choice.backend, model=choice.model, quote=choice.quote)

    def _prepared(self, spec: TuneSpec, data_format: str) -> PreparedData:
        target = format_for(spec.method, data_format)
        validation = None if spec.validation is None else prepare(spec.validation, target, self.worker.files)
        return PreparedData(training=prepare(spec.dataset, target, self.worker.files), validation=validation)

    # --- go on ------------------------------------------------------------------------------------------------------

    def drive(
        self,
        job_id: str,
        *,
        until: Callable[[JobRow], bool] = lambda row: False,
        on_change: Callable[[JobRow], None] = lambda row: None,
        patience: float = 900.0,
        poll_seconds: float | None = None,
    ) -> JobRow:
        """See `Worker.drive`. Whoever calls it is the job's worker for that time."""
        return self.worker.drive(
            self.store.job(job_id).id, until=until, on_change=on_change, patience=patience, poll_seconds=poll_seconds
        )

    def refresh(self, job_id: str) -> JobRow:
        """Ask once. A job that waits for a worker (preparing, submitting) is left as it is."""
        row = self.store.job(job_id)
        if row.job_status.terminal or row.remote_id is None:
            return row
        return self.worker.step(row.id)

    def refresh_all(self, *, limit: int | None = None) -> tuple[list[JobRow], dict[str, str]]:
        """The jobs, newest first, unfinished ones asked about; and, for each backend in trouble, what it said."""
        rows = self.store.jobs(limit=limit)
        trouble: dict[str, str] = {}
        waiting: dict[str, list[JobRow]] = {}
        for row in rows:
            if row.remote_id is not None and not row.job_status.terminal:
                waiting.setdefault(row.backend, []).append(row)
        for name, group in waiting.items():
            by_remote_id = {str(row.remote_id): row for row in group}
            try:
                for remote_id, answer in self.backend(name).fetch_many(list(by_remote_id)):
                    if isinstance(answer, ProviderError):
                        trouble[name] = str(answer)
                        continue
                    try:
                        self.worker.record(by_remote_id[remote_id].id, answer)
                    except ProviderError as error:  # of this job's events; the others are still to be recorded
                        trouble[name] = str(error)
            except (ProviderError, ConfigError, UnsupportedError) as error:
                trouble[name] = str(error)
        return (self.store.jobs(limit=limit) if waiting else rows), trouble

    def cancel(self, job_id: str) -> JobRow:
        """Write the wish down, then ask. Of a finished job: no change, no error."""
        row = self.store.job(job_id)
        if row.job_status.terminal:
            return row
        self.store.request_cancel(row.id)
        after = self.worker.step(row.id)
        held = self.store.job(row.id).lease_owner is not None
        if held and after.remote_id is not None and after.job_status not in CANCELLED_OR_ENDED:
            # The process that is at the row will see the wish; asking twice does no harm, and this is sooner.
            self.backend(after.backend).cancel(after.remote_id)
        return after

    # --- look -------------------------------------------------------------------------------------------------------

    def job(self, job_id: str) -> JobRow:
        return self.store.job(job_id)

    def events(self, job_id: str, *, after: int = 0) -> list[tuple[int, JobEvent]]:
        """All stored events, oldest first, each with its position; `after` is the last position already seen."""
        return self.store.events(self.store.job(job_id).id, after=after)

    def metrics(self, job_id: str) -> Sequence[MetricPoint]:
        row = self.store.job(job_id)
        return [] if row.remote_id is None else self.backend(row.backend).metrics(row.remote_id)

    def complete(
        self, model: str, messages: Sequence[dict[str, Any]], *, backend: str | None = None, **options: Any
    ) -> Completion | Iterator[str]:
        """Chat with a job's tuned model, or with a model of a backend."""
        name, model_id = self.locate(model, backend=backend)
        return self.backend(name).complete(model_id, messages, **options)

    def locate(self, model: str, *, backend: str | None = None) -> tuple[str, str]:
        """The backend and its model id behind a job id, a tuned model's name, an alias or a plain model name."""
        for row in self.store.jobs():
            state = row.job_state
            if state is not None and state.tuned_model == model:
                return row.backend, model
        try:
            row = self.store.job(model)
        except UnknownJobError:
            return _locate_base_model(model, self.settings, backend)
        state = row.job_state
        if state is None or state.tuned_model is None:
            raise ConfigError(f"{row.id} is {row.status} and has no model yet; `tuneport watch {row.id}` follows it")
        return row.backend, state.tuned_model


def _locate_base_model(model: str, settings: Settings, backend: str | None) -> tuple[str, str]:
    prefix, _, rest = model.partition("/")
    if backend is None and rest and prefix in backend_names(settings):
        backend, model = prefix, rest
    name = backend or settings.backend or "local"
    manifest = manifest_of(name, settings)
    try:
        return name, resolve_model(model, name, manifest, load_models(), settings.aliases(model))
    except ModelNotOfferedError:
        if manifest.deployment is None and not model.startswith("ft:"):
            raise
        return name, model  # a deployment, which has a name of the user's own, or a model that was tuned elsewhere


def _absolute(path: Path) -> Path:
    return path if hub_name(path) is not None else path.absolute()


def _refuse_personal_data(spec: TuneSpec, data: PreparedData, backend: str) -> None:
    """Look at the very files that would be uploaded."""
    from tuneport.data.checks.personal import scan

    for source, file in ((spec.dataset, data.training), (spec.validation, data.validation)):
        if file is None:
            continue
        found = scan(file.path, file.format)
        if found.count:
            first = found.matches[0]
            raise ConfigError(
                f"{source} holds what looks like personal data ({found.count} places; {first.kind} in record "
                f"{first.line}) and {backend} is a third party; `tuneport check` shows them, `tuneport clean "
                "--redact` replaces them, --allow-personal-data uploads them anyway"
            )


def describe(row: JobRow) -> dict[str, Any]:
    """A job as one JSON document: the same keys for every backend and in every state."""
    spec, state, data = row.tune_spec, row.job_state, row.prepared_data
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
        "hyperparameters": {
            "given": spec.hyperparameters.given(),
            "resolved": {} if state is None else state.hyperparameters,
        },
        "suffix": spec.suffix,
        "seed": spec.seed,
        "quote": row.quote,
        "budget": spec.budget,
        "cost": None if state is None else state.cost,
        "trained_tokens": None if state is None else state.trained_tokens,
        "progress": progress,
        "error": row.error,
        "note": row.note,
        "created_at": row.created_at.isoformat(),
        "finished_at": None if row.finished_at is None else row.finished_at.isoformat(),
        "estimated_finish": None
        if state is None or state.estimated_finish is None
        else state.estimated_finish.isoformat(),
        "details": {} if state is None else state.details,
    }
