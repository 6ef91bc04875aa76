"""The files of the gateway's clients in the store, and uploads that come in parts."""

from __future__ import annotations

import secrets
import string
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, delete, func, or_, select, update

from tuneport.jobs.audit import note
from tuneport.jobs.database import Database
from tuneport.jobs.projects import if_visible, visible
from tuneport.jobs.tables import JobRequestRow, JobRow, UploadedFileRow, UploadPartRow, UploadRow
from tuneport.types import JobStatus, now

UPLOAD_SECONDS = 3600
"""How long an upload may stay pending: OpenAI's hour."""
_ALPHABET = string.ascii_letters + string.digits


def new_id(prefix: str) -> str:
    """OpenAI's shape: a word and 24 letters and digits."""
    return prefix + "".join(secrets.choice(_ALPHABET) for _ in range(24))


class UploadedFiles(Database):
    """Each method is one transaction. Who removes the last file of a content is told so, and removes the content."""

    def add_uploaded(
        self,
        sha256: str,
        *,
        filename: str,
        purpose: str,
        bytes: int,
        seconds: int | None = None,
        file_id: str | None = None,
    ) -> UploadedFileRow:
        """`seconds`: how long it is kept. A `file_id` that is there already is left as it is, and returned."""
        moment = now()
        with self.transaction() as session:
            if file_id is not None and (there := session.get(UploadedFileRow, file_id)) is not None:
                return there
            row = UploadedFileRow(
                id=file_id or new_id("file-"),
                sha256=sha256,
                filename=filename,
                purpose=purpose,
                bytes=bytes,
                created_at=moment,
                expires_at=None if seconds is None else moment + timedelta(seconds=seconds),
            )
            session.add(row)
            if file_id is None:
                note(session, "file.create", row.id)
            return row

    def uploaded(self, file_id: str) -> UploadedFileRow | None:
        with self.transaction() as session:
            row = if_visible(session.get(UploadedFileRow, file_id))
            return None if row is None or _expired(row) else row

    def files_of_contents(self, hashes: Collection[str]) -> dict[str, str]:
        """The id of a file of the asker's that has that content, by its hash, where there is one."""
        query = select(UploadedFileRow.sha256, func.max(UploadedFileRow.id)).where(
            visible(UploadedFileRow), UploadedFileRow.sha256.in_(hashes)
        )
        with self.reading() as session:
            return {sha256: file_id for sha256, file_id in session.execute(query.group_by(UploadedFileRow.sha256))}

    def uploaded_page(
        self, *, limit: int, after: UploadedFileRow | None, purpose: str | None, descending: bool
    ) -> tuple[list[UploadedFileRow], bool]:
        """So many files behind `after`, and whether there are more."""
        query = select(UploadedFileRow).where(
            visible(UploadedFileRow), or_(UploadedFileRow.expires_at.is_(None), UploadedFileRow.expires_at > now())
        )
        if purpose is not None:
            query = query.where(UploadedFileRow.purpose == purpose)
        if after is not None:
            query = query.where(behind(UploadedFileRow, after.created_at, after.id, descending=descending))
        keys = (UploadedFileRow.created_at, UploadedFileRow.id)
        query = query.order_by(*((key.desc() for key in keys) if descending else keys)).limit(limit + 1)
        with self.transaction() as session:
            rows = list(session.scalars(query))
        return rows[:limit], len(rows) > limit

    def remove_uploaded(self, file_id: str) -> str | None:
        """The hash of its content where nothing needs that any more: whoever called removes it."""
        with self.transaction() as session:
            row = if_visible(session.get(UploadedFileRow, file_id))
            if row is None:
                return None
            session.delete(row)
            note(session, "file.delete", file_id)
            session.flush()
            return None if _needed(session, row.sha256) else row.sha256

    def expired_uploads(self) -> list[str]:
        """Forget files and pending uploads whose time is over; the hashes of contents that nothing needs any more."""
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

    def needs(self, sha256: str) -> bool:
        with self.transaction() as session:
            return _needed(session, sha256)

    # --- in parts ---------------------------------------------------------------------------------------------------

    def add_upload(self, *, filename: str, purpose: str, bytes: int, file_seconds: int | None) -> UploadRow:
        moment = now()
        row = UploadRow(
            id=new_id("upload_"),
            filename=filename,
            purpose=purpose,
            bytes=bytes,
            status="pending",
            created_at=moment,
            expires_at=moment + timedelta(seconds=UPLOAD_SECONDS),
            file_seconds=file_seconds,
        )
        with self.transaction() as session:
            session.add(row)
            note(session, "upload.create", row.id)
        return row

    def upload(self, upload_id: str) -> UploadRow | None:
        with self.transaction() as session:
            row = if_visible(session.get(UploadRow, upload_id))
            if row is not None and row.status == "pending" and row.expires_at <= now():
                row.status = "expired"
            return row

    def add_part(self, upload_id: str, sha256: str, bytes: int) -> UploadPartRow | None:
        """None where the upload takes no more parts."""
        row = UploadPartRow(id=new_id("part_"), upload_id=upload_id, sha256=sha256, bytes=bytes, created_at=now())
        with self.transaction() as session:
            upload = if_visible(session.get(UploadRow, upload_id, with_for_update=True))
            if upload is None or upload.status != "pending":
                return None
            session.add(row)
        return row

    def parts(self, upload_id: str) -> dict[str, UploadPartRow]:
        with self.transaction() as session:
            rows = session.scalars(select(UploadPartRow).where(UploadPartRow.upload_id == upload_id))
            return {row.id: row for row in rows}

    def part_bytes(self, upload_id: str) -> int:
        query = select(func.coalesce(func.sum(UploadPartRow.bytes), 0)).where(UploadPartRow.upload_id == upload_id)
        with self.transaction() as session:
            return int(session.scalar(query) or 0)

    def complete_upload(self, upload_id: str, sha256: str) -> tuple[UploadRow, UploadedFileRow] | None:
        """The upload and its file, made together; None where it is pending no more."""
        moment = now()
        with self.transaction() as session:
            row = if_visible(session.get(UploadRow, upload_id, with_for_update=True))
            if row is None or row.status != "pending":
                return None
            file = UploadedFileRow(
                id=new_id("file-"),
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
            note(session, "file.create", file.id)
            return row, file

    def cancel_upload(self, upload_id: str) -> UploadRow | None:
        """None where it is pending no more."""
        with self.transaction() as session:
            row = if_visible(session.get(UploadRow, upload_id, with_for_update=True))
            if row is None or row.status != "pending":
                return None
            row.status = "cancelled"
            note(session, "upload.cancel", row.id)
            return row


def behind(table: type, created_at: datetime, id_: str, *, descending: bool) -> ColumnElement[bool]:
    """What comes after a row in the order of age, then of ids."""
    age, key = table.created_at, table.id  # type: ignore[attr-defined]
    if descending:
        return or_(age < created_at, and_(age == created_at, key < id_))
    return or_(age > created_at, and_(age == created_at, key > id_))


def _expired(row: UploadedFileRow) -> bool:
    return row.expires_at is not None and row.expires_at <= now()


def _needed(session, sha256: str) -> bool:  # type: ignore[no-untyped-def]
    """Whether a file, a part, a request that is not a job yet, or a job whose data is not with its backend yet needs a
    content: whichever machine goes on with that job may have no copy."""
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
