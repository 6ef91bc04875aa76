"""The files of the gateway's clients in the store, and uploads that come in parts."""

from __future__ import annotations

import secrets
import string
from collections.abc import Collection, Sequence
from datetime import timedelta

from sqlalchemy import delete, func, or_, select, update

from tuneport.lifecycle.schema.records import FileRecord
from tuneport.lifecycle.schema.tables import JobRequestRow, JobRow, UploadedFileRow, UploadPartRow, UploadRow
from tuneport.lifecycle.store.audit import add_audit_entry
from tuneport.lifecycle.store.part import (
    ScopedPart,
    query_store_records,
    select_store_records,
    store_row_to_record,
    store_rows_after,
)
from tuneport.types import JobStatus, now

_ALPHABET = string.ascii_letters + string.digits


def new_stored_file_id(prefix: str) -> str:
    """Return a new id of OpenAI's shape: a word and 24 letters and digits."""
    return prefix + "".join(secrets.choice(_ALPHABET) for _ in range(24))


class UploadedFileStore(ScopedPart):
    """The uploaded files. Each method is one transaction. A caller that removes the last file of a content is told so,
    and removes the content."""

    def add(
        self,
        sha256: str,
        *,
        filename: str,
        purpose: str,
        bytes: int,
        seconds: int | None = None,
        file_id: str | None = None,
    ) -> FileRecord:
        """Add a file. `seconds`: how long it is kept. A `file_id` that is there already is left as it is, and
        returned."""
        moment = now()
        with self.transaction() as session:
            if file_id is not None and (there := session.get(UploadedFileRow, file_id)) is not None:
                return store_row_to_record(FileRecord, there)
            row = UploadedFileRow(
                id=file_id or new_stored_file_id("file-"),
                project=self.scope.own_project,
                sha256=sha256,
                filename=filename,
                purpose=purpose,
                bytes=bytes,
                created_at=moment,
                expires_at=None if seconds is None else moment + timedelta(seconds=seconds),
            )
            session.add(row)
            if file_id is None:
                add_audit_entry(session, "file.create", row.id, project=row.project)
            session.flush()
            return store_row_to_record(FileRecord, row)

    def get(self, file_id: str) -> FileRecord | None:
        with self.transaction() as session:
            row = self.if_visible(session.get(UploadedFileRow, file_id))
            return None if row is None or _expired(row) else store_row_to_record(FileRecord, row)

    def find_ids_by_content(self, hashes: Collection[str]) -> dict[str, str]:
        """Return the ids of the caller's files with these contents, by hash."""
        query = select(UploadedFileRow.sha256, func.max(UploadedFileRow.id)).where(
            self.visible_rows(UploadedFileRow), UploadedFileRow.sha256.in_(hashes)
        )
        with self.reading() as session:
            return {sha256: file_id for sha256, file_id in session.execute(query.group_by(UploadedFileRow.sha256))}

    def page(
        self, *, limit: int, after: FileRecord | None, purpose: str | None, descending: bool
    ) -> tuple[list[FileRecord], bool]:
        """Return so many files behind `after`, and whether there are more."""
        query = select_store_records(FileRecord).where(
            self.visible_rows(UploadedFileRow),
            or_(UploadedFileRow.expires_at.is_(None), UploadedFileRow.expires_at > now()),
        )
        if purpose is not None:
            query = query.where(UploadedFileRow.purpose == purpose)
        if after is not None:
            query = query.where(store_rows_after(UploadedFileRow, after.created_at, after.id, descending=descending))
        keys = (UploadedFileRow.created_at, UploadedFileRow.id)
        query = query.order_by(*((key.desc() for key in keys) if descending else keys)).limit(limit + 1)
        with self.transaction() as session:
            rows = query_store_records(session, FileRecord, query)
        return rows[:limit], len(rows) > limit

    def remove(self, file_id: str) -> str | None:
        """Remove the file. Returns the hash of its content if nothing needs that any more: the caller removes it."""
        with self.transaction() as session:
            row = self.if_visible(session.get(UploadedFileRow, file_id))
            if row is None:
                return None
            session.delete(row)
            add_audit_entry(session, "file.delete", file_id, project=row.project)
            session.flush()
            return None if _needed(session, row.sha256) else row.sha256

    def drop_expired(self) -> list[str]:
        """Remove expired files and pending uploads; return the hashes of contents that nothing needs any more."""
        moment = now()
        with self.transaction() as session:
            gone: set[str] = set(
                session.scalars(select(UploadedFileRow.sha256).where(UploadedFileRow.expires_at <= moment))
            )
            session.execute(delete(UploadedFileRow).where(UploadedFileRow.expires_at <= moment))
            session.execute(
                update(UploadRow)
                .where(UploadRow.status == "pending", UploadRow.expires_at <= moment)
                .values(status="expired")
            )
            over = select(UploadRow.id).where(UploadRow.status != "pending")
            gone.update(session.scalars(select(UploadPartRow.sha256).where(UploadPartRow.upload_id.in_(over))))
            session.execute(delete(UploadPartRow).where(UploadPartRow.upload_id.in_(over)))
            session.flush()
            return [sha256 for sha256 in gone if not _needed(session, sha256)]

    def is_content_needed(self, sha256: str) -> bool:
        with self.transaction() as session:
            return _needed(session, sha256)


def _expired(row: UploadedFileRow) -> bool:
    return row.expires_at is not None and row.expires_at <= now()


def _needed(session, sha256: str) -> bool:  # type: ignore[no-untyped-def]
    """Return whether a content is needed by a file, a part, a request that is not a job yet, or a job whose data is not
    with its backend yet: another machine that continues the job may have no copy."""
    if session.scalar(select(UploadedFileRow.id).where(UploadedFileRow.sha256 == sha256).limit(1)) is not None:
        return True
    if session.scalar(select(UploadPartRow.id).where(UploadPartRow.sha256 == sha256).limit(1)) is not None:
        return True
    sources = [JobRow.spec[name].as_string() for name in ("dataset", "validation")]
    preparing = select(JobRow.id).where(
        JobRow.status == JobStatus.PREPARING, or_(*(source.endswith(f"/{sha256}.jsonl") for source in sources))
    )
    if session.scalar(preparing.limit(1)) is not None:
        return True
    waiting: Sequence[dict[str, object]] = session.scalars(
        select(JobRequestRow.body).where(JobRequestRow.state == "waiting")
    ).all()
    return any(sha256 in (body.get("training_sha256"), body.get("validation_sha256")) for body in waiting)
