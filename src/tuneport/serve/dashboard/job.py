"""A job's page: live curves, events, what it costs, what can be done about it, what it left."""

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

from tuneport.jobs.overview import Listed, listed_job
from tuneport.jobs.store import UnknownJobError
from tuneport.serve import job_document
from tuneport.serve.dashboard.archive import archived
from tuneport.serve.dashboard.curves import Curves, charts
from tuneport.serve.dashboard.job_view import JobView, can, has_weights
from tuneport.serve.dashboard.pages import ATTACHMENT, Pages, page_routes, see
from tuneport.serve.errors import Refusal, not_found
from tuneport.serve.gateway import Gateway
from tuneport.serve.job_documents import document as told_of
from tuneport.serve.results import result_csv
from tuneport.types import JobEvent

LIVE_MILLISECONDS = 2_000
EVENTS = 50


def router(gateway: Gateway, pages: Pages, curves: Curves) -> APIRouter:
    routes = page_routes(pages)

    @routes.get("/jobs/{job_id}")
    def job(job_id: str, request: Request, before: Annotated[int | None, Query(ge=1)] = None) -> Response:
        view = JobView(_listed(gateway, job_id))
        row = view.listed.row
        drawn, unavailable = [], None
        events: list[JobEvent] = []
        earlier = None
        if row is not None:
            gateway.hurry(row)
            known = curves.of(row)
            drawn, unavailable = charts(known.points), known.unavailable
            found = gateway.workspace.newest_events(row.id, before=before, limit=EVENTS + 1)
            events = [event for _, event in found[:EVENTS]]
            earlier = found[EVENTS - 1][0] if len(found) > EVENTS else None
        elif view.listed.request is not None:
            events = [_as_event(told) for told in reversed(job_document.last_events(view.listed.request))]
        return pages.page(
            "job.html",
            request,
            job=view,
            can=can(gateway, view),
            charts=drawn,
            unavailable=unavailable,
            events=events,
            earlier=earlier,
            paged=before is not None,
            settings=_settings(view),
            weights=has_weights(gateway, view),
            document=json.dumps(told_of(row, view.listed.request), indent=2, ensure_ascii=False),
            live=LIVE_MILLISECONDS if view.unfinished and before is None else None,
        )

    @routes.post("/jobs/{job_id}/{verb}")
    async def act(job_id: str, verb: str, request: Request) -> Response:
        """Cancel, pause or resume; then the job's page again."""
        await pages.form(request)
        if verb not in ("cancel", "pause", "resume"):
            raise Refusal(404, f"There is nothing to {verb!r} about a job.")
        await run_in_threadpool(_act, gateway, job_id, verb)
        return see(f"/jobs/{job_id}")

    @routes.get("/jobs/{job_id}/metrics.csv")
    def metrics(job_id: str) -> Response:
        row = _listed(gateway, job_id).row
        points = [] if row is None else gateway.workspace.metrics(row.id)
        if not points:
            raise Refusal(404, f"{job_id} has no metrics.")
        headers = ATTACHMENT | {"Content-Disposition": f'attachment; filename="{job_id}-metrics.csv"'}
        return Response(result_csv(points), media_type="text/csv", headers=headers)

    @routes.get("/jobs/{job_id}/weights.tar")
    def weights(job_id: str) -> Response:
        """Fetched into the gateway's home first, whole and verified, and gone from there once they are sent."""
        listed = _listed(gateway, job_id)
        if listed.row is None:
            raise Refusal(404, f"{job_id} has no weights.")
        folder = Path(mkdtemp(prefix="weights-", dir=gateway.settings.home))
        try:
            fetched = gateway.workspace.download(listed.row.id, folder / job_id)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        headers = ATTACHMENT | {"Content-Disposition": f'attachment; filename="{job_id}.tar"'}
        return StreamingResponse(archived(fetched, job_id, folder), media_type="application/x-tar", headers=headers)

    return routes


def _listed(gateway: Gateway, job_id: str) -> Listed:
    found = listed_job(gateway.store, job_id)
    if found is None:
        raise not_found(f"There is no job {job_id}.", "job_id")
    return found


def _act(gateway: Gateway, job_id: str, verb: str) -> None:
    listed = _listed(gateway, job_id)
    if listed.row is None:
        if verb == "cancel" and gateway.store.cancel_request(job_id):
            return
        listed = _listed(gateway, job_id)  # it became a job meanwhile
    if listed.row is None:
        raise Refusal(400, f"{job_id} is not running: there is nothing to {verb}.")
    try:
        getattr(gateway.workspace, verb)(listed.row.id)
    except UnknownJobError as error:
        raise not_found(str(error), "job_id") from error


def _as_event(told: Any) -> JobEvent:
    level = {"warn": "warning"}.get(told.level, told.level)
    return JobEvent(
        id=told.id, created_at=datetime.fromtimestamp(told.created_at, UTC), level=level, message=told.message
    )


def _settings(view: JobView) -> list[tuple[str, str, str]]:
    """Name, value and why it is that: what was given, what the backend made of the rest."""
    row, state = view.listed.row, view.state
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
