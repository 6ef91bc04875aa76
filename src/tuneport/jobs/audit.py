"""The audit log: who did what, when, from where, and what it may cost or cost.

Entries are added within the transaction of what they tell, so that there is neither one without the other. Chats change
nothing in the store: theirs are written behind them, many at a time.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import event, select
from sqlalchemy.orm import Session

from tuneport.jobs.asking import DEFAULT_PROJECT, Asking, asking, own_project
from tuneport.jobs.database import Database
from tuneport.jobs.tables import AuditRow
from tuneport.types import now

log = logging.getLogger(__name__)

ITSELF = "tuneport"
"""The name under which the program does what nobody asks for: a job's end, say."""


def note(
    session: Session,
    action: str,
    subject: str,
    *,
    project: str | None = None,
    usd: float | None = None,
    automatic: bool = False,
    **more: str | None,
) -> None:
    """`action` is a thing and a verb, such as `job.cancel`; `subject` an id or a name. `project` is the asker's if none
    is given. `automatic`: done by the program, whoever's thread it is. Once it is stored, the log tells it in a line,
    too, with `more`."""
    project = own_project() if project is None else project
    who = Asking(project, ITSELF) if automatic else replace(asking(), project=project)
    row = entry_of(who, action, subject, at=now(), usd=usd)
    session.add(row)
    if log.isEnabledFor(logging.INFO):
        told = {"event": action, "subject": row.subject, "project": row.project, "by": row.name, "usd": usd, **more}
        told["request_id"] = row.request_id

        def tell(_: Session) -> None:
            cost = "" if usd is None else f" ${usd:,.2f}"
            log.info("%s %s%s", action, told["subject"], cost, extra={"told": told})

        event.listen(session, "after_commit", tell, once=True)


def entry_of(
    who: Asking,
    action: str,
    subject: str,
    *,
    at: datetime,
    usd: float | None = None,
    prompt_tokens: int | None = None,
    completion_tokens: int | None = None,
) -> AuditRow:
    return AuditRow(
        created_at=at,
        project=who.project or DEFAULT_PROJECT,
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


class AuditLog(Database):
    def add_entries(self, rows: Sequence[AuditRow]) -> None:
        """All or none."""
        with self.transaction() as session:
            session.add_all(rows)

    def audit_page(
        self,
        *,
        limit: int,
        after: int | None = None,
        since: datetime | None = None,
        project: str | None = None,
    ) -> tuple[list[AuditRow], bool]:
        """Newest first, those behind the entry `after`, and whether there are more."""
        query = select(AuditRow).order_by(AuditRow.id.desc()).limit(limit + 1)
        if after is not None:
            query = query.where(AuditRow.id < after)
        if since is not None:
            query = query.where(AuditRow.created_at >= since)
        if project is not None:
            query = query.where(AuditRow.project == project)
        with self.reading() as session:
            rows = list(session.scalars(query))
        return rows[:limit], len(rows) > limit


def entry(row: AuditRow) -> dict[str, Any]:
    """As a document."""
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
