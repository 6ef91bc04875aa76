"""Tuned models, by the names under which they are asked for."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import func, select

from tuneport.lifecycle.schema.records import JobRecord, RequestRecord
from tuneport.lifecycle.schema.tables import JobRequestRow, JobRow, UtcDateTime
from tuneport.lifecycle.store.part import ScopedPart, query_one_store_record, query_store_records, select_store_records
from tuneport.types import JobStatus


class TunedModelStore(ScopedPart):
    def find_job(self, tuned_model: str) -> JobRecord | None:
        """Return the newest job that made the tuned model of that name."""
        # Few have one name: sorted here, since for "the newest" databases go through all jobs by age until one fits.
        project, query = self.scope.project, select_store_records(JobRecord).where(JobRow.tuned_model == tuned_model)
        with self.reading() as session:
            found = [row for row in query_store_records(session, JobRecord, query) if project in (None, row.project)]
        return max(found, key=lambda row: row.created_at, default=None)

    def find_request(self, tuned_model: str) -> RequestRecord | None:
        query = select_store_records(RequestRecord).where(
            self.visible_rows(JobRequestRow), JobRequestRow.tuned_model == tuned_model
        )
        with self.reading() as session:
            return query_one_store_record(session, RequestRecord, query)

    def find_projects(self, names: Collection[str]) -> set[str]:
        """Return the projects of the tuned models with these names, ours or the backend's; over all projects."""
        jobs = select(JobRow.project).where(JobRow.tuned_model.in_(names))
        asked = select(JobRequestRow.project).where(JobRequestRow.tuned_model.in_(names))
        with self.reading() as session:
            return set(session.scalars(jobs.union(asked)))

    def list_tuned_models(self) -> list[tuple[str | None, str, datetime]]:
        """Return name, backend name and time of each tuned model, newest first: the name is the one for the client who
        asked for it, if one did. Nothing else of a job is read: there may be ten thousand."""
        query = (
            select(
                JobRequestRow.tuned_model,
                JobRow.tuned_model,
                func.coalesce(JobRow.finished_at, JobRow.created_at, type_=UtcDateTime()),
            )
            .select_from(JobRow)
            .outerjoin(JobRequestRow, JobRow.id == JobRequestRow.id)
            .where(
                self.visible_rows(JobRow),
                JobRow.status == JobStatus.SUCCEEDED.value,
                JobRow.tuned_model.is_not(None),
                JobRow.deleted_at.is_(None),
            )
            .order_by(JobRow.created_at.desc())
        )
        with self.reading() as session:
            return [(asked, name or "", made) for asked, name, made in session.execute(query)]
