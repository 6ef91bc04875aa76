"""The audit log: who did what, when, from where, and what it may cost or cost.

An entry is added within the transaction of the action, so that there is neither one without the other. Chats change
nothing in the store: their entries are written afterwards, many at a time.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import event
from sqlalchemy.orm import Session

from tuneport.formatting import money
from tuneport.lifecycle.schema.records import AuditRecord
from tuneport.lifecycle.schema.request_context import RequestContext, current_store_request_context
from tuneport.lifecycle.schema.scope import DEFAULT_PROJECT
from tuneport.lifecycle.schema.tables import AuditRow
from tuneport.lifecycle.store.part import StorePart, query_store_records, select_store_records
from tuneport.types import now

log = logging.getLogger(__name__)

ITSELF = "tuneport"
"""The name of the actor if the program acts by itself, as at a job's end."""


def add_audit_entry(
    session: Session,
    action: str,
    subject: str,
    *,
    project: str | None,
    usd: float | None = None,
    automatic: bool = False,
    **more: str | None,
) -> None:
    """Add an entry. `action` is a thing and a verb, such as `job.cancel`; `subject` an id or a name. `project` None is
    the default one. `automatic`: the program did it by itself, in any thread. Once the entry is stored, it is logged in
    a line, too, with `more`."""
    project = project or DEFAULT_PROJECT
    who = RequestContext(project, ITSELF) if automatic else replace(current_store_request_context(), project=project)
    row = build_audit_record(who, action, subject, at=now(), usd=usd)
    session.add(AuditRow(**vars(row)))
    if log.isEnabledFor(logging.INFO):
        told = {"event": action, "subject": row.subject, "project": row.project, "by": row.name, "usd": usd, **more}
        told["request_id"] = row.request_id

        def tell(_: Session) -> None:
            cost = "" if usd is None else f" {money(usd)}"
            log.info("%s %s%s", action, told["subject"], cost, extra={"told": told})

        event.listen(session, "after_commit", tell, once=True)


def build_audit_record(
    who: RequestContext,
    action: str,
    subject: str,
    *,
    at: datetime,
    usd: float | None = None,
    prompt_tokens: int | None = None,
    completion_tokens: int | None = None,
) -> AuditRecord:
    return AuditRecord(
        created_at=at,
        project=who.project,
        name=who.name,
        token_id=who.token_id,
        address=who.address,
        request_id=who.request_id,
        action=action,
        subject=subject.replace("\0", "\N{REPLACEMENT CHARACTER}")[:200],  # PostgreSQL refuses the entry with it
        usd=usd,
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
    )


class AuditLog(StorePart):
    def record(self, action: str, subject: str, *, project: str) -> None:
        """Write down what was done outside the store."""
        with self.transaction() as session:
            add_audit_entry(session, action, subject, project=project)

    def add(self, rows: Sequence[AuditRecord]) -> None:
        """Add the entries, all or none."""
        with self.transaction() as session:
            session.add_all(AuditRow(**vars(row)) for row in rows)

    def page(
        self,
        *,
        limit: int,
        after: int | None = None,
        since: datetime | None = None,
        project: str | None = None,
    ) -> tuple[list[AuditRecord], bool]:
        """Return the entries behind the entry `after`, newest first, and whether there are more."""
        query = select_store_records(AuditRecord).order_by(AuditRow.id.desc()).limit(limit + 1)
        if after is not None:
            query = query.where(AuditRow.id < after)
        if since is not None:
            query = query.where(AuditRow.created_at >= since)
        if project is not None:
            query = query.where(AuditRow.project == project)
        with self.reading() as session:
            rows = query_store_records(session, AuditRecord, query)
        return rows[:limit], len(rows) > limit


def audit_record_document(row: AuditRecord) -> dict[str, Any]:
    """Return the entry as a document."""
    return {
        "id": row.id,
        "object": "tuneport.audit_entry",
        "created_at": row.created_at.isoformat(),
        "project": row.project,
        "name": row.name,
        "token_id": row.token_id,
        "address": row.address,
        "request_id": row.request_id,
        "action": row.action,
        "subject": row.subject,
        "usd": row.usd,
        "prompt_tokens": row.prompt_tokens,
        "completion_tokens": row.completion_tokens,
    }
