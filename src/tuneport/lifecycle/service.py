"""The workspace: the verbs on jobs. The command line, the gateway and Python code all call these."""

from __future__ import annotations

import contextlib
import copy
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack

from tuneport import private
from tuneport.errors import (
    ConfigError,
    NotDeployedError,
    ProviderError,
    RejectedError,
    TuneportError,
    UnsupportedError,
)
from tuneport.lifecycle.document import describe_job
from tuneport.lifecycle.schema.records import JobRecord
from tuneport.lifecycle.store.store import Store, UnknownJobError
from tuneport.lifecycle.submitting.hold_out import HoldOut
from tuneport.lifecycle.submitting.options import JobOptions, OptionKeywords
from tuneport.settings import Settings
from tuneport.types import (
    Checkpoint,
    Completion,
    Deployment,
    JobEvent,
    JobState,
    JobStatus,
    MetricPoint,
    TuneSpec,
    now,
)

if TYPE_CHECKING:  # what only some verbs need is imported in them: listing jobs needs no backend and no dataset
    from tuneport.backends.base import FineTuneBackend
    from tuneport.curves import CurveVerdict
    from tuneport.data.dataset import Dataset
    from tuneport.lifecycle.accounting.accuracy import JobEstimateAccuracy
    from tuneport.lifecycle.accounting.budgets import MonthlyJobCosts
    from tuneport.lifecycle.contents.contents import Contents
    from tuneport.lifecycle.planning.planning import Plan
    from tuneport.lifecycle.proposing.consent import ChooseBackend, Confirm, ConfirmEndpoint
    from tuneport.lifecycle.proposing.proposal import JobProposal
    from tuneport.lifecycle.proposing.submitter import JobSubmitter
    from tuneport.lifecycle.proposing.terms import BindingTerm
    from tuneport.lifecycle.store.requests import JobRequestClaim
    from tuneport.lifecycle.worker.remote_files import JobRemoteFileEntry, JobRemoteFiles
    from tuneport.lifecycle.worker.worker import JobWorker

__all__ = ["CANCELLED_OR_ENDED", "JobService", "describe_job"]

CHECKPOINT = re.compile(r":ckpt-step-\d+$")
"""The suffix of a job's model that means one of its checkpoints."""
REFRESH_SECONDS = 30.0  # for the slowest backend, where all are asked
CANCELLED_OR_ENDED = (JobStatus.CANCELLING, JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED)


class JobService:
    """The jobs of one home: its settings, its store, and the backends opened so far. Close it, or use it with `with`.

    Methods that take a job take its id, the backend's id for it, or the beginning of ours.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings.load()
        self._monthly_budget = self.settings.monthly_budget  # read now: a wrong one is told before any job
        private.make_home_private(self.settings.home)
        self.store = Store(self.settings.database_url).unscoped()
        self._backends: dict[str, FineTuneBackend] = {}
        self._opening = threading.Lock()
        self._contents = cache(self._open_contents)
        self._worker = cache(self._make_worker)

    def __enter__(self) -> JobService:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        for backend in self._backends.values():
            backend.close()
        self._backends.clear()
        self.store.close()

    def scoped(self, project: str) -> JobService:
        """Return this service as one project sees it: its jobs, requests and files. Close the one it came from."""
        view = copy.copy(self)
        view.store = self.store.scoped(project)
        return view

    @property
    def contents(self) -> Contents:
        """Open what clients of a gateway uploaded, wherever that is kept; only on first use."""
        return self._contents()

    def _open_contents(self) -> Contents:
        from tuneport.lifecycle.contents.remote_contents import open_contents

        return open_contents(self.settings, self.store.database.hold_store_lock)

    @property
    def worker(self) -> JobWorker:
        """Return the worker that drives the jobs of all projects; it is made on first use."""
        with self._opening:
            return self._worker()

    def _make_worker(self) -> JobWorker:
        from tuneport.lifecycle.planning.alternatives import rank_job_alternatives
        from tuneport.lifecycle.worker.worker import JobWorker

        return JobWorker(
            self.store,
            self.backend,
            self.settings.home / "files",
            alternatives=lambda row: rank_job_alternatives(row, self.settings),
            fetch=lambda sha256: self.contents.fetch_content(sha256),
            monthly_budget=self._monthly_budget,
        )

    @property
    def remote_files(self) -> JobRemoteFiles:
        return self.worker.remote_files

    def backend(self, name: str) -> FineTuneBackend:
        from tuneport.backends import open_backend

        with self._opening:
            if name not in self._backends:
                self._backends[name] = open_backend(name, self.settings)
            return self._backends[name]

    # --- start ------------------------------------------------------------------------------------------------------

    def plan(self, spec: TuneSpec, *, backend: str | None = None, dataset: Dataset | None = None) -> Plan:
        """Plan the spec: where it would run and what it would cost there. Nothing is started.

        `dataset` is the spec's, if the caller has opened it already.
        """
        from tuneport.lifecycle.planning.planning import choose_job_backend

        return choose_job_backend(
            spec, self.settings, backend=backend, history=self.store.statistics.read_job_history(), dataset=dataset
        )

    def submit(
        self,
        spec: TuneSpec,
        *,
        backend: str | None = None,
        options: JobOptions = JobOptions(),
        show_terms: Callable[[list[BindingTerm]], None] | None = None,
        claim: JobRequestClaim | None = None,
        dataset: Dataset | None = None,
        **given: Unpack[OptionKeywords],
    ) -> JobRecord:
        """Choose a backend, convert the data, and write the job's row, without a question (`submit_proposal` asks).

        Options given by keyword replace those in `options`. `show_terms` receives the terms of the provider, if they
        were never shown before. `claim` is the request that the job is made from; raises ClaimLostError if another
        process has it by now. `dataset` is the spec's, if the caller has opened it already.

        Nothing is uploaded yet: `drive` (or a worker) does that, with the data as it is now, even if the file changes.
        A spec that is impossible raises an error and leaves no row: DatasetError, ConversionLossError,
        ModelNotOfferedError, BudgetError, UnsupportedError, AuthError (no key), ConfigError (personal data on its way
        to a third party and not allowed, among others).
        """
        submitter = self._submitter()
        proposal = submitter.propose(spec, options.updated(given), backend=backend, dataset=dataset)
        return submitter.add(proposal, show_terms=show_terms, claim=claim)

    def propose(
        self,
        spec: TuneSpec,
        *,
        backend: str | None = None,
        options: JobOptions = JobOptions(),
        choose: ChooseBackend | None = None,
        dataset: Dataset | None = None,
        hold_out: HoldOut = None,
    ) -> JobProposal:
        """Return the job as it would be submitted, to be agreed to: checked, priced, with its data converted.

        Where no backend was named, no third party is taken unless `choose` does: it is shown the ranking. `hold_out`
        is the share of the rows that become its validation file, if the spec names none; "auto": a tenth, where there
        are enough. Raises what `submit` raises, and ConsentError if only third parties can run the job and none was
        chosen.
        """
        return self._submitter().propose(
            spec, options, backend=backend, dataset=dataset, choose=choose, hold_out=hold_out, with_consent=True
        )

    def submit_proposal(
        self,
        proposal: JobProposal,
        *,
        confirm: Confirm = None,
        show_terms: Callable[[list[BindingTerm]], None] | None = None,
    ) -> JobRecord:
        """Write the job's row if it is agreed to; see `require_consent`, whose errors it raises."""
        from tuneport.lifecycle.proposing.consent import require_consent

        agreed = require_consent(proposal, confirm, job_budget=self.settings.job_budget)
        return self._submitter().add(agreed, show_terms=show_terms)

    def _submitter(self) -> JobSubmitter:
        from tuneport.lifecycle.proposing.submitter import JobSubmitter

        return JobSubmitter(self.plan, self.store, self.settings, self.backend, self.worker, self._monthly_budget)

    # --- drive ------------------------------------------------------------------------------------------------------

    def drive(
        self,
        job_id: str,
        *,
        until: Callable[[JobRecord], bool] = lambda row: False,
        on_change: Callable[[JobRecord], None] = lambda row: None,
        patience: float = 900.0,
        poll_seconds: float | None = None,
    ) -> JobRecord:
        """Drive the job; see `JobWorker.drive`. The caller is the job's worker for that time."""
        return self.worker.drive(
            self.store.jobs.get(job_id).id,
            until=until,
            on_change=on_change,
            patience=patience,
            poll_seconds=poll_seconds,
        )

    def start(
        self,
        job_id: str,
        *,
        on_change: Callable[[JobRecord], None] = lambda row: None,
        patience: float = 0.0,
        wait_for_slot: float = 5.0,
        wait_for_answer: float = 20.0,
    ) -> JobRecord:
        """Drive a job until the backend has it, or until it has waited so many seconds for a slot there, or for word of
        a submit without an answer.

        In the latter cases it is `submitting` and its note says what it waits for; the next driver (`drive`, a poller)
        continues the wait. Raises UnresolvedStartError if only a person can say whether it was started.
        """

        def there(row: JobRecord) -> bool:
            if row.submit_intent_at is not None and row.remote_id is None:
                return (
                    row.job_submission.looks > 1 and self.worker.unclear.seconds_without_answer(row) >= wait_for_answer
                )
            if row.remote_id is not None or row.waits_since is None:
                return row.remote_id is not None
            next_try = max(now(), row.due_at) if row.due_at else now()
            return (next_try - row.waits_since).total_seconds() >= wait_for_slot

        return self.drive(job_id, until=there, on_change=on_change, patience=patience)

    def refresh(self, job_id: str) -> JobRecord:
        """Poll the job once. A job that waits for a worker (preparing, submitting) is left as it is."""
        row = self.store.jobs.get(job_id)
        if self.store.read_only:
            return row
        if row.recheck_at is not None and row.recheck_at <= now():
            row = self.worker.recheck(row.id)
        if row.job_status.terminal and row.events_due:
            self.worker.collect_events(row.id)
        if row.job_status.terminal or row.remote_id is None:
            return row
        return self.worker.step(row.id)

    def refresh_all(self, *, limit: int | None = None) -> tuple[list[JobRecord], dict[str, str]]:
        """Return the jobs, newest first, with unfinished ones polled; and, for each backend in trouble, its error.

        It makes as few calls as each backend allows, all at once, and waits `REFRESH_SECONDS` for the slowest. Events
        are fetched later, when they are read.
        """
        rows = self.store.jobs.all(limit=limit)
        trouble: dict[str, str] = {}
        waiting: dict[str, dict[str, JobRecord]] = {}
        rechecks: dict[str, list[str]] = {}
        for row in rows:
            if self.store.read_only:
                break
            if row.recheck_at is not None and row.recheck_at <= now():
                rechecks.setdefault(row.backend, []).append(row.id)
            if row.remote_id is not None and not row.job_status.terminal:
                waiting.setdefault(row.backend, {})[row.remote_id] = row

        def ask(name: str) -> None:
            try:
                said = self._refresh_backend(name, waiting.get(name, {}), rechecks.get(name, []))
            except TuneportError as error:  # the store, say, which another thread may find damaged
                said = str(error)
            if said:
                trouble[name] = said

        # Daemons: a provider that hangs neither delays the others nor keeps the program from ending.
        threads = {name: threading.Thread(target=ask, args=(name,), daemon=True) for name in waiting | rechecks}
        for thread in threads.values():
            thread.start()
        deadline = time.monotonic() + REFRESH_SECONDS
        for name, thread in threads.items():
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                trouble[name] = f"{name} has not answered within {REFRESH_SECONDS:.0f} s; try again"
        return (self.store.jobs.all(limit=limit) if threads else rows), trouble.copy()

    def _refresh_backend(self, name: str, rows: dict[str, JobRecord], rechecks: Sequence[str]) -> str | None:
        from tuneport.lifecycle.worker.recording import record_job_states

        trouble = None
        states: dict[str, JobState] = {}
        try:
            for job_id in rechecks:
                self.worker.recheck(job_id)
            for remote_id, answer in self.backend(name).fetch_many(list(rows)):
                if isinstance(answer, ProviderError):
                    trouble = str(answer)
                else:
                    states[rows[remote_id].id] = answer
        except (ProviderError, ConfigError, UnsupportedError) as error:
            trouble = str(error)
        record_job_states(self.store, states, {row.id: row for row in rows.values()})
        if any(state.status.terminal for state in states.values()):
            self.remote_files.delete_unneeded_files(name)
        return trouble

    def poll(
        self,
        *,
        until_idle: bool = False,
        on_change: Callable[[str, str, str | None], None] = lambda job_id, status, note: None,
        on_trouble: Callable[[str, str], None] = lambda name, message: None,
    ) -> None:
        """Drive all unfinished jobs until interrupted or, with `until_idle`, until there are none."""
        from tuneport.lifecycle.worker.polling import JobPoller

        self.store.events.on_over_budget = lambda job_id, message: on_trouble(job_id, message)
        JobPoller(self.worker, on_change=on_change, on_trouble=on_trouble).run(until_idle=until_idle)

    # --- requested actions --------------------------------------------------------------------------------------------

    def cancel(self, job_id: str) -> JobRecord:
        """Record the request to cancel, then ask the backend. Does nothing if the job is finished."""
        row = self.store.jobs.get(job_id)
        if row.job_status.terminal:
            return row
        self.store.jobs.request_cancel(row.id)
        after = self.worker.step(row.id)
        held = self.store.jobs.get(row.id).lease_owner is not None
        if held and after.remote_id is not None and after.job_status not in CANCELLED_OR_ENDED:
            # The process that holds the row will see the request; asking twice does no harm, and this is sooner.
            self.backend(after.backend).cancel(after.remote_id)
        return after

    def cancel_remote(self, backend: str, remote_id: str) -> JobState:
        """Stop a job by the provider's own id, tuneport's or not. Does nothing if the job is finished."""
        row = self.store.jobs.find_by_remote_id(backend, remote_id)
        if row is not None:
            self.cancel(row.id)
            return self.backend(backend).fetch(remote_id)
        return self.backend(backend).cancel(remote_id)

    def resolve(
        self, job_id: str, *, started: str | None = None, not_started: bool = False, force: bool = False
    ) -> JobRecord:
        """Record what became of a job whose start was not answered: the provider's id of it, or that it was not
        started.

        After `not_started` the next driver submits the job again: `start`, `drive` or a poller. `force`: before
        tuneport has asked, or for a job that looks different. Raises ConfigError if there is nothing to decide, or if
        the job cannot be the one.
        """
        if (started is None) is not not_started:
            raise ConfigError("say either --started ID, the provider's id of the job, or --not-started")
        return self.worker.resolve(self.store.jobs.get(job_id).id, started=started, force=force)

    def stop_on_overfit(self, job_id: str) -> JobRecord:
        """Stop the job from now on if it overfits: see `submit`. Does nothing if the job has ended."""
        row = self.store.jobs.get(job_id)
        JobOptions(stop_on_overfit=True).check(row.tune_spec)
        self.store.jobs.set_options(row.id, stop_on_overfit=True)
        return self.store.jobs.get(row.id)

    def pause(self, job_id: str) -> JobRecord:
        """Record the request to pause, then ask the backend. A paused job stays as it is. Raises ConfigError if there
        is nothing to pause."""
        return self._request_action(job_id, "pause", (JobStatus.PAUSING, JobStatus.PAUSED))

    def resume(self, job_id: str) -> JobRecord:
        """Continue a paused job. One that is not paused stays as it is.

        If the backend supports it, a job that failed for lack of a resource (room on a disk, say) is resumed, too;
        raises BudgetError if the month has no room for the rest of it.
        """
        row = self.store.jobs.get(job_id)
        if row.job_status is JobStatus.FAILED and row.remote_id and self.backend(row.backend).resumes_failed:
            return self.worker.resume_failed_job(row.id)
        running = tuple(status for status in JobStatus if status not in (JobStatus.PAUSING, JobStatus.PAUSED))
        return self._request_action(job_id, "resume", running)

    def _request_action(
        self, job_id: str, requested_action: Literal["pause", "resume"], fulfilled: Sequence[JobStatus]
    ) -> JobRecord:
        row = self.store.jobs.get(job_id)
        if row.job_status.terminal:
            raise ConfigError(f"{row.id} has ended ({row.status}); there is nothing to {requested_action}")
        if row.remote_id is None:
            raise ConfigError(f"{row.backend} does not have {row.id} yet ({row.status}); to stop it, cancel it")
        backend = self.backend(row.backend)
        if not backend.supports(requested_action):
            raise UnsupportedError(
                f"the backend {row.backend} does not support {requested_action[:-1]}ing a job; cancel it instead"
            )
        if row.job_status in fulfilled and row.requested_action is None:
            return self.refresh(row.id)
        self.store.jobs.request_action(row.id, requested_action)
        after = self.worker.step(row.id)
        if self.store.jobs.get(row.id).lease_owner is not None and after.job_status not in fulfilled:
            getattr(backend, requested_action)(after.remote_id)  # as in `cancel`
        elif (
            after.requested_action is None
            and after.job_status not in fulfilled
            and not after.job_status.terminal
            and after.note
        ):
            raise RejectedError(f"{row.id} on {row.backend}: {after.note}", provider=row.backend)
        return after

    def delete(self, job_id: str) -> JobRecord:
        """Delete the tuned model at the backend (at some, all that the job produced). The row stays, and says so.

        Raises ConfigError while the job runs, or if it made nothing, and UnsupportedError if the backend deletes none.
        Does nothing if the model is already deleted.
        """
        row = self.store.jobs.get(job_id)
        if not row.job_status.terminal:
            raise ConfigError(f"{row.id} is {row.status}; `tuneport cancel {row.id}` stops it, then delete it")
        if row.remote_id is None or row.tuned_model is None:
            raise ConfigError(f"{row.id} made no model ({row.status}); there is nothing to delete")
        if not self.backend(row.backend).supports("delete"):
            raise UnsupportedError(f"the backend {row.backend} does not support deleting a model; delete it there")
        self.store.jobs.request_deletion(row.id)
        return self.worker.step(row.id)

    # --- read -------------------------------------------------------------------------------------------------------

    def job(self, job_id: str) -> JobRecord:
        return self.store.jobs.get(job_id)

    def month(self) -> MonthlyJobCosts:
        """Return what this calendar month's jobs (UTC) cost, over all backends."""
        return self.store.statistics.sum_month()

    def accuracy(self) -> list[JobEstimateAccuracy]:
        """Return how far the estimates were off, for each backend that has jobs which ended."""
        from tuneport.lifecycle.accounting.accuracy import measure_job_estimate_accuracy

        return measure_job_estimate_accuracy(self.store.statistics.list_estimated_and_actual())

    def events(self, job_id: str, *, after: int = 0, limit: int | None = None) -> list[tuple[int, JobEvent]]:
        """Return the events, oldest first, each with its position; `after` is the last position already seen.

        If the job's end came with a poll of many jobs, its events are fetched now, if the backend can be reached.
        """
        return self.store.events.list_job_events(self._with_events(job_id), after=after, limit=limit)

    def newest_events(self, job_id: str, *, before: int | None = None, limit: int = 20) -> list[tuple[int, JobEvent]]:
        """Return a page of `events`, newest first: those before a position, or the last ones."""
        return self.store.events.list_newest_events(self._with_events(job_id), before=before, limit=limit)

    def _with_events(self, job_id: str) -> str:
        row = self.store.jobs.get(job_id)
        if row.events_due:
            with contextlib.suppress(TuneportError):
                self.worker.collect_events(row.id)
        return row.id

    def files(self, *, backend: str | None = None) -> tuple[list[JobRemoteFileEntry], dict[str, str]]:
        """Return the files at every provider that has a key (or at one), and, for each that could not be asked, why."""
        from tuneport.backends import training_backend_manifests

        if backend is not None:
            return self.remote_files.list_files([backend])
        names = set(self.store.files.list_backends())
        for manifest in training_backend_manifests(self.settings):
            if manifest.third_party and manifest.api_key_env and self.settings.secret(manifest.api_key_env):
                names.add(manifest.name)
        return self.remote_files.list_files(sorted(names))

    def metrics(self, job_id: str) -> Sequence[MetricPoint]:
        row = self.store.jobs.get(job_id)
        return [] if row.remote_id is None else self.backend(row.backend).metrics(row.remote_id)

    def verdict(self, job_id: str) -> CurveVerdict | None:
        """Return what the job's loss curve says now, or None if it has none."""
        from tuneport.lifecycle.forgetting import read_stored_job_forgetting
        from tuneport.lifecycle.worker.curve_reading import judge_job_curve

        row = self.store.jobs.get(job_id)
        return judge_job_curve(
            row, self.backend(row.backend), forgetting=read_stored_job_forgetting(self.settings.home, row.id)
        )

    def judged(self, row: JobRecord, points: Sequence[MetricPoint]) -> CurveVerdict:
        """Return what these points of the job's curve say, and what an evaluation found it to have forgotten."""
        from tuneport.curves import judge_curve
        from tuneport.lifecycle.forgetting import read_stored_job_forgetting

        return judge_curve(
            points, ended=row.job_status.terminal, forgetting=read_stored_job_forgetting(self.settings.home, row.id)
        )

    def checkpoints(self, job_id: str) -> Sequence[Checkpoint]:
        """Return the checkpoints that the backend keeps of a job, by step. Raises UnsupportedError if it has none to
        show."""
        row = self.store.jobs.get(job_id)
        return [] if row.remote_id is None else self.backend(row.backend).checkpoints(row.remote_id)

    def download(self, job_id: str, folder: Path, *, merged: bool = False, checkpoint: int | None = None) -> Path:
        """Fetch a job's tuned weights, or those after the step `checkpoint`; see `FineTuneBackend.download`."""
        row = self.store.jobs.get(job_id)
        if row.remote_id is None:
            raise ConfigError(f"{row.id} is {row.status} and has no weights; `tuneport watch {row.id}` follows it")
        remote_id = row.remote_id if checkpoint is None else f"{row.remote_id}:{checkpoint}"
        return self.backend(row.backend).download(remote_id, folder, merged=merged)

    def complete(
        self, model: str, messages: Sequence[dict[str, Any]], *, backend: str | None = None, **options: Any
    ) -> Completion:
        """Answer a chat with a job's tuned model, or with a model of a backend."""
        name, model_id = self.locate(model, backend=backend)
        with self.naming_job(model):
            return self.backend(name).answer(model_id, messages, **options)

    def stream(
        self, model: str, messages: Sequence[dict[str, Any]], *, backend: str | None = None, **options: Any
    ) -> Iterator[str]:
        """Answer a chat as `complete` does, and yield the pieces of the answer's text as they are written."""
        name, model_id = self.locate(model, backend=backend)
        with self.naming_job(model):
            return self.backend(name).stream(model_id, messages, **options)

    def deploy(
        self,
        model: str,
        options: Mapping[str, Any],
        *,
        backend: str | None = None,
        confirm: ConfirmEndpoint = None,
    ) -> Deployment:
        """Start an endpoint for a job's tuned model, or for a model of a backend; see `FineTuneBackend.deploy`.

        `confirm` is asked before anything that costs money; see `deploy_with_consent`. Raises ConsentError
        without an agreement.
        """
        from tuneport.lifecycle.proposing.consent import deploy_with_consent

        name, model_id = self.locate(model, backend=backend)
        return deploy_with_consent(self.backend(name), model_id, options, confirm)

    def locate(self, model: str, *, backend: str | None = None) -> tuple[str, str]:
        """Return the backend and its id of a model: a job's or a tuned one, an alias, or any other, as
        `BackendCatalogue.route_model` decides. Raises ConfigError if `backend` is not the one that a job's model is
        on."""
        row = self.job_behind(model)
        if row is None:
            row = self.store.models.find_job(CHECKPOINT.sub("", model)) if CHECKPOINT.search(model) else None
            from tuneport.backends.routing import BackendCatalogue

            found = BackendCatalogue(self.settings).route_model(
                model, row.backend if row and backend is None else backend
            )
            return found.backend, found.model
        if backend not in (None, row.backend):
            raise ConfigError(f"{row.id} ran on {row.backend}, and its model is there; leave out --backend {backend}")
        return tuned_model_of_job(row)

    @contextlib.contextmanager
    def naming_job(self, model: str) -> Iterator[None]:
        """Let a NotDeployedError of the block name the job whose id, or whose tuned model's name, `model` is."""
        try:
            yield
        except NotDeployedError as error:
            row = self.job_behind(model)
            if row is None:
                raise
            raise error.of_job(row.id) from error

    def job_behind(self, model: str) -> JobRecord | None:
        """Return the job whose id, or whose tuned model's name, `model` is."""
        try:
            return self.store.models.find_job(model) or self.store.jobs.get(model)
        except UnknownJobError:
            return None


def tuned_model_of_job(row: JobRecord) -> tuple[str, str]:
    """Return the backend of a job and its tuned model's name there. Raises ConfigError if it has none."""
    if row.tuned_model is None and row.job_status.terminal:
        raise ConfigError(f"{row.id} ended as {row.status} and made no model; `tuneport show {row.id}` says more")
    if row.tuned_model is None:
        raise ConfigError(f"{row.id} is {row.status} and has no model yet; `tuneport watch {row.id}` follows it")
    if row.deleted_at is not None:
        raise ConfigError(f"the model of {row.id} was deleted at {row.backend} on {row.deleted_at:%Y-%m-%d}")
    return row.backend, row.tuned_model
