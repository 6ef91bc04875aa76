"""Leave a provider: see what there is and until when, save it, run the same jobs elsewhere, compare the models.

with tuneport.migrate("openai") as migration:
    print(migration.inventory().summary)
    migration.save("openai-backup")
    plans = migration.plan("together", models=["llama-3.1-8b-instruct"])
    rows = migration.start(plans)
    migration.finish(rows)
    for comparison in migration.compare(plans):
        print(comparison.as_dict())
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path

from tuneport.backends.base import FineTuneBackend
from tuneport.data.dataset import Dataset
from tuneport.errors import ConfigError, NotFoundError, TuneportError, UnresolvedStartError
from tuneport.lifecycle.proposing.terms import BindingTerm
from tuneport.lifecycle.schema.records import JobRecord
from tuneport.lifecycle.service import JobService
from tuneport.settings import Settings
from tuneport.types import JobStatus, TuneSpec
from tuneport.workflows.migration.comparison import DEFAULT_ROWS, MigrationAnswerComparison, compare_moved_models
from tuneport.workflows.migration.folder import SavedAccountFolder
from tuneport.workflows.migration.inventory import (
    MigrationAccount,
    MigrationInventory,
    has_model_to_replace,
    list_account_inventory,
)
from tuneport.workflows.migration.origin import MigrationSourceJob
from tuneport.workflows.migration.plan import MigrationChoices, MigrationMovePlan
from tuneport.workflows.migration.planning import earlier_migration_moves, plan_migration_move
from tuneport.workflows.migration.saving import AccountSaveProgress, MigrationAccountSaver, MigrationSaveReport
from tuneport.workflows.migration.submission import lock_migration, start_migration_move

_PATIENCE = 900.0
"""A backend that is down is asked again for this many seconds, for each job."""


class Migration:
    """A migration from one account (`source`), or from its saved folder (`saved`), to any backend.

    Opening sends nothing. Close it, or use it with `with`.
    """

    def __init__(
        self,
        source: str | None = None,
        *,
        saved: str | Path | None = None,
        settings: Settings | None = None,
        workspace: JobService | None = None,
    ) -> None:
        self.workspace = workspace or JobService(settings)
        self._own = workspace is None
        self.folder = None if saved is None else SavedAccountFolder.load(Path(saved))
        self.from_account = saved is None
        name = source or (self.folder.backend if self.folder else self.workspace.settings.backend)
        if name is None:
            raise ConfigError("which account is to be left? say for example --from openai, or set TUNEPORT_BACKEND")
        if self.folder is not None and source is not None and source != self.folder.backend:
            raise ConfigError(f"{self.folder.path} was saved from {self.folder.backend}, not {source}")
        self.source = name
        self._account: MigrationAccount | None = None

    def __enter__(self) -> Migration:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        if self._own:
            self.workspace.close()

    @property
    def account(self) -> MigrationAccount:
        """Return the account's lists, read on first use. Raises ProviderError if it cannot be asked."""
        if self._account is None:
            if not self.from_account:
                raise ConfigError("a saved folder is used instead of the account; leave --saved out")
            self._account = MigrationAccount.read(self.workspace.backend(self.source), self.workspace.store)
        return self._account

    def inventory(self, today: date | None = None) -> MigrationInventory:
        return list_account_inventory(self.account, today or date.today())

    # --- save -------------------------------------------------------------------------------------------------------

    def save(
        self,
        folder: str | Path | None = None,
        *,
        jobs: Sequence[str] = (),
        on_progress: Callable[[AccountSaveProgress], None] = lambda saved: None,
    ) -> MigrationSaveReport:
        """Download what the account has, or these jobs only. The default folder is `migrations/NAME` under the home.

        The report's `missing` lists what is no longer available; that is no error.
        """
        account = self.account
        path = self.workspace.settings.home / "migrations" / self.source if folder is None else Path(folder)
        wanted = [self._asked(job_id) for job_id in jobs] if jobs else list(account.jobs())
        used = {file_id for job in wanted for _, file_id in job.files}
        loose = [] if jobs else [file for file in account.files.values() if file.id not in used]
        saved = SavedAccountFolder.create(path, self.source)
        with saved.lock_folder():
            report = MigrationAccountSaver(account, saved, self.workspace.settings, self.workspace.worker.files).run(
                wanted, loose, on_progress
            )
        self.folder = saved
        return report

    def _asked(self, job_id: str) -> MigrationSourceJob:
        try:
            return self.account.job(job_id)
        except NotFoundError as error:
            raise ConfigError(f"{self.source} has no job {job_id}; `tuneport migrate` lists them") from error

    # --- plan and start ---------------------------------------------------------------------------------------------

    def plan(
        self,
        to: str,
        *,
        jobs: Sequence[str] = (),
        models: Sequence[str] = (),
        data: Mapping[str, Path] | None = None,
        allow_loss: bool = False,
        allow_personal_data: bool = False,
        again: bool = False,
        today: date | None = None,
        on_plan: Callable[[MigrationMovePlan], None] = lambda plan: None,
    ) -> list[MigrationMovePlan]:
        """Return a plan for each of the saved jobs that made a model, or for these ones. Call `save` first, or open a
        saved folder.

        `models`: `NEW`, or `OLD=NEW` for one of several old models. `data`: the user's copy of a file that is gone.
        """
        if self.folder is None:
            raise ConfigError("nothing is saved yet; save the account first")
        self.workspace.backend(to)  # ConfigError for one that there is not
        records = list(self.folder.records())
        known = {record.job.id for record in records}
        for job_id in [*jobs, *(data or {})]:
            if job_id not in known:
                raise ConfigError(
                    f"{job_id} is not in {self.folder.path}; saved are: {', '.join(sorted(known)) or '-'}"
                )
        choices = MigrationChoices(models, data or {}, allow_loss, allow_personal_data, again)
        earlier = earlier_migration_moves(self.workspace, self.source, to)
        plans = []
        for record in records:
            if record.job.id in jobs or not jobs and has_model_to_replace(record.job):
                plan = plan_migration_move(
                    self.workspace, self.folder, record, to, choices, earlier, today or date.today()
                )
                plans.append(plan)
                on_plan(plan)
        return plans

    def start(
        self,
        plans: Sequence[MigrationMovePlan],
        *,
        allow_personal_data: bool = False,
        on_row: Callable[[MigrationMovePlan, JobRecord], None] = lambda plan, row: None,
        on_change: Callable[[JobRecord], None] = lambda row: None,
        on_trouble: Callable[[MigrationMovePlan, TuneportError], None] | None = None,
        show_terms: Callable[[list[BindingTerm]], None] | None = None,
    ) -> list[JobRecord]:
        """Start what is ready and continue what was started, until the backend has each job (or refused it).

        If there is no slot for a job after some seconds, it is left to wait (`submitting`, with a note): those behind
        it are started, and `finish`, or another driver, continues it. A plan with problems is skipped; the others'
        `row` is their job from here on. A repeated call, with plans made again, starts nothing twice. With `on_trouble`
        an error in one does not stop the others. `show_terms` is as in `JobService.submit`.
        """
        assert self.folder is not None
        going = [plan for plan in plans if plan.state != "stopped"]
        with lock_migration(self.workspace):
            for to in {plan.backend for plan in going}:
                earlier = earlier_migration_moves(self.workspace, self.source, to)
                for plan in going:  # since they were planned, another process may have been here
                    found = earlier.get(plan.job.id)
                    if plan.backend == to and plan.row is None and found is not None and not _has_failed(found):
                        plan.row = found
            for plan in going:
                try:
                    row = start_migration_move(
                        self.workspace,
                        self.folder,
                        plan,
                        allow_personal_data=allow_personal_data,
                        show_terms=show_terms,
                    )
                    on_row(plan, row)
                    plan.row = self.workspace.start(row.id, on_change=on_change, patience=_PATIENCE)
                except TuneportError as error:
                    if plan.row is not None:
                        plan.row = self.workspace.job(plan.row.id)
                    if on_trouble is None:
                        raise
                    on_trouble(plan, error)
        return [plan.row for plan in going if plan.row is not None]

    def finish(
        self, plans: Sequence[MigrationMovePlan], *, on_change: Callable[[JobRecord], None] = lambda row: None
    ) -> list[JobRecord]:
        """Drive the jobs of started plans to their ends; one that needs a person's decision is left as it is."""
        for plan in plans:
            if plan.row is not None:
                try:
                    plan.row = self.workspace.drive(plan.row.id, on_change=on_change)
                except UnresolvedStartError:  # its note says so; the others go on
                    plan.row = self.workspace.job(plan.row.id)
        return [plan.row for plan in plans if plan.row is not None]

    # --- compare ----------------------------------------------------------------------------------------------------

    def compare(
        self, plans: Iterable[MigrationMovePlan], *, most: int = DEFAULT_ROWS
    ) -> Iterable[MigrationAnswerComparison]:
        """Compare the old and the new model of each move that has succeeded, on `most` rows of the job's validation
        file."""
        assert self.folder is not None
        old_backend: FineTuneBackend | None = None
        if self.from_account:
            old_backend = self.workspace.backend(self.source)
        for plan in plans:
            row = None if plan.row is None else self.workspace.job(plan.row.id)
            state = None if row is None else row.job_state
            if row is None or row.job_status is not JobStatus.SUCCEEDED or state is None or state.tuned_model is None:
                continue
            yield compare_moved_models(
                plan.job.id,
                row.id,
                _validation_of(row.tune_spec),
                (old_backend, plan.job.tuned_model),
                (self.workspace.backend(row.backend), state.tuned_model),
                most=most,
            )


def _validation_of(spec: TuneSpec) -> Dataset | None:
    return None if spec.validation is None else Dataset.of_spec(spec).validation_like(spec.validation)


def _has_failed(row: JobRecord) -> bool:
    return row.job_status in (JobStatus.FAILED, JobStatus.CANCELLED)


def migrate(
    source: str | None = None, *, saved: str | Path | None = None, settings: Settings | None = None
) -> Migration:
    """Leave the account on `source` (default: the configured backend), or the one that was saved in a folder."""
    return Migration(source, saved=saved, settings=settings)
