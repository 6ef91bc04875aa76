"""Whom to tell of which end: written with the end itself, whoever's process saw it; told until it is known or given up.

An endpoint may be told twice (the process was killed between the answer and writing it down), always with the same id;
it is never told after an answer that was written down.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from sqlalchemy import func, or_, select, update
from sqlalchemy.orm import Session

from tuneport.errors import ConfigError
from tuneport.jobs.database import Database
from tuneport.jobs.tables import DeliveryRow, EndpointRow, JobRequestRow, JobRow
from tuneport.types import now

HELD_SECONDS = 60.0
"""An attempt is over long before."""
FORGOTTEN_DAYS = 30.0
"""An endpoint that no gateway has had for so long is told nothing more."""
RESULTS_SECONDS = 60.0
"""Of a job with results, the end is told when its results are a file, or after so long: clients look for it at once."""
TYPE = "fine_tuning.job."
_MORE_RESULTS = "succeeded"


def announce(session: Session, row: JobRow) -> None:
    """Within the transaction that ends a job. What was announced already is not announced again."""
    if row.finished_at is None or row.announced_end == row.finished_at:
        return
    row.announced_end = row.finished_at
    wait = 0.0
    if row.status == _MORE_RESULTS:
        unsettled = select(JobRequestRow.id).where(JobRequestRow.id == row.id, JobRequestRow.results_at.is_(None))
        wait = 0.0 if session.scalar(unsettled) is None else RESULTS_SECONDS
    _write(session, row.id, row.status, wait)


def announce_request(session: Session, job_id: str, state: str) -> None:
    """Within the transaction that ends a request that never was a job."""
    _write(session, job_id, state, 0.0)


def results_settled(session: Session, job_id: str) -> None:
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


class Outbox(Database):
    def register_endpoints(self, wanted: Mapping[str, tuple[str, Sequence[str]]]) -> None:
        """From now on these are told of ends: by name, the kind and the events."""
        with self.transaction() as session:
            for name, (kind, events) in wanted.items():
                session.merge(EndpointRow(name=name, kind=kind, events=list(events), seen_at=now()))

    def endpoints(self) -> list[EndpointRow]:
        with self.transaction() as session:
            return list(session.scalars(select(EndpointRow).order_by(EndpointRow.name)))

    def take_deliveries(self, owner: str, names: Sequence[str], *, limit: int) -> list[DeliveryRow]:
        """What is due for these endpoints and held by nobody, from now on held by `owner`."""
        moment = now()
        free = or_(DeliveryRow.lease_owner.is_(None), DeliveryRow.lease_expires_at < moment)
        query = (
            select(DeliveryRow)
            .where(DeliveryRow.due_at <= moment, DeliveryRow.endpoint.in_(names), free)
            .order_by(DeliveryRow.due_at)
            .limit(limit)
        )
        if self.engine.dialect.name == "postgresql":
            query = query.with_for_update(skip_locked=True)
        with self.transaction() as session:
            rows = list(session.scalars(query))
            for row in rows:
                row.lease_owner, row.lease_expires_at = owner, moment + timedelta(seconds=HELD_SECONDS)
        return rows

    def free_deliveries(self, gone: Sequence[str]) -> None:
        """What holders held that are no more is due as before."""
        with self.transaction() as session:
            session.execute(
                update(DeliveryRow)
                .where(DeliveryRow.lease_owner.in_(gone))
                .values(lease_owner=None, lease_expires_at=None)
            )

    def delivery_holders(self) -> list[str]:
        query = select(DeliveryRow.lease_owner).where(DeliveryRow.lease_owner.is_not(None)).distinct()
        with self.transaction() as session:
            return [str(owner) for owner in session.scalars(query)]

    def delivery_tried(
        self,
        delivery_id: str,
        owner: str,
        *,
        state: str,
        status: int | None,
        error: str | None,
        due_at: datetime | None = None,
    ) -> bool:
        """What came of an attempt; False, and no change, where another process has taken it over."""
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
                    lease_owner=None,
                    lease_expires_at=None,
                )
            )
            return changed.rowcount == 1  # type: ignore[attr-defined, no-any-return]

    def give_up_deliveries(self, *, days: float) -> int:
        """What nobody could be told for so long, since no gateway has its endpoint any more, is dead."""
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

    def deliveries(self, *, limit: int = 50, job_id: str | None = None, state: str | None = None) -> list[DeliveryRow]:
        """Newest first."""
        query = select(DeliveryRow)
        if job_id is not None:
            query = query.where(DeliveryRow.job_id == job_id)
        if state is not None:
            query = query.where(DeliveryRow.state == state)
        with self.transaction() as session:
            return list(session.scalars(query.order_by(DeliveryRow.created_at.desc(), DeliveryRow.id).limit(limit)))

    def send_again(self, delivery_id: str) -> DeliveryRow:
        """Due now, with the same id, whatever became of it. ConfigError where there is no such delivery."""
        moment = now()
        with self.transaction() as session:
            row = session.get(DeliveryRow, delivery_id, with_for_update=True)
            if row is None:
                raise ConfigError(f"no delivery {delivery_id!r} here; `tuneport webhook deliveries` lists them")
            row.state, row.due_at, row.began_at, row.attempts, row.ended_at = "waiting", moment, moment, 0, None
            row.lease_owner = row.lease_expires_at = None
            return row
