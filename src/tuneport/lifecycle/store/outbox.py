"""The outbox: notifications of ended jobs, written with the end itself, in whichever process saw it, and sent until
they are delivered or given up.

An endpoint may be told twice (the process was killed between the answer and writing it down), always with the same id;
it is never told after an answer that was written down.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from tuneport.errors import ConfigError
from tuneport.lifecycle.schema.records import DeliveryRecord
from tuneport.lifecycle.schema.tables import DeliveryRow, EndpointRow, JobRequestRow, JobRow
from tuneport.lifecycle.store.part import (
    RELEASED,
    LeasedPart,
    query_store_records,
    select_store_records,
    store_row_to_record,
)
from tuneport.types import now

HELD_SECONDS = 60.0
"""An attempt is over long before."""
FORGOTTEN_DAYS = 30.0
"""An endpoint that no gateway has had for so long is told nothing more."""
RESULTS_SECONDS = 60.0
"""Seconds after which the end of a job with results is announced even if they are not a file yet: clients look for the
file at once."""
TYPE = "fine_tuning.job."
_MORE_RESULTS = "succeeded"


def announce_job_end(session: Session, row: JobRow) -> None:
    """Announce the end of a job within the transaction that ends it. An end that was announced already is not announced
    again."""
    if row.finished_at is None or row.announced_end == row.finished_at:
        return
    row.announced_end = row.finished_at
    wait = 0.0
    if row.status == _MORE_RESULTS:
        unsettled = select(JobRequestRow.id).where(JobRequestRow.id == row.id, JobRequestRow.results_at.is_(None))
        wait = 0.0 if session.scalar(unsettled) is None else RESULTS_SECONDS
    _write(session, row.id, row.status, wait)


def announce_job_request_end(session: Session, job_id: str, state: str) -> None:
    """Announce the end of a request that never was a job, within the transaction that ends it."""
    _write(session, job_id, state, 0.0)


def release_job_announcement(session: Session, job_id: str) -> None:
    moment = now()
    session.execute(
        update(DeliveryRow)
        .where(DeliveryRow.job_id == job_id, DeliveryRow.attempts == 0, DeliveryRow.due_at > moment)
        .values(due_at=moment)
    )


def _write(session: Session, job_id: str, end: str, wait: float) -> None:
    moment = now()
    event_id = f"evt_{secrets.token_hex(16)}"
    known = select(EndpointRow).where(EndpointRow.seen_at > moment - timedelta(days=FORGOTTEN_DAYS))
    for endpoint in session.scalars(known.order_by(EndpointRow.name)):
        if end in endpoint.events:
            session.add(
                DeliveryRow(
                    id=f"wh_{secrets.token_hex(16)}",
                    endpoint=endpoint.name,
                    kind=endpoint.kind,
                    event_id=event_id,
                    type=TYPE + end,
                    job_id=job_id,
                    state="waiting",
                    created_at=moment,
                    began_at=moment,
                    due_at=moment + timedelta(seconds=wait),
                )
            )


class WebhookOutbox(LeasedPart):
    leased, seconds = DeliveryRow, HELD_SECONDS

    def register_endpoints(self, wanted: Mapping[str, tuple[str, Sequence[str]]]) -> None:
        """Register the endpoints that are told of ends from now on: by name, the kind and the events."""
        with self.transaction() as session:
            for name, (kind, events) in wanted.items():
                session.merge(EndpointRow(name=name, kind=kind, events=list(events), seen_at=now()))

    def claim_due_deliveries(self, owner: str, names: Sequence[str], *, limit: int) -> list[DeliveryRecord]:
        """Take the deliveries that are due for these endpoints and not held; they are held by `owner` from now on."""
        moment = now()
        query = (
            select(DeliveryRow)
            .where(DeliveryRow.due_at <= moment, DeliveryRow.endpoint.in_(names), self.rows_without_holder(moment))
            .order_by(DeliveryRow.due_at)
            .limit(limit)
        )
        if self.database.is_postgresql:
            query = query.with_for_update(skip_locked=True)
        with self.transaction() as session:
            rows = list(session.scalars(query))
            for row in rows:
                for name, value in self.holder_values(owner, moment).items():
                    setattr(row, name, value)
            return [store_row_to_record(DeliveryRecord, row) for row in rows]

    def record_attempt(
        self,
        delivery_id: str,
        owner: str,
        *,
        state: str,
        status: int | None,
        error: str | None,
        due_at: datetime | None = None,
    ) -> bool:
        """Record the result of an attempt. Returns False, and changes nothing, if another process has taken it over."""
        ended = None if state == "waiting" else now()
        with self.transaction() as session:
            changed = session.execute(
                update(DeliveryRow)
                .where(DeliveryRow.id == delivery_id, DeliveryRow.lease_owner == owner)
                .values(
                    state=state,
                    attempts=DeliveryRow.attempts + 1,
                    last_status=status,
                    last_error=error,
                    due_at=due_at,
                    ended_at=ended,
                    **RELEASED,
                )
            )
            return changed.rowcount == 1  # type: ignore[attr-defined, no-any-return]

    def give_up_deliveries(self, *, days: float) -> int:
        """Mark deliveries as dead that waited for so long because no gateway has their endpoint any more; return how
        many."""
        moment = now()
        reason = func.coalesce(DeliveryRow.last_error, "no gateway had this endpoint")
        with self.transaction() as session:
            changed = session.execute(
                update(DeliveryRow)
                .where(
                    DeliveryRow.state == "waiting",
                    DeliveryRow.lease_owner.is_(None),
                    DeliveryRow.began_at < moment - timedelta(days=days),
                )
                .values(state="dead", due_at=None, ended_at=moment, last_error=reason)
            )
            return int(changed.rowcount)  # type: ignore[attr-defined]

    def list_deliveries(
        self, *, limit: int = 50, job_id: str | None = None, state: str | None = None
    ) -> list[DeliveryRecord]:
        """Return the deliveries, newest first."""
        query = select_store_records(DeliveryRecord)
        if job_id is not None:
            query = query.where(DeliveryRow.job_id == job_id)
        if state is not None:
            query = query.where(DeliveryRow.state == state)
        with self.transaction() as session:
            newest = query.order_by(DeliveryRow.created_at.desc(), DeliveryRow.id).limit(limit)
            return query_store_records(session, DeliveryRecord, newest)

    def send_again(self, delivery_id: str) -> DeliveryRecord:
        """Make the delivery due now, with the same id, in any state. Raises ConfigError if there is no such
        delivery."""
        moment = now()
        with self.transaction() as session:
            row = session.get(DeliveryRow, delivery_id, with_for_update=True)
            if row is None:
                raise ConfigError(f"no delivery {delivery_id!r} here; `tuneport webhook deliveries` lists them")
            row.state, row.due_at, row.began_at, row.attempts, row.ended_at = "waiting", moment, moment, 0, None
            row.lease_owner = row.lease_expires_at = None
            return store_row_to_record(DeliveryRecord, row)
