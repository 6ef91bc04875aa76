"""Files that clients upload in parts."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from tuneport.lifecycle.schema.records import FileRecord, UploadPartRecord, UploadRecord
from tuneport.lifecycle.schema.tables import UploadedFileRow, UploadPartRow, UploadRow
from tuneport.lifecycle.store.audit import add_audit_entry
from tuneport.lifecycle.store.files.uploaded import new_stored_file_id
from tuneport.lifecycle.store.part import ScopedPart, query_store_records, select_store_records, store_row_to_record
from tuneport.types import now

UPLOAD_SECONDS = 3600
"""Seconds that an upload may stay pending: OpenAI's hour."""


class UploadStore(ScopedPart):
    def add(
        self,
        *,
        filename: str,
        purpose: str,
        bytes: int,
        file_seconds: int | None,
        upload_seconds: float = UPLOAD_SECONDS,
    ) -> UploadRecord:
        moment = now()
        row = UploadRow(
            id=new_stored_file_id("upload_"),
            project=self.scope.own_project,
            filename=filename,
            purpose=purpose,
            bytes=bytes,
            status="pending",
            created_at=moment,
            expires_at=moment + timedelta(seconds=upload_seconds),
            file_seconds=file_seconds,
        )
        with self.transaction() as session:
            session.add(row)
            add_audit_entry(session, "upload.create", row.id, project=row.project)
            session.flush()
            return store_row_to_record(UploadRecord, row)

    def get(self, upload_id: str) -> UploadRecord | None:
        with self.transaction() as session:
            row = self.if_visible(session.get(UploadRow, upload_id))
            if row is not None and row.status == "pending" and row.expires_at <= now():
                row.status = "expired"
            return None if row is None else store_row_to_record(UploadRecord, row)

    def add_part(self, upload_id: str, sha256: str, bytes: int) -> UploadPartRecord | None:
        """Add a part to the upload. Returns None if the upload takes no more parts."""
        row = UploadPartRow(
            id=new_stored_file_id("part_"), upload_id=upload_id, sha256=sha256, bytes=bytes, created_at=now()
        )
        with self.transaction() as session:
            if self._pending(session, upload_id) is None:
                return None
            session.add(row)
            session.flush()
            return store_row_to_record(UploadPartRecord, row)

    def list_upload_parts(self, upload_id: str) -> dict[str, UploadPartRecord]:
        with self.transaction() as session:
            query = select_store_records(UploadPartRecord).where(UploadPartRow.upload_id == upload_id)
            return {part.id: part for part in query_store_records(session, UploadPartRecord, query)}

    def count_part_bytes(self, upload_id: str) -> int:
        query = select(func.coalesce(func.sum(UploadPartRow.bytes), 0)).where(UploadPartRow.upload_id == upload_id)
        with self.transaction() as session:
            return int(session.scalar(query) or 0)

    def complete(self, upload_id: str, sha256: str) -> tuple[UploadRecord, FileRecord] | None:
        """Make the file of the upload. Returns the upload and its file, or None if it is no longer pending."""
        moment = now()
        with self.transaction() as session:
            row = self._pending(session, upload_id)
            if row is None:
                return None
            file = UploadedFileRow(
                id=new_stored_file_id("file-"),
                project=row.project,
                sha256=sha256,
                filename=row.filename,
                purpose=row.purpose,
                bytes=row.bytes,
                created_at=moment,
                expires_at=None if row.file_seconds is None else moment + timedelta(seconds=row.file_seconds),
            )
            session.add(file)
            row.status, row.file_id = "completed", file.id
            add_audit_entry(session, "file.create", file.id, project=row.project)
            session.flush()
            return store_row_to_record(UploadRecord, row), store_row_to_record(FileRecord, file)

    def cancel(self, upload_id: str) -> UploadRecord | None:
        """Cancel the upload. Returns None if it is no longer pending."""
        with self.transaction() as session:
            row = self._pending(session, upload_id)
            if row is None:
                return None
            row.status = "cancelled"
            add_audit_entry(session, "upload.cancel", row.id, project=row.project)
            return store_row_to_record(UploadRecord, row)

    def _pending(self, session: Session, upload_id: str) -> UploadRow | None:
        """Return the row of an upload that still takes parts, locked; None if there is none."""
        row = self.if_visible(session.get(UploadRow, upload_id, with_for_update=True))
        return row if row is not None and row.status == "pending" else None
