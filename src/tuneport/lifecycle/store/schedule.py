"""The schedule of polls: which jobs are due, what many answers at once change, and which job gets the next free
slot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, func, or_, select, text, update

from tuneport.lifecycle.schema.database import StoreDatabase, split_for_store_statement
from tuneport.lifecycle.schema.records import UNFINISHED, JobRecord
from tuneport.lifecycle.schema.tables import JobRow
from tuneport.lifecycle.store.event_log import JobEventLog
from tuneport.lifecycle.store.part import StorePart, store_row_to_record
from tuneport.lifecycle.store.reconcile import reconcile_job_rows
from tuneport.types import JobStatus, now

WAITING_SECONDS = 150.0
"""A job that waits for a slot and was not tried for so long has no worker, and is no reason to wait."""
HOLD_AT_LEAST, HOLD_PER_JOB = 20.0, 0.1
"""Seconds for which jobs that are asked about are put off: for one request, and for each job's share of a list of a
hundred. Should it take longer, another process asks, too, which only reads."""


@dataclass(frozen=True, slots=True)
class PolledJob:
    """An unfinished job at the backend, with what polling needs to know."""

    id: str
    remote_id: str
    status: str
    created_at: datetime
    polled_at: datetime | None
    due_at: datetime

    def is_nearly_due(self, moment: datetime, share: float) -> bool:
        """Return whether less than `share` of its interval is left: then one more answer of the same call costs
        nothing."""
        since = self.polled_at or self.created_at
        return self.due_at - moment <= (self.due_at - since) * share


class JobPollSchedule(StorePart):
    def __init__(self, database: StoreDatabase, events: JobEventLog) -> None:
        super().__init__(database)
        self._events = events

    def due_backends(self) -> list[str]:
        """Return the backends that have unfinished jobs, or ended ones that are to be looked at once more now."""
        due = or_(JobRow.due_at.is_not(None), JobRow.recheck_at <= now())
        with self.transaction() as session:
            return sorted(session.scalars(select(JobRow.backend).where(due).distinct()))

    def take_due(
        self, backend: str, moment: datetime, *, hold: float, sweep_from: int, along: float
    ) -> tuple[list[PolledJob], datetime | None]:
        """Return the jobs of `backend` that are due, and when the next one is.

        They are put off in the same transaction, by `hold` seconds at most (few jobs for less), so that another process
        does not poll them, too, but does if this one dies. From `sweep_from` jobs on, those that would be due soon are
        polled, too (see `PolledJob.is_nearly_due`). Rows under a lease are left out, and so are requested actions
        (`pending_actions`).
        """
        columns = (JobRow.id, JobRow.remote_id, JobRow.status, JobRow.created_at, JobRow.polled_at, JobRow.due_at)
        open_ = (JobRow.backend == backend, JobRow.remote_id.is_not(None), *_free_to_poll(moment))
        query = select(*columns).where(*open_).order_by(JobRow.due_at)
        if self.database.is_postgresql:
            query = query.with_for_update(skip_locked=True)
        with self.transaction() as session:
            due = [PolledJob(*row) for row in session.execute(query.where(JobRow.due_at <= moment))]  # type: ignore[arg-type]
            if len(due) >= sweep_from:
                rows = [PolledJob(*row) for row in session.execute(query)]  # type: ignore[arg-type]
                due = [row for row in rows if row.is_nearly_due(moment, along)]
            if due:
                until = moment + timedelta(seconds=min(hold, HOLD_AT_LEAST + HOLD_PER_JOB * len(due)))
                session.execute(update(JobRow), [{"id": row.id, "due_at": until} for row in due])
            next_due = session.scalar(select(func.min(JobRow.due_at)).where(*open_, JobRow.due_at > moment))
        return due, next_due

    def pending_actions(self, backend: str, moment: datetime) -> list[str]:
        """Return jobs at the backend with a requested cancel, pause, resume or delete that is due."""
        asked = or_(
            and_(JobRow.due_at <= moment, JobRow.cancel_requested_at.is_not(None), JobRow.status != "cancelling"),
            and_(JobRow.due_at <= moment, JobRow.requested_action.is_not(None)),
            and_(JobRow.delete_requested_at.is_not(None), JobRow.deleted_at.is_(None)),
        )
        query = select(JobRow.id).where(JobRow.backend == backend, JobRow.remote_id.is_not(None), asked)
        with self.transaction() as session:
            return list(session.scalars(query.order_by(JobRow.created_at)))

    def due_rechecks(self, backend: str, moment: datetime) -> list[str]:
        """Return the jobs, ended ones too, for which a second one may have been started: see `unclear_starts`."""
        query = select(JobRow.id).where(JobRow.backend == backend, JobRow.recheck_at <= moment)
        with self.reading() as session:
            return list(session.scalars(query))

    def due_curves(self, backend: str, before: datetime) -> list[str]:
        """Return jobs that train, are to be stopped once they overfit, and had their curve judged before then or
        never."""
        wished = (JobRow.stop_on_overfit, JobRow.stopped_early.is_(None), JobRow.requested_action.is_(None))
        due = or_(JobRow.curve_at.is_(None), JobRow.curve_at < before)
        query = select(JobRow.id).where(
            JobRow.status == JobStatus.RUNNING.value,
            JobRow.backend == backend,
            JobRow.cancel_requested_at.is_(None),
            *wished,
            due,
        )
        with self.transaction() as session:
            return list(session.scalars(query.order_by(JobRow.curve_at)))

    def due_starts(self, backend: str, moment: datetime) -> list[tuple[str, str]]:
        """Return jobs (id, model) that the backend does not have yet and that are due, oldest first."""
        query = select(JobRow.id, JobRow.model).where(
            JobRow.backend == backend, JobRow.remote_id.is_(None), JobRow.due_at <= moment
        )
        with self.transaction() as session:
            return [(job_id, model) for job_id, model in session.execute(query.order_by(JobRow.created_at, JobRow.id))]

    def postpone(self, job_ids: Sequence[str], until: datetime, *, note: str | None = None) -> None:
        """Put off polling the jobs to `until`; a person can still ask. `note` says why."""
        values: dict[str, Any] = {"due_at": until} | ({} if note is None else {"note": note})
        with self.transaction() as session:
            for some in split_for_store_statement(job_ids):
                session.execute(
                    update(JobRow).where(JobRow.id.in_(some), JobRow.status.in_(UNFINISHED)).values(**values)
                )

    def poll_soon(self, job_id: str, *, polled_before_seconds: float) -> None:
        """Make a job due for polling now, its events too, if the last poll was longer ago. A time set by the provider
        is kept."""
        moment = now()
        with self.transaction() as session:
            session.execute(
                update(JobRow)
                .where(
                    JobRow.id == job_id,
                    JobRow.status.in_(UNFINISHED),
                    JobRow.note.is_(None),
                    JobRow.due_at > moment,
                    JobRow.polled_at < moment - timedelta(seconds=polled_before_seconds),
                )
                .values(due_at=moment, events_due=JobRow.remote_id.is_not(None))
            )

    def record_many(self, changes: Mapping[str, Mapping[str, Any]]) -> list[str]:
        """Change many unfinished rows at once, in one transaction; return the ids of those that were changed.

        A row under a lease, or one that has ended, is left as it is: its holder knows better. The change is claim,
        write and release in one, since nothing slow happens in between.
        """
        moment = now()
        with self.transaction() as session:
            free: set[str] = set()
            ids = list(changes)
            for some in split_for_store_statement(ids):
                query = select(JobRow.id).where(
                    JobRow.id.in_(some),
                    JobRow.status.in_(UNFINISHED),
                    or_(JobRow.lease_owner.is_(None), JobRow.lease_expires_at < moment),
                )
                if self.database.is_postgresql:
                    query = query.with_for_update()
                free.update(session.scalars(query))
            by_columns: dict[tuple[str, ...], list[dict[str, Any]]] = {}
            for job_id in ids:
                if job_id in free:
                    values = {"id": job_id, "updated_at": moment, **changes[job_id]}
                    by_columns.setdefault(tuple(values), []).append(values)
            for rows in by_columns.values():
                session.execute(update(JobRow), rows)
            changed = [job_id for job_id in ids if job_id in free and "state" in changes[job_id]]
            found = reconcile_job_rows(session, changed, unchanged=free.difference(changed))
        self._events.add_findings(found)
        return [job_id for job_id in ids if job_id in free]

    # --- slots ------------------------------------------------------------------------------------------------------

    def acquire_slot(
        self, job_id: str, owner: str, *, limit: int | None, **intent: Any
    ) -> tuple[JobRecord | None, list[str]]:
        """Write the intent to submit, if the account has fewer than `limit` jobs of that backend and model under way.

        Returns the row, or None and the ids of the jobs that this one waits for; then only the time since when it waits
        is written. Counting and writing are one transaction, so that no two processes take the last slot. Jobs that
        wait longer go first, as long as a worker drives them. Returns (None, []) if another worker holds the lease by
        now.
        """
        with self.transaction() as session:
            row = session.get(JobRow, job_id, with_for_update=True)
            if row is None or row.lease_owner != owner:
                return None, []
            moment = now()
            if limit is not None:
                if self.database.is_postgresql:
                    place = {"place": f"tuneport place {row.backend} {row.model}"}
                    session.execute(text("SELECT pg_advisory_xact_lock(hashtext(:place))"), place)
                blocking = _blocking(session.execute(_others(row)).all(), row, limit, moment)
                if blocking:
                    row.waits_since = row.waits_since or moment
                    row.updated_at = moment
                    return None, blocking
            for name, value in (intent | {"updated_at": moment}).items():
                setattr(row, name, value)
            session.flush()
            return store_row_to_record(JobRecord, row), []

    def wake_jobs_waiting_for_slot(self, backend: str, moment: datetime, *, within: float) -> None:
        """Make jobs due that wait for a slot, because a job has ended. A time set by the provider is kept.

        `within`: a job that is put off for longer than so many seconds was put off by the provider.
        """
        with self.transaction() as session:
            session.execute(
                update(JobRow)
                .where(
                    JobRow.backend == backend,
                    JobRow.remote_id.is_(None),
                    JobRow.waits_since.is_not(None),
                    JobRow.due_at <= moment + timedelta(seconds=within),
                )
                .values(due_at=moment)
            )


def _free_to_poll(moment: datetime) -> list[ColumnElement[bool]]:
    return [
        JobRow.due_at.is_not(None),
        JobRow.requested_action.is_(None),
        or_(JobRow.cancel_requested_at.is_(None), JobRow.status == JobStatus.CANCELLING.value),
        or_(JobRow.lease_owner.is_(None), JobRow.lease_expires_at < moment),
    ]


def _others(row: JobRow):  # type: ignore[no-untyped-def]
    """Return the other jobs of the account and model that are, or may be, at the backend, and those that wait for
    it."""
    under_way = or_(JobRow.remote_id.is_not(None), JobRow.submit_intent_at.is_not(None))
    return (
        select(JobRow.id, under_way, JobRow.waits_since, JobRow.updated_at)
        .where(
            JobRow.backend == row.backend,
            JobRow.model == row.model,
            JobRow.id != row.id,
            JobRow.status.in_(UNFINISHED),
            # It is undocumented whether a paused job takes a slot; if it does, the provider refuses, and we wait.
            JobRow.status != JobStatus.PAUSED.value,
            or_(under_way, JobRow.waits_since.is_not(None)),
        )
        .order_by(func.coalesce(JobRow.waits_since, JobRow.created_at), JobRow.id)
    )


def _blocking(others: Sequence[Any], row: JobRow, limit: int, moment: datetime) -> list[str]:
    """Return the jobs under way if they and those that wait in front of `row` fill the account; else an empty list."""
    under_way = [other.id for other in others if other[1]]
    in_front = [
        other.id
        for other in others
        if not other[1]
        and moment - other.updated_at < timedelta(seconds=WAITING_SECONDS)
        and (other.waits_since, other.id) < (row.waits_since or moment, row.id)
    ]
    return under_way + in_front if len(under_way) + len(in_front) >= limit else []
