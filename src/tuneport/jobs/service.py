"""The verbs on jobs. The command line, the gateway and Python code all call these."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from tuneport.backends import backend_names, manifest_of, open_backend
from tuneport.backends.base import FineTuneBackend
from tuneport.curves import CurveVerdict, judge
from tuneport.data.containers.hub import hub_name
from tuneport.data.prepare import file_format, prepare_for
from tuneport.data.reading import columns_there, detect
from tuneport.errors import (
    ConfigError,
    ModelNotOfferedError,
    ProviderError,
    RejectedError,
    TuneportError,
    UnsupportedError,
)
from tuneport.jobs.accuracy import BackendAccuracy, accuracy
from tuneport.jobs.alternatives import alternatives
from tuneport.jobs.budgets import Month
from tuneport.jobs.consent import refuse_personal_data
from tuneport.jobs.contents import Contents
from tuneport.jobs.curve_reading import verdict_of
from tuneport.jobs.document import describe
from tuneport.jobs.forgetting import kept_forgetting
from tuneport.jobs.planning import Plan, plan
from tuneport.jobs.polling import Poller
from tuneport.jobs.recording import record_states
from tuneport.jobs.remote_contents import open_contents
from tuneport.jobs.remote_files import FileEntry
from tuneport.jobs.requests import Claim
from tuneport.jobs.store import Store, UnknownJobError
from tuneport.jobs.tables import JobRow
from tuneport.jobs.terms import BindingTerm, unshown_terms
from tuneport.jobs.worker import Worker
from tuneport.manifests import Manifest, load_models, resolve_model
from tuneport.settings import Settings
from tuneport.types import (
    Checkpoint,
    Completion,
    JobEvent,
    JobState,
    JobStatus,
    Method,
    MetricPoint,
    PreparedData,
    TuneSpec,
    now,
)

__all__ = ["CANCELLED_OR_ENDED", "Workspace", "describe"]

CANCELLED_OR_ENDED = (JobStatus.CANCELLING, JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED)


class Workspace:
    """One home: its settings, its store, and the backends opened so far. Close it, or use it with `with`.

    Methods that take a job take its id, the backend's id for it, or the beginning of ours.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings.load()
        self.store = Store(self.settings.database_url)
        self.worker = Worker(
            self.store,
            self.backend,
            self.settings.home / "files",
            alternatives=lambda row: alternatives(row, self.settings),
            fetch=lambda sha256: self.contents.fetch(sha256),
            monthly_budget=self.settings.monthly_budget,
        )
        self.remote_files = self.worker.remote_files
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

    @cached_property
    def contents(self) -> Contents:
        """What clients of a gateway uploaded, wherever that is kept; opened by who needs it."""
        return open_contents(self.settings, self.store.alone)

    def backend(self, name: str) -> FineTuneBackend:
        with self._opening:
            if name not in self._backends:
                self._backends[name] = open_backend(name, self.settings)
            return self._backends[name]

    # --- start ------------------------------------------------------------------------------------------------------

    def plan(self, spec: TuneSpec, *, backend: str | None = None) -> Plan:
        """Where the spec would run and what it would cost there, without starting anything."""
        return plan(spec, self.settings, backend=backend, history=self.store.history())

    def submit(
        self,
        spec: TuneSpec,
        *,
        backend: str | None = None,
        allow_personal_data: bool = False,
        delete_files: bool | None = None,
        cancel_over_budget: bool = False,
        stop_on_overfit: bool = False,
        show_terms: Callable[[list[BindingTerm]], None] | None = None,
        claim: Claim | None = None,
    ) -> JobRow:
        """Check, choose a backend, convert the data, and write the job's row.

        `delete_files`: when the job has ended, what was uploaded for it is deleted at the provider (None: as
        `tuneport.toml` says, else no). `cancel_over_budget`: while it runs, it is cancelled as soon as it is on its way
        above the spec's budget (and only told of, else). `stop_on_overfit`: whoever looks after it stops it once it
        surely overfits, and its best checkpoint is kept. `show_terms` is told what binds whoever trains there, if it
        never was before.
        `claim` is the request of which the job is made; ClaimLostError where it is no longer ours.

        Nothing is uploaded yet: `drive` (or a worker) does that, with the data as it is now, whatever becomes of the
        file. Raises what makes the spec impossible, and then there is no row: DatasetError, ConversionLossError,
        ModelNotOfferedError, BudgetError, UnsupportedError, AuthError (no key), ConfigError (personal data on its way
        to a third party and not allowed, among others).
        """
        if cancel_over_budget and spec.budget is None:
            raise ConfigError("there is no budget that the job could be cancelled for; give one (--budget USD)")
        if stop_on_overfit:
            _refuse_blind(spec)
        planned = self.plan(spec, backend=backend)
        choice = planned.chosen
        assert choice.model is not None  # `choose` gives no backend that does not offer the model
        opened = self.backend(choice.backend)
        if spec.from_checkpoint is not None:
            spec = spec.model_copy(
                update={"from_checkpoint": self._remote_checkpoint(spec.from_checkpoint, choice.backend)}
            )
        if spec.reward_function is not None:
            spec = spec.model_copy(update={"reward_folder": spec.reward_folder or Path.cwd()})
        elif spec.reward is not None:
            spec = spec.model_copy(update={"reward": self._reward_model(spec.reward, choice.backend)})
        opened.check(spec.model_copy(update={"model": choice.model}))
        data = self._prepared(spec, opened.manifest)
        if planned.third_party and not allow_personal_data:
            refuse_personal_data(spec, data, choice.backend)
        spec = spec.model_copy(
            update={
                "dataset": _absolute(spec.dataset),
                "validation": None if spec.validation is None else _absolute(spec.validation),
            }
        )
        if show_terms is not None and (terms := unshown_terms(self.store, opened.manifest, choice.model)):
            show_terms(terms)
        if delete_files is None:
            delete_files = self.settings.delete_files(choice.backend)
        return self.store.add_job(
            spec,
            data,
            backend=choice.backend,
            model=choice.model,
            quote=choice.quote,
            estimate=planned.estimate,
            delete_files=delete_files,
            cancel_over_budget=cancel_over_budget,
            stop_on_overfit=stop_on_overfit,
            monthly_budget=self.settings.monthly_budget,
            claim=claim,
        )

    def _remote_checkpoint(self, wanted: str, backend: str) -> str:
        """The backend's own words for `JOB[:STEP]`, where JOB is one of ours; else as it is."""
        job_id, colon, step = wanted.rpartition(":") if re.fullmatch(r".+:\d+", wanted) else (wanted, "", "")
        try:
            row = self.store.job(job_id)
        except UnknownJobError:
            return wanted
        if row.backend != backend:
            raise ConfigError(
                f"{row.id} ran on {row.backend}, and its weights are there; submit with --backend {row.backend} to "
                f"go on from them, or without from_checkpoint on {backend}"
            )
        if row.job_status is not JobStatus.SUCCEEDED and not step:
            raise ConfigError(
                f"{row.id} is {row.status} and has no weights to go on from; give JOB:STEP or another job"
            )
        return f"{row.remote_id}{colon}{step}"

    def _reward_model(self, wanted: str, backend: str) -> str:
        """A folder by its whole path, the backend's id of one of our jobs, else as it is."""
        if Path(wanted).expanduser().is_dir():
            return str(_absolute(Path(wanted).expanduser()))
        try:
            row = self.store.job(wanted)
        except UnknownJobError:
            return wanted
        if row.backend != backend or row.tune_spec.method is not Method.REWARD:
            raise ConfigError(f"{row.id} is no job of the method reward on {backend}; name one, a function or a folder")
        if row.job_status is not JobStatus.SUCCEEDED or row.remote_id is None:
            raise ConfigError(f"the reward model {row.id} is {row.status}, not finished; wait for it, or name another")
        return row.remote_id

    def _prepared(self, spec: TuneSpec, manifest: Manifest) -> PreparedData:
        source = detect(spec.dataset, spec.columns).format
        target = file_format(spec.method, source, manifest.data_format, manifest.also_takes)
        training = prepare_for(spec.method, spec.dataset, target, self.worker.files, spec.columns)
        if spec.validation is None:
            return PreparedData(training=training)
        columns = columns_there(spec.validation, spec.columns)
        held_out = prepare_for(spec.method, spec.validation, target, self.worker.files, columns)
        return PreparedData(training=training, validation=held_out)

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

    def start(
        self,
        job_id: str,
        *,
        on_change: Callable[[JobRow], None] = lambda row: None,
        patience: float = 0.0,
        wait_for_place: float = 5.0,
    ) -> JobRow:
        """Drive a job until the backend has it, or until it has waited so many seconds for a place there.

        Then it is `submitting` and its note says what for; whoever drives it next (`drive`, a poller) goes on waiting.
        """

        def there(row: JobRow) -> bool:
            if row.remote_id is not None or row.waits_since is None:
                return row.remote_id is not None
            next_try = max(now(), row.due_at) if row.due_at else now()
            return (next_try - row.waits_since).total_seconds() >= wait_for_place

        return self.drive(job_id, until=there, on_change=on_change, patience=patience)

    def refresh(self, job_id: str) -> JobRow:
        """Ask once. A job that waits for a worker (preparing, submitting) is left as it is."""
        row = self.store.job(job_id)
        if row.job_status.terminal and row.events_due:
            self.worker.collect_events(row.id)
        if row.job_status.terminal or row.remote_id is None:
            return row
        return self.worker.step(row.id)

    def refresh_all(self, *, limit: int | None = None, patience: float = 30.0) -> tuple[list[JobRow], dict[str, str]]:
        """The jobs, newest first, unfinished ones asked about; and, for each backend in trouble, what it said.

        Asks with as few calls as each backend allows, all at once, and waits `patience` seconds for the slowest.
        Events are left for whoever looks at them.
        """
        rows = self.store.jobs(limit=limit)
        trouble: dict[str, str] = {}
        waiting: dict[str, dict[str, JobRow]] = {}
        for row in rows:
            if row.remote_id is not None and not row.job_status.terminal:
                waiting.setdefault(row.backend, {})[row.remote_id] = row

        def ask(name: str) -> None:
            if said := self._refresh_backend(name, waiting[name]):
                trouble[name] = said

        # Daemons: a provider that hangs neither delays the others nor keeps the program from ending.
        threads = {name: threading.Thread(target=ask, args=(name,), daemon=True) for name in waiting}
        for thread in threads.values():
            thread.start()
        deadline = time.monotonic() + patience
        for name, thread in threads.items():
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                trouble[name] = f"{name} has not answered within {patience:.0f} s; try again"
        return (self.store.jobs(limit=limit) if waiting else rows), trouble.copy()

    def _refresh_backend(self, name: str, rows: dict[str, JobRow]) -> str | None:
        trouble = None
        states: dict[str, JobState] = {}
        try:
            for remote_id, answer in self.backend(name).fetch_many(list(rows)):
                if isinstance(answer, ProviderError):
                    trouble = str(answer)
                else:
                    states[rows[remote_id].id] = answer
        except (ProviderError, ConfigError, UnsupportedError) as error:
            trouble = str(error)
        record_states(self.store, states, {row.id: row for row in rows.values()})
        if any(state.status.terminal for state in states.values()):
            self.remote_files.clean(name)
        return trouble

    def poll(
        self,
        *,
        until_idle: bool = False,
        on_change: Callable[[str, str, str | None], None] = lambda job_id, status, note: None,
        on_trouble: Callable[[str, str], None] = lambda name, message: None,
    ) -> None:
        """Be the worker of all unfinished jobs, until interrupted or, with `until_idle`, until there are none."""
        self.store.on_over_budget = lambda job_id, message: on_trouble(job_id, message)
        Poller(self.worker, on_change=on_change, on_trouble=on_trouble).run(until_idle=until_idle)

    # --- wishes -----------------------------------------------------------------------------------------------------

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

    def stop_on_overfit(self, job_id: str) -> JobRow:
        """From now on: see `submit`. Of a job that has ended: no change, no error."""
        row = self.store.job(job_id)
        _refuse_blind(row.tune_spec)
        self.store.request_stop_on_overfit(row.id)
        return self.store.job(row.id)

    def pause(self, job_id: str) -> JobRow:
        """Write the wish down, then ask. A paused job stays as it is; ConfigError where there is nothing to pause."""
        return self._wish(job_id, "pause", (JobStatus.PAUSING, JobStatus.PAUSED))

    def resume(self, job_id: str) -> JobRow:
        """Let a paused job go on. One that is not paused stays as it is.

        Where the backend can, a job that failed for want of something (room on a disk, say) goes on, too; BudgetError
        where the month has no room for the rest of it.
        """
        row = self.store.job(job_id)
        if row.job_status is JobStatus.FAILED and row.remote_id and self.backend(row.backend).resumes_failed:
            return self.worker.reopen(row.id)
        running = tuple(status for status in JobStatus if status not in (JobStatus.PAUSING, JobStatus.PAUSED))
        return self._wish(job_id, "resume", running)

    def _wish(self, job_id: str, wish: Literal["pause", "resume"], fulfilled: Sequence[JobStatus]) -> JobRow:
        row = self.store.job(job_id)
        if row.job_status.terminal:
            raise ConfigError(f"{row.id} has ended ({row.status}); there is nothing to {wish}")
        if row.remote_id is None:
            raise ConfigError(f"{row.backend} does not have {row.id} yet ({row.status}); to stop it, cancel it")
        backend = self.backend(row.backend)
        if not _offers(backend, wish):
            raise UnsupportedError(
                f"the backend {row.backend} does not support {wish[:-1]}ing a job; cancel it instead"
            )
        if row.job_status in fulfilled and row.wish is None:
            return self.refresh(row.id)
        self.store.request_wish(row.id, wish)
        after = self.worker.step(row.id)
        if self.store.job(row.id).lease_owner is not None and after.job_status not in fulfilled:
            getattr(backend, wish)(after.remote_id)  # as in `cancel`
        elif after.wish is None and after.job_status not in fulfilled and not after.job_status.terminal and after.note:
            raise RejectedError(f"{row.id} on {row.backend}: {after.note}", provider=row.backend)
        return after

    def delete(self, job_id: str) -> JobRow:
        """Delete the tuned model at the backend (at some, all that the job produced). The row stays, and says so.

        ConfigError while the job runs, or where it made nothing; UnsupportedError where the backend deletes none. Of a
        deleted one: no change, no error.
        """
        row = self.store.job(job_id)
        if not row.job_status.terminal:
            raise ConfigError(f"{row.id} is {row.status}; `tuneport cancel {row.id}` stops it, then delete it")
        if row.remote_id is None or row.tuned_model is None:
            raise ConfigError(f"{row.id} made no model ({row.status}); there is nothing to delete")
        if not _offers(self.backend(row.backend), "delete"):
            raise UnsupportedError(f"the backend {row.backend} does not support deleting a model; delete it there")
        self.store.request_deletion(row.id)
        return self.worker.step(row.id)

    # --- look -------------------------------------------------------------------------------------------------------

    def job(self, job_id: str) -> JobRow:
        return self.store.job(job_id)

    def month(self) -> Month:
        """What this calendar month's jobs (UTC) come to, over all backends."""
        return self.store.month()

    def accuracy(self) -> list[BackendAccuracy]:
        """How far the estimates were off, for each backend that has jobs which ended."""
        return accuracy(self.store.estimated_and_actual())

    def events(self, job_id: str, *, after: int = 0, limit: int | None = None) -> list[tuple[int, JobEvent]]:
        """The events, oldest first, each with its position; `after` is the last position already seen.

        Of a job whose end many answers at once brought, they are fetched now, if the backend can be reached.
        """
        return self.store.events(self._with_events(job_id), after=after, limit=limit)

    def newest_events(self, job_id: str, *, before: int | None = None, limit: int = 20) -> list[tuple[int, JobEvent]]:
        """A page of `events`, newest first: those before a position, or the last ones."""
        return self.store.newest_events(self._with_events(job_id), before=before, limit=limit)

    def _with_events(self, job_id: str) -> str:
        row = self.store.job(job_id)
        if row.events_due:
            with contextlib.suppress(TuneportError):
                self.worker.collect_events(row.id)
        return row.id

    def files(self, *, backend: str | None = None) -> tuple[list[FileEntry], dict[str, str]]:
        """The files at every provider that has a key (or at one), and, for each that could not be asked, why."""
        if backend is not None:
            return self.remote_files.listing([backend])
        names = set(self.store.file_backends())
        for name in backend_names(self.settings):
            manifest = manifest_of(name, self.settings)
            if manifest.third_party and manifest.api_key_env and self.settings.secret(manifest.api_key_env):
                names.add(name)
        return self.remote_files.listing(sorted(names))

    def metrics(self, job_id: str) -> Sequence[MetricPoint]:
        row = self.store.job(job_id)
        return [] if row.remote_id is None else self.backend(row.backend).metrics(row.remote_id)

    def verdict(self, job_id: str) -> CurveVerdict | None:
        """What the job's loss curve says now; None where it has none."""
        row = self.store.job(job_id)
        return verdict_of(row, self.backend(row.backend), forgetting=kept_forgetting(self.settings.home, row.id))

    def judged(self, row: JobRow, points: Sequence[MetricPoint]) -> CurveVerdict:
        """What these points of the job say, and what an evaluation found it to have forgotten."""
        return judge(points, ended=row.job_status.terminal, forgetting=kept_forgetting(self.settings.home, row.id))

    def checkpoints(self, job_id: str) -> Sequence[Checkpoint]:
        """The checkpoints that the backend keeps of a job, by step. UnsupportedError where it has none to show."""
        row = self.store.job(job_id)
        return [] if row.remote_id is None else self.backend(row.backend).checkpoints(row.remote_id)

    def download(self, job_id: str, folder: Path, *, merged: bool = False, checkpoint: int | None = None) -> Path:
        """Fetch a job's tuned weights, or those after the step `checkpoint`; see `FineTuneBackend.download`."""
        row = self.store.job(job_id)
        if row.remote_id is None:
            raise ConfigError(f"{row.id} is {row.status} and has no weights; `tuneport watch {row.id}` follows it")
        remote_id = row.remote_id if checkpoint is None else f"{row.remote_id}:{checkpoint}"
        return self.backend(row.backend).download(remote_id, folder, merged=merged)

    def complete(
        self, model: str, messages: Sequence[dict[str, Any]], *, backend: str | None = None, **options: Any
    ) -> Completion | Iterator[str]:
        """Chat with a job's tuned model, or with a model of a backend."""
        name, model_id = self.locate(model, backend=backend)
        return self.backend(name).complete(model_id, messages, **options)

    def locate(self, model: str, *, backend: str | None = None) -> tuple[str, str]:
        """The backend and its model id behind a job id, a tuned model's name, an alias or a plain model name."""
        row = self.store.job_of_model(model)
        try:
            row = row or self.store.job(model)
        except UnknownJobError:
            return locate_base_model(model, self.settings, backend)
        return model_of(row)


def _refuse_blind(spec: TuneSpec) -> None:
    if spec.validation is None:
        raise ConfigError(
            "whether a job overfits shows on rows that it does not train on; give a validation file (--validation), "
            "or leave --stop-on-overfit out"
        )
    if spec.method.writes_answers:
        raise ConfigError(f"{spec.method} is judged by rewards, not by a loss; leave --stop-on-overfit out")


def model_of(row: JobRow) -> tuple[str, str]:
    """The backend of a job and its tuned model's name there. ConfigError where it has none."""
    if row.tuned_model is None and row.job_status.terminal:
        raise ConfigError(f"{row.id} ended as {row.status} and made no model; `tuneport show {row.id}` says more")
    if row.tuned_model is None:
        raise ConfigError(f"{row.id} is {row.status} and has no model yet; `tuneport watch {row.id}` follows it")
    if row.deleted_at is not None:
        raise ConfigError(f"the model of {row.id} was deleted at {row.backend} on {row.deleted_at:%Y-%m-%d}")
    return row.backend, row.tuned_model


def locate_base_model(model: str, settings: Settings, backend: str | None) -> tuple[str, str]:
    """The backend and its id of a model that no job of the store has tuned; asks no store and no backend."""
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


def _offers(backend: FineTuneBackend, verb: str) -> bool:
    """Whether the backend has a way of its own for it, not only the base class's refusal."""
    return getattr(type(backend), verb) is not getattr(FineTuneBackend, verb)


def _absolute(path: Path) -> Path:
    return path if hub_name(path) is not None else path.absolute()
