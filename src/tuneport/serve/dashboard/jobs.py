"""The list of jobs, with live status, cost so far and estimate."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request, Response

from tuneport.backends import backend_names
from tuneport.jobs.file_journal import UNFINISHED
from tuneport.jobs.overview import listed_jobs
from tuneport.serve.dashboard.job_view import JobView
from tuneport.serve.dashboard.pages import Pages, page_routes
from tuneport.serve.gateway import Gateway
from tuneport.types import JobStatus

PER_PAGE = 25
LIVE_MILLISECONDS = 3_000
_WANTED = {
    "unfinished": tuple(JobStatus(word) for word in UNFINISHED),
    "succeeded": (JobStatus.SUCCEEDED,),
    "failed": (JobStatus.FAILED,),
    "cancelled": (JobStatus.CANCELLED,),
}


def router(gateway: Gateway, pages: Pages) -> APIRouter:
    routes = page_routes(pages)

    @routes.get("/")
    def jobs(
        request: Request,
        status: Annotated[str, Query(max_length=20)] = "",
        backend: Annotated[str, Query(max_length=80)] = "",
        after: Annotated[str | None, Query(max_length=40)] = None,
    ) -> Response:
        found, more = listed_jobs(
            gateway.store, limit=PER_PAGE, after=after, statuses=_WANTED.get(status), backend=backend or None
        )
        views = [JobView(listed) for listed in found]
        for view in views:
            if view.listed.row is not None:
                gateway.hurry(view.listed.row)
        filters = {name: value for name, value in (("status", status), ("backend", backend)) if value}
        names = [*backend_names(gateway.settings)]
        names += sorted({view.backend for view in views if view.backend} - set(names))
        return pages.page(
            "jobs.html",
            request,
            jobs=views,
            month=gateway.workspace.month(),
            monthly_budget=gateway.settings.monthly_budget,
            status=status,
            backend=backend,
            statuses=list(_WANTED),
            backends=names,
            filtered=bool(filters),
            first="/" + _query(filters),
            older="/" + _query(filters | {"after": views[-1].id}) if more and views else None,
            paged=after is not None,
            live=LIVE_MILLISECONDS if any(view.unfinished for view in views) else None,
        )

    return routes


def _query(values: dict[str, str]) -> str:
    return f"?{urlencode(values)}" if values else ""
