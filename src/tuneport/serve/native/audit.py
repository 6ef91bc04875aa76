"""The route /tuneport/v1/audit: who did what. It needs the scope admin."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel

from tuneport.lifecycle.store.audit import audit_record_document
from tuneport.serve.gateway import Gateway
from tuneport.serve.http.access import gateway_request_caller
from tuneport.serve.http.queries import Moment


class AuditEntry(BaseModel):
    id: int
    object: str
    created_at: datetime
    project: str
    name: str
    token_id: str | None
    address: str | None
    request_id: str | None
    action: str
    subject: str
    usd: float | None
    prompt_tokens: int | None
    completion_tokens: int | None


class AuditPage(BaseModel):
    object: str = "list"
    data: list[AuditEntry]
    has_more: bool


def router(gateway: Gateway) -> APIRouter:
    routes = APIRouter(prefix="/tuneport/v1", tags=["Audit"])

    @routes.get("/audit", response_model=AuditPage)
    def list_entries(
        request: Request,
        after: Annotated[int | None, Query(ge=1, le=2**62)] = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        since: Moment | None = None,
        project: str | None = None,
    ) -> dict[str, Any]:
        """List audit entries, newest first; `after` is the id of the last entry that was seen. A token for all
        projects gets the entries of all, any other those of its own project."""
        who = gateway_request_caller(request)
        if not who.every_project and who.token_id is not None:
            project = who.project
        rows, more = gateway.store.audit.page(limit=limit, after=after, since=since, project=project)
        return {"data": [audit_record_document(row) for row in rows], "has_more": more}

    return routes
