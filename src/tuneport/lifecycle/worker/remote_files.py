"""Files at the providers: which there are, for which jobs, and their deletion when no job needs them.

Only tuneport's own files are deleted (the name tells, see `OWN_NAME`), and only if no unfinished job uses them: none of
this store, and none that the provider lists, whichever program started it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any, Literal

from tuneport.backends.base import FineTuneBackend
from tuneport.errors import ConfigError, NotFoundError, TuneportError, UnsupportedError
from tuneport.lifecycle.store.files.journal import OWN_NAME, JournalledRemoteFile
from tuneport.lifecycle.store.store import Store
from tuneport.types import JobEvent, JobStatus, RemoteFile, now

_JOBS_LOOKED_AT = 500  # the newest of the account; an older one that still runs was never seen


@dataclass(frozen=True)
class JobRemoteFileEntry:
    """One file at one provider. `where`: there and known here, only there, or known here and no more there."""

    backend: str
    id: str
    filename: str
    bytes: int
    created_at: datetime | None
    where: Literal["both", "provider", "gone"]
    ours: bool
    jobs: tuple[tuple[str, str], ...]  # job id and status

    @property
    def in_use(self) -> bool:
        return any(not JobStatus(status).terminal for _, status in self.jobs)

    def as_dict(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": "tuneport.file",
            "backend": self.backend,
            "filename": self.filename,
            "bytes": self.bytes,
            "created_at": None if self.created_at is None else self.created_at.isoformat(),
            "where": self.where,
            "uploaded_by_tuneport": self.ours,
            "in_use": self.in_use,
            "jobs": [{"id": job_id, "status": status} for job_id, status in self.jobs],
        }


class JobRemoteFiles:
    def __init__(self, store: Store, open_backend: Callable[[str], FineTuneBackend]) -> None:
        self.store = store
        self.open_backend = open_backend

    def list_files(self, backends: Iterable[str]) -> tuple[list[JobRemoteFileEntry], dict[str, str]]:
        """Return the files at each backend; and, for each backend that could not be asked, why."""
        names = list(backends)
        entries: list[JobRemoteFileEntry] = []
        trouble: dict[str, str] = {}
        with ThreadPoolExecutor(max_workers=max(1, len(names))) as pool:
            answers = list(pool.map(self._listed, names))
        for name, answer in zip(names, answers, strict=True):
            journal = self.store.files.list_all_files(backend=name)
            if isinstance(answer, TuneportError):
                trouble[name] = str(answer)
                answer = []
                journal = [file for file in journal if file.deleted_at is None]
                entries += self._entries(name, answer, journal, asked=False)
            else:
                entries += self._entries(name, answer, journal, asked=True)
        return entries, trouble

    def _listed(self, name: str) -> list[RemoteFile] | TuneportError:
        try:
            return list(self.open_backend(name).list_files())
        except TuneportError as error:
            return error

    def _entries(
        self, name: str, listed: list[RemoteFile], journal: list[JournalledRemoteFile], *, asked: bool
    ) -> list[JobRemoteFileEntry]:
        jobs: dict[str, list[JournalledRemoteFile]] = {}
        for row in journal:
            jobs.setdefault(row.remote_id, []).append(row)
        entries = []
        for file in listed:
            rows = jobs.pop(file.id, [])
            created = file.created_at or (rows[0].created_at if rows else None)
            entries.append(
                JobRemoteFileEntry(
                    name,
                    file.id,
                    file.filename,
                    file.bytes,
                    created,
                    "both" if rows else "provider",
                    self.is_tuneport_file(name, file.filename),
                    tuple((row.job_id, row.job_status) for row in rows),
                )
            )
        for remote_id, rows in jobs.items():
            if rows[-1].deleted_at is None:  # what was deleted on purpose is no news
                where: Literal["both", "gone"] = "gone" if asked else "both"
                users = tuple((row.job_id, row.job_status) for row in rows)
                first = rows[0]
                ours = self.is_tuneport_file(name, first.filename)
                entry = JobRemoteFileEntry(
                    name, remote_id, first.filename, first.bytes, first.created_at, where, ours, users
                )
                entries.append(entry)
        return entries

    def is_tuneport_file(self, backend: str, filename: str) -> bool:
        """Return whether the file is tuneport's, by its name. All files at a backend that is no third party are."""
        return OWN_NAME.fullmatch(filename) is not None or not self.open_backend(backend).manifest.third_party

    # --- deleting ---------------------------------------------------------------------------------------------------

    def delete_unneeded_files(self, backend: str) -> list[str]:
        """Delete files that ended jobs want deleted and no job needs any more; return the ids.

        A failure is recorded once as an event of the jobs that it concerns, and tried again at the next call.
        """
        deleted: list[str] = []
        wished = set(self.store.files.list_files_to_delete(backend))
        if not wished:
            return deleted
        journal: dict[str, list[JournalledRemoteFile]] = {}
        for file in self.store.files.list_all_files(backend=backend):
            if file.remote_id in wished and self.is_tuneport_file(backend, file.filename):
                journal.setdefault(file.remote_id, []).append(file)
        wanted = list(journal)
        try:
            opened = self.open_backend(backend)
            in_use = self._used_over_there(opened, wanted)
        except TuneportError as error:
            for remote_id in wanted:
                self._tell(journal[remote_id], "warning", f"{remote_id} is not deleted at {backend} yet: {error}")
            return deleted
        for remote_id in wanted:
            rows = journal[remote_id]
            if remote_id in in_use:
                continue
            if self._claim(opened, remote_id, rows[0].filename):
                continue  # an unfinished job uses it; its end, or that of the next one, will bring us here again
            try:
                self._delete(opened, remote_id)
            except TuneportError as error:
                self._tell(rows, "warning", f"{remote_id} is not deleted at {backend} yet: {error}")
            else:
                deleted.append(remote_id)
                self._tell(rows, "info", f"Deleted the {rows[0].purpose} file {remote_id} at {backend}")
        return deleted

    def delete_file(self, backend: str, file_id: str, filename: str = "") -> None:
        """Delete one file. Raises ConfigError, and keeps it, if an unfinished job uses it, of this store or not."""
        opened = self.open_backend(backend)
        users = self._used_over_there(opened, [file_id]).get(file_id) or self._claim(opened, file_id, filename)
        if users:
            told = ", ".join(users[:3])
            raise ConfigError(
                f"{file_id} at {backend} is used by {told}, which has not ended; wait, or cancel it first"
            )
        self._delete(opened, file_id)

    def _claim(self, backend: FineTuneBackend, file_id: str, filename: str) -> list[str]:
        """Claim the deletion; see `RemoteFileJournal.claim_deletion`. A file at no third party is on this machine,
        where others read it."""
        here = not backend.manifest.third_party
        return self.store.files.claim_deletion(backend.name, file_id, filename, on_this_machine=here)

    def _delete(self, backend: FineTuneBackend, file_id: str) -> None:
        try:
            backend.delete_file(file_id)
        except NotFoundError:
            pass  # gone already, perhaps by an earlier call whose answer was lost
        except TuneportError:
            self.store.files.mark_not_deleted(backend.name, file_id)
            raise
        self.store.files.mark_deleted(backend.name, file_id)

    def _used_over_there(self, backend: FineTuneBackend, file_ids: Iterable[str]) -> dict[str, list[str]]:
        """Return which of the files unfinished jobs of the account use, also jobs that another store started."""
        wanted = set(file_ids)
        users: dict[str, list[str]] = {}
        try:
            for state in islice(backend.list_jobs(), _JOBS_LOOKED_AT):
                used = wanted & {state.details.get("training_file"), state.details.get("validation_file")}
                if used and not state.status.terminal:
                    known = self.store.jobs.find_by_remote_id(backend.name, state.remote_id)
                    if known is None or not known.job_status.terminal:  # lists lag: ours is known to have ended
                        for file_id in used:
                            users.setdefault(str(file_id), []).append(state.remote_id)
        except UnsupportedError:
            pass  # then there is only what this store knows
        return users

    def _tell(self, rows: Iterable[JournalledRemoteFile], level: Literal["info", "warning"], message: str) -> None:
        for row in rows:
            id_ = f"tuneport-files-{level}-{row.remote_id}"[:200]  # the same again is the same event, and stored once
            event = JobEvent(id=id_, created_at=now(), level=level, message=message, type="file")
            self.store.events.add(row.job_id, [event], origin="tuneport")
