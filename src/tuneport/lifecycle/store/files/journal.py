"""The journal of files: which of them are at which provider for which job, and which are to be deleted."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, or_, select, update

from tuneport.lifecycle.schema.records import UNFINISHED
from tuneport.lifecycle.schema.tables import JobRow, RemoteFileRow
from tuneport.lifecycle.store.part import ScopedPart
from tuneport.types import RemoteFile, now

OWN_NAME = re.compile(r"tuneport-([0-9a-f]{32})\.jsonl")
"""The name of a file that tuneport uploads: it begins with the content's SHA-256. Other names are not ours."""
LOCAL_NAME = re.compile(r"([0-9a-f]{64})\.jsonl")
"""The name of a prepared file on this machine."""
DELETION_SECONDS = 120.0
"""Seconds after which a process that announced a deletion counts as crashed."""


@dataclass(frozen=True)
class JournalledRemoteFile:
    """One file of one job: what was uploaded, and what has become of it."""

    job_id: str
    job_status: str
    backend: str
    remote_id: str
    purpose: str
    filename: str
    bytes: int
    created_at: datetime
    deleted_at: datetime | None


class RemoteFileJournal(ScopedPart):
    """The journal. A file at a provider may serve jobs of several projects, so deleting one needs an `unscoped()`
    store."""

    def add(self, job_id: str, file: RemoteFile) -> None:
        """Record a file; the same purpose again (after a crash) replaces the row."""
        with self.transaction() as session:
            self.require_job(session, job_id)
            session.execute(
                delete(RemoteFileRow).where(RemoteFileRow.job_id == job_id, RemoteFileRow.purpose == file.purpose)
            )
            session.add(
                RemoteFileRow(
                    job_id=job_id,
                    remote_id=file.id,
                    purpose=file.purpose,
                    sha256=file.sha256,
                    filename=file.filename,
                    bytes=file.bytes,
                    created_at=now(),
                )
            )

    def list_job_files(self, job_id: str) -> list[RemoteFile]:
        query = select(RemoteFileRow).where(RemoteFileRow.job_id == job_id, self.sees_job(job_id))
        with self.transaction() as session:
            return [
                RemoteFile.model_validate(
                    {
                        "id": row.remote_id,
                        "purpose": row.purpose,
                        "sha256": row.sha256,
                        "filename": row.filename,
                        "bytes": row.bytes,
                    }
                )
                for row in session.scalars(query.order_by(RemoteFileRow.id))
            ]

    def list_all_files(self, *, backend: str | None = None) -> list[JournalledRemoteFile]:
        """Return every file of every job, oldest first."""
        query = (
            select(RemoteFileRow, JobRow.status, JobRow.backend)
            .join(JobRow, JobRow.id == RemoteFileRow.job_id)
            .where(self.visible_rows(JobRow))
            .order_by(RemoteFileRow.id)
        )
        if backend is not None:
            query = query.where(JobRow.backend == backend)
        with self.transaction() as session:
            return [
                JournalledRemoteFile(
                    row.job_id,
                    status,
                    name,
                    row.remote_id,
                    row.purpose,
                    row.filename,
                    row.bytes,
                    row.created_at,
                    row.deleted_at,
                )
                for row, status, name in session.execute(query)
            ]

    def list_files_to_delete(self, backend: str) -> list[str]:
        """Return the remote ids of files that ended jobs asked to delete, and that still exist as far as known.

        The request is a column of the job and its end is the job's status: a crash between the two loses nothing.
        """
        query = (
            select(RemoteFileRow.remote_id)
            .join(JobRow, JobRow.id == RemoteFileRow.job_id)
            .where(
                self.visible_rows(JobRow),
                JobRow.backend == backend,
                JobRow.delete_files,
                JobRow.status.not_in(UNFINISHED),
                RemoteFileRow.deleted_at.is_(None),
            )
            .distinct()
        )
        with self.transaction() as session:
            return list(session.scalars(query))

    def list_backends(self) -> list[str]:
        """Return the backends that hold files of this store, as far as it knows."""
        query = select(JobRow.backend).join(RemoteFileRow, JobRow.id == RemoteFileRow.job_id).distinct()
        query = query.where(self.visible_rows(JobRow), RemoteFileRow.deleted_at.is_(None))
        with self.transaction() as session:
            return list(session.scalars(query))

    def claim_deletion(
        self, backend: str, remote_id: str, filename: str = "", *, on_this_machine: bool = False
    ) -> list[str]:
        """Write down that the file is being deleted, or return the unfinished jobs that use it, and write nothing.

        A job uses a file from its row on: by the content that it will upload, and by the journal afterwards. What is
        prepared after this write finds it (`is_being_deleted`) and uploads again. `filename` tells the content of a
        file that this store does not know. `on_this_machine`: the file may be the very copy that jobs of other backends
        will upload.
        """
        self.require_all_projects()
        named = OWN_NAME.fullmatch(filename) or (on_this_machine and LOCAL_NAME.fullmatch(filename))
        with self.transaction() as session:
            rows = session.execute(
                select(RemoteFileRow.sha256, RemoteFileRow.job_id)
                .join(JobRow, JobRow.id == RemoteFileRow.job_id)
                .where(RemoteFileRow.remote_id == remote_id, JobRow.backend == backend)
            ).all()
            hashes = {sha256 for sha256, _ in rows if sha256}
            contents = [JobRow.prepared[kind]["sha256"].as_string() for kind in ("training", "validation")]
            uses = [JobRow.id.in_([job_id for _, job_id in rows]), *(held.in_(hashes) for held in contents)]
            if named:
                uses += [held.startswith(named[1]) for held in contents]
            whose = JobRow.backend == backend
            if on_this_machine:
                whose = or_(whose, JobRow.remote_id.is_(None))
            users = session.scalars(select(JobRow.id).where(whose, JobRow.status.in_(UNFINISHED), or_(*uses))).all()
            if not users:
                session.execute(self._of(backend, remote_id).values(deleting_at=now()))
            return list(users)

    def is_being_deleted(self, backend: str, remote_id: str) -> bool:
        """Return whether a process is deleting the file right now."""
        self.require_all_projects()
        query = (
            select(RemoteFileRow.id)
            .join(JobRow, JobRow.id == RemoteFileRow.job_id)
            .where(
                JobRow.backend == backend,
                RemoteFileRow.remote_id == remote_id,
                RemoteFileRow.deleted_at.is_(None),
                RemoteFileRow.deleting_at > now() - timedelta(seconds=DELETION_SECONDS),
            )
            .limit(1)
        )
        with self.transaction() as session:
            return session.scalar(query) is not None

    def mark_deleted(self, backend: str, remote_id: str) -> None:
        with self.transaction() as session:
            session.execute(self._of(backend, remote_id).values(deleted_at=now(), deleting_at=None))

    def mark_not_deleted(self, backend: str, remote_id: str) -> None:
        """Put the file back on the list of what is to be deleted."""
        with self.transaction() as session:
            session.execute(self._of(backend, remote_id).values(deleting_at=None))

    def _of(self, backend: str, remote_id: str):  # type: ignore[no-untyped-def]
        """Return an update of the journal's rows of that file."""
        self.require_all_projects()
        jobs = select(JobRow.id).where(JobRow.backend == backend)
        return update(RemoteFileRow).where(
            RemoteFileRow.remote_id == remote_id, RemoteFileRow.deleted_at.is_(None), RemoteFileRow.job_id.in_(jobs)
        )
