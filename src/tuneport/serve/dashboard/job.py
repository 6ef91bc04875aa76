"""A job's page: live curves, events, costs, actions and results."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from tempfile import mkdtemp
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from tuneport.lifecycle.job_view import JobView
from tuneport.lifecycle.store.store import UnknownJobError
from tuneport.serve.dashboard.archive import stream_dashboard_tar
from tuneport.serve.dashboard.curves import DashboardCurvePoints, DashboardCurves, draw_dashboard_charts
from tuneport.serve.dashboard.job_view import DashboardJob, dashboard_shows_weights, list_dashboard_actions
from tuneport.serve.dashboard.live import DashboardReaderMark, LivePages, LivePageView
from tuneport.serve.dashboard.pages import ATTACHMENT, DashboardPages, dashboard_page_routes, redirect_after_form
from tuneport.serve.documents import openai_job as job_document
from tuneport.serve.documents.native_job import native_job_document as told_of
from tuneport.serve.gateway import Gateway
from tuneport.serve.http.errors import Refusal, gateway_not_found_refusal
from tuneport.serve.jobs.results import build_gateway_result_csv
from tuneport.serve.live.streams import GIVE_UP_SECONDS
from tuneport.types import JobEvent, now

EVENTS = 50


def is_job_page_live(view: DashboardJob, known: DashboardCurvePoints) -> bool:
    """Return whether the job may still change; after its end, its last points and events may still arrive."""
    row = view.record
    if view.is_unfinished or row is None or row.finished_at is None:
        return view.is_unfinished
    due = row.events_due or not known.settled
    return due and (now() - row.finished_at).total_seconds() < GIVE_UP_SECONDS


def router(gateway: Gateway, pages: DashboardPages, curves: DashboardCurves, live: LivePages) -> APIRouter:
    routes = dashboard_page_routes(pages)

    @routes.get("/jobs/{job_id}")
    def job(job_id: str, request: Request, before: Annotated[int | None, Query(ge=1)] = None) -> Response:
        def look() -> dict[str, Any]:
            return _page(gateway, curves, job_id, before)

        def draw(mark: DashboardReaderMark) -> LivePageView:
            context = look()
            parts = pages.render_live_parts("job.html", request, **context)
            told, head = context["events"], context["head"]
            fresh = [(at, event) for at, event in told if mark.head is not None and at is not None and at > mark.head]
            if mark.head is not None and len(fresh) < EVENTS:  # otherwise send the whole list
                parts = [part for part in parts if part.id != "events"]
            else:
                fresh = []
            events = [(at, pages.render_macro("event", at, event)) for at, event in reversed(fresh)]
            return LivePageView(parts, events, head, moving=context["moving"])

        _listed(gateway, job_id)
        if live.is_stream_request(request):
            return live.stream(request, draw, gateway.streams.watch_job(job_id), seconds=gateway.timing.job_page)
        context = look()
        mark = DashboardReaderMark(context["head"]) if context["moving"] and before is None else None
        return pages.render_page("job.html", request, live=mark, **context)

    @routes.post("/jobs/{job_id}/{verb}")
    async def act(job_id: str, verb: str, request: Request) -> Response:
        """Cancel, pause or resume the job, then show its page again."""
        await pages.read_page_form(request)
        if verb not in ("cancel", "pause", "resume"):
            raise Refusal(404, f"There is nothing to {verb!r} about a job.")
        await run_in_threadpool(_act, gateway, job_id, verb)
        return redirect_after_form(f"/jobs/{job_id}")

    @routes.get("/jobs/{job_id}/metrics.csv")
    def metrics(job_id: str) -> Response:
        row = _listed(gateway, job_id).record
        points = [] if row is None else gateway.workspace.metrics(row.id)
        if not points:
            raise Refusal(404, f"{job_id} has no metrics.")
        headers = ATTACHMENT | {"Content-Disposition": f'attachment; filename="{job_id}-metrics.csv"'}
        return Response(build_gateway_result_csv(points), media_type="text/csv", headers=headers)

    @routes.get("/jobs/{job_id}/weights.tar")
    def weights(job_id: str) -> Response:
        """Send the weights as a tar file. They are first downloaded and verified in the gateway's home, and removed
        after sending."""
        listed = _listed(gateway, job_id)
        if listed.record is None:
            raise Refusal(404, f"{job_id} has no weights.")
        folder = Path(mkdtemp(prefix="weights-", dir=gateway.settings.home))
        try:
            fetched = gateway.workspace.download(listed.record.id, folder / job_id)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        headers = ATTACHMENT | {"Content-Disposition": f'attachment; filename="{job_id}.tar"'}
        return StreamingResponse(
            stream_dashboard_tar(fetched, job_id, folder), media_type="application/x-tar", headers=headers
        )

    return routes


def _page(gateway: Gateway, curves: DashboardCurves, job_id: str, before: int | None) -> dict[str, Any]:
    """Return the values that the job's page shows. `moving` says whether the job may still change."""
    view = DashboardJob.from_job(_listed(gateway, job_id))
    row = view.record
    known = DashboardCurvePoints()
    events: list[tuple[int | None, JobEvent]] = []
    earlier = None
    if row is not None:
        gateway.request_poll(row)
        known = curves.curve_points(row)
        found = gateway.workspace.newest_events(row.id, before=before, limit=EVENTS + 1)
        events = list(found[:EVENTS])
        earlier = found[EVENTS - 1][0] if len(found) > EVENTS else None
    elif view.request is not None:
        events = [(None, _as_event(told)) for told in reversed(job_document.last_openai_events(view))]
    return {
        "job": view,
        "can": list_dashboard_actions(gateway, view),
        "charts": draw_dashboard_charts(known.points, known.verdict),
        "verdict": known.verdict,
        "unavailable": known.unavailable,
        "events": events,
        "head": None if row is None else next((at for at, _ in events), 0),
        "earlier": earlier,
        "paged": before is not None,
        "settings": _settings(view),
        "weights": dashboard_shows_weights(gateway, view),
        "document": json.dumps(told_of(view), indent=2, ensure_ascii=False),
        "moving": is_job_page_live(view, known),
    }


def _listed(gateway: Gateway, job_id: str) -> JobView:
    found = gateway.store.listing.get(job_id)
    if found is None:
        raise gateway_not_found_refusal(f"There is no job {job_id}.", "job_id")
    return found


def _act(gateway: Gateway, job_id: str, verb: str) -> None:
    listed = _listed(gateway, job_id)
    if listed.record is None:
        if verb == "cancel" and gateway.store.requests.cancel(job_id):
            return
        listed = _listed(gateway, job_id)  # it became a job meanwhile
    if listed.record is None:
        raise Refusal(400, f"{job_id} is not running: there is nothing to {verb}.")
    try:
        getattr(gateway.workspace, verb)(listed.record.id)
    except UnknownJobError as error:
        raise gateway_not_found_refusal(str(error), "job_id") from error


def _as_event(told: Any) -> JobEvent:
    level = {"warn": "warning"}.get(told.level, told.level)
    return JobEvent(
        id=told.id, created_at=datetime.fromtimestamp(told.created_at, UTC), level=level, message=told.message
    )


def _settings(view: DashboardJob) -> list[tuple[str, str, str]]:
    """Return the name, value and reason of each setting, given by the user or chosen by the backend."""
    row, state = view.record, view.state
    if row is None:
        return []
    given = row.tune_spec.hyperparameters.given()
    resolved: Mapping[str, Any] = {} if state is None else state.hyperparameters
    reasons = {} if state is None else state.details.get("hyperparameter_reasons") or {}
    found = []
    for name in {**resolved, **given}:
        value = resolved.get(name, given.get(name))
        if value is None:
            continue
        reason = reasons.get(name) or ("as given" if name in given else f"chosen by {row.backend}")
        found.append((name.removeprefix("n_").replace("_", " "), str(value), str(reason)))
    return found
