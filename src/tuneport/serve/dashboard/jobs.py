"""The list of jobs, with live status, cost so far and estimate."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request, Response

from tuneport.backends import backend_names
from tuneport.lifecycle.schema.records import UNFINISHED
from tuneport.serve.dashboard.job_view import DashboardJob
from tuneport.serve.dashboard.live import DashboardReaderMark, LivePagePart, LivePages, LivePageView
from tuneport.serve.dashboard.pages import DashboardPages, dashboard_page_routes
from tuneport.serve.gateway import Gateway
from tuneport.types import JobStatus

PER_PAGE = 25
_WANTED = {
    "unfinished": tuple(JobStatus(word) for word in UNFINISHED),
    "succeeded": (JobStatus.SUCCEEDED,),
    "failed": (JobStatus.FAILED,),
    "cancelled": (JobStatus.CANCELLED,),
}


def router(gateway: Gateway, pages: DashboardPages, live: LivePages) -> APIRouter:
    routes = dashboard_page_routes(pages)

    @routes.get("/")
    def jobs(
        request: Request,
        status: Annotated[str, Query(max_length=20)] = "",
        backend: Annotated[str, Query(max_length=80)] = "",
        after: Annotated[str | None, Query(max_length=40)] = None,
    ) -> Response:
        def look() -> dict[str, Any]:
            return _listing(gateway, status, backend, after)

        def draw(_: DashboardReaderMark) -> LivePageView:
            context = look()
            jobs: list[DashboardJob] = context["jobs"]
            # Rows change one by one, the whole list only if it has other jobs.
            parts = [
                replace(part, key=" ".join(job.id for job in jobs) or part.html) if part.id == "jobs" else part
                for part in pages.render_live_parts("jobs.html", request, **context)
            ]
            parts += [LivePagePart(f"row-{job.id}", pages.render_macro("cells", job), within="jobs") for job in jobs]
            return LivePageView(parts)

        if live.is_stream_request(request):
            return live.stream(
                request, draw, gateway.streams.watch_all_jobs(gateway.project), seconds=gateway.timing.jobs_page
            )
        return pages.render_page("jobs.html", request, live=DashboardReaderMark(), **look())

    return routes


def _listing(gateway: Gateway, status: str, backend: str, after: str | None) -> dict[str, Any]:
    found, more = gateway.store.listing.page(
        limit=PER_PAGE, after=after, statuses=_WANTED.get(status), backend=backend or None
    )
    views = [DashboardJob.from_job(listed) for listed in found]
    for view in views:
        if view.record is not None:
            gateway.request_poll(view.record)
    filters = {name: value for name, value in (("status", status), ("backend", backend)) if value}
    month = gateway.workspace.month()
    names = [*backend_names(gateway.settings)]
    names += sorted({view.backend for view in views if view.backend} - set(names))
    return {
        "jobs": views,
        "month": month,
        "month_name": f"{date.fromisoformat(f'{month.name}-01'):%B %Y}",
        "monthly_budget": gateway.settings.monthly_budget,
        "status": status,
        "backend": backend,
        "statuses": list(_WANTED),
        "backends": names,
        "filtered": bool(filters),
        "first": "/" + _query(filters),
        "older": "/" + _query(filters | {"after": views[-1].id}) if more and views else None,
        "paged": after is not None,
    }


def _query(values: dict[str, str]) -> str:
    return f"?{urlencode(values)}" if values else ""
