"""The inventory of an account: what it has, until when, and what is still available. It reads lists only, and downloads
nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Literal

from tuneport.backends.base import FineTuneBackend
from tuneport.errors import ProviderError, UnsupportedError
from tuneport.formatting import counted
from tuneport.lifecycle.schema.records import JobRecord
from tuneport.lifecycle.store.store import Store
from tuneport.manifests import Manifest
from tuneport.types import JobStatus, RemoteFile, RemoteModel
from tuneport.workflows.migration.origin import MigrationSourceJob, read_source_job

FileState = Literal["there", "gone", "not listed"]
ModelState = Literal["answers", "gone", "ended", "not listed"]


@dataclass(frozen=True)
class ModelEndDates:
    """The end of a model. Both days are the first without it; None: no such day is known."""

    no_new_jobs_from: date | None
    stops_answering_on: date | None
    said_by: str | None = None


@dataclass
class MigrationAccount:
    """The account's lists, each read once. `trouble` says which could not be read, and why."""

    backend: FineTuneBackend
    rows: Mapping[str, JobRecord]
    store: Store
    files: dict[str, RemoteFile] = field(default_factory=dict)
    models: dict[str, RemoteModel] = field(default_factory=dict)
    trouble: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.backend.name

    @property
    def manifest(self) -> Manifest:
        return self.backend.manifest

    @classmethod
    def read(cls, backend: FineTuneBackend, store: Store) -> MigrationAccount:
        """Read the account's lists. Raises ProviderError if the account cannot be asked at all (no key, a wrong one,
        out of reach)."""
        rows = {str(row.remote_id): row for row in store.jobs.all(backend=backend.name) if row.remote_id is not None}
        account = cls(backend, rows, store)
        try:
            account.files = {file.id: file for file in backend.list_files()}
        except UnsupportedError as error:
            account.trouble["files"] = str(error)
        try:
            account.models = {model.id: model for model in backend.list_models()}
        except UnsupportedError as error:
            account.trouble["models"] = str(error)
        except ProviderError as error:
            if error.exit_code != 3:
                raise
            account.trouble["models"] = str(error)
        return account

    def jobs(self) -> Iterator[MigrationSourceJob]:
        """Yield the account's jobs as the backend lists them, newest first, page by page."""
        for state in self.backend.list_jobs():
            row = self.rows.get(state.remote_id)
            uploads = {} if row is None else {file.purpose: file.id for file in self.store.files.list_job_files(row.id)}
            yield read_source_job(
                self.name, state, row, {str(purpose): file_id for purpose, file_id in uploads.items()}
            )

    def job(self, job_id: str) -> MigrationSourceJob:
        """Return the job. Raises NotFoundError if the account has no such job."""
        state = self.backend.fetch(job_id)
        row = self.rows.get(job_id)
        uploads = (
            {} if row is None else {str(file.purpose): file.id for file in self.store.files.list_job_files(row.id)}
        )
        return read_source_job(self.name, state, row, uploads)

    # --- what of it is still there ----------------------------------------------------------------------------------

    def file_state(self, purpose: str, file_id: str) -> FileState:
        """Return the state of a file. `gone`: the backend lists such files, and not this one. Only a download proves
        that one is there."""
        if file_id in self.files:
            return "there"
        if (
            "files" in self.trouble
            or purpose == "result"
            and not any(file.purpose == "result" for file in self.files.values())
        ):
            return "not listed"
        return "gone"

    def ends(self, job: MigrationSourceJob) -> ModelEndDates:
        """Return when the tuned model ends by the provider's word, else when its base does by the manifest."""
        told = self.models.get(job.tuned_model or "")
        if told is not None and told.shutdown_date is not None:
            return ModelEndDates(self.manifest.no_new_jobs_from, told.shutdown_date, self.name)
        offered = next((model for model in self.manifest.models if model.id == job.model), None)
        day = None if offered is None else offered.retires
        source = None if offered is None or day is None else offered.retires_source
        return ModelEndDates(self.manifest.no_new_jobs_from, day, source)

    def model_state(self, job: MigrationSourceJob, today: date) -> ModelState | None:
        """Return the state of the job's model, or None if it made none. `gone`: the backend lists tuned models, and not
        this one."""
        if job.tuned_model is None:
            return None
        day = self.ends(job).stops_answering_on
        if day is not None and today >= day:
            return "ended"
        if job.tuned_model in self.models:
            return "answers"
        return "gone" if any(model.tuned for model in self.models.values()) else "not listed"


@dataclass(frozen=True)
class MigrationInventoryItem:
    """One job of the inventory."""

    job: MigrationSourceJob
    ends: ModelEndDates
    model_state: ModelState | None
    files: dict[str, FileState]

    @property
    def gone(self) -> list[str]:
        """Return the purposes of the files that are gone."""
        return [purpose for purpose, file_id in self.job.files if self.files[file_id] == "gone"]


@dataclass(frozen=True)
class MigrationInventory:
    """`loose_files` belong to none of the jobs."""

    backend: str
    title: str
    today: date
    no_new_jobs_from: date | None
    items: list[MigrationInventoryItem]
    files: list[RemoteFile]
    loose_files: list[RemoteFile]
    models: list[RemoteModel]
    trouble: dict[str, str]

    @property
    def ends_first(self) -> date | None:
        """Return the first day when a tuned model that answers now shuts down."""
        days = [
            item.ends.stops_answering_on
            for item in self.items
            if item.model_state in ("answers", "not listed") and item.ends.stops_answering_on is not None
        ]
        return min(days, default=None)

    @property
    def summary(self) -> str:
        """Return one line: how much there is, and until when."""
        alive = [item for item in self.items if item.model_state in ("answers", "not listed")]
        by_status = Counter(item.job.status for item in self.items)
        parts = [counted(len(self.items), "job")]
        if unfinished := sum(count for status, count in by_status.items() if not status.terminal):
            parts[0] += f" ({unfinished} unfinished)"
        until = self.ends_first
        if not alive:
            parts.append("no tuned model that answers")
        elif until is None:
            parts.append(counted(len(alive), "tuned model"))
        else:
            verb = "answers" if len(alive) == 1 else "answer"
            same = all(item.ends.stops_answering_on == until for item in alive)
            left = (until - self.today).days
            first = "" if same else ", the first of them"
            parts.append(f"{counted(len(alive), 'model')} {verb} until {until}{first} ({counted(left, 'day')})")
        return ", ".join(parts)

    def as_dict(self) -> dict[str, Any]:
        return {
            "object": "tuneport.inventory",
            "backend": self.backend,
            "title": self.title,
            "as_of": self.today.isoformat(),
            "summary": self.summary,
            "no_new_jobs_from": self.no_new_jobs_from and self.no_new_jobs_from.isoformat(),
            "stops_answering_on": self.ends_first and self.ends_first.isoformat(),
            "jobs": [
                item.job.model_dump(mode="json")
                | {
                    "no_new_jobs_from": item.ends.no_new_jobs_from and item.ends.no_new_jobs_from.isoformat(),
                    "stops_answering_on": item.ends.stops_answering_on and item.ends.stops_answering_on.isoformat(),
                    "said_by": item.ends.said_by,
                    "model_state": item.model_state,
                    "files": [
                        {"purpose": purpose, "id": file_id, "state": item.files[file_id]}
                        for purpose, file_id in item.job.files
                    ],
                }
                for item in self.items
            ],
            "files": [file.model_dump(mode="json") for file in self.files],
            "files_of_no_job": [file.id for file in self.loose_files],
            "models": [model.model_dump(mode="json") for model in self.models],
            "trouble": self.trouble,
        }


def list_account_inventory(account: MigrationAccount, today: date) -> MigrationInventory:
    items = []
    used: set[str] = set()
    for job in account.jobs():
        states = {file_id: account.file_state(purpose, file_id) for purpose, file_id in job.files}
        used.update(states)
        items.append(MigrationInventoryItem(job, account.ends(job), account.model_state(job, today), states))
    listed = list(account.files.values())
    return MigrationInventory(
        backend=account.name,
        title=account.manifest.title,
        today=today,
        no_new_jobs_from=account.manifest.no_new_jobs_from,
        items=items,
        files=listed,
        loose_files=[file for file in listed if file.id not in used],
        models=[model for model in account.models.values() if model.tuned],
        trouble=account.trouble,
    )


def has_model_to_replace(job: MigrationSourceJob) -> bool:
    """Return whether the job made a model, which can be replaced."""
    return job.status is JobStatus.SUCCEEDED
