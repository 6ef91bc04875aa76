"""/v1/fine_tuning/jobs: start, look, cancel, pause, resume, events, checkpoints."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response

from tuneport.errors import ConfigError, UnsupportedError
from tuneport.jobs.overview import listed_jobs
from tuneport.jobs.tables import JobRequestRow, JobRow
from tuneport.serve import job_document, wire
from tuneport.serve.command_line_jobs import requests_for
from tuneport.serve.description import BY_METADATA
from tuneport.serve.errors import Refusal, not_found
from tuneport.serve.gateway import Gateway
from tuneport.serve.intake import create
from tuneport.serve.queries import StrictRoute, by_metadata

Limit = Annotated[int, Query(ge=1, le=100)]


def router(gateway: Gateway) -> APIRouter:
    store, workspace = gateway.store, gateway.workspace
    routes = APIRouter(prefix="/v1/fine_tuning/jobs", tags=["Fine-tuning"], route_class=StrictRoute)

    @routes.post("", response_model=wire.FineTuningJob)
    def create_job(
        asked: wire.CreateJob, idempotency_key: Annotated[str | None, Header(max_length=255)] = None
    ) -> wire.FineTuningJob:
        """Start a job and return at once; its files are judged and sent behind it. The same `Idempotency-Key` again
        gives the same job."""
        request = create(gateway, asked, key=idempotency_key)
        gateway.wake()
        return job_document.document(request, store.jobs_by_id([request.id]).get(request.id))

    @routes.get("", response_model=wire.JobList, openapi_extra=BY_METADATA)
    def list_jobs(request: Request, after: str | None = None, limit: Limit = 20) -> Response:
        """Newest first. `metadata[KEY]=VALUE` filters; `metadata=null` asks for jobs without any."""
        filtered = by_metadata(request.query_params)
        if after is not None:
            _both(gateway, after)
        found, more = listed_jobs(store, limit=limit, after=after, metadata=filtered)
        made = requests_for(store, [each.row for each in found if each.row is not None and each.request is None])
        documents = [job_document.document(each.request or made[each.id], each.row) for each in found]
        return _written(wire.JobList(data=documents, has_more=more))

    @routes.get("/{fine_tuning_job_id}", response_model=wire.FineTuningJob)
    def retrieve_job(fine_tuning_job_id: str) -> Response:
        """As last known; that somebody asks has it looked at soon."""
        request, row = _both(gateway, fine_tuning_job_id)
        if row is not None:
            gateway.hurry(row)
        return _written(job_document.document(request, row))

    @routes.post("/{fine_tuning_job_id}/cancel", response_model=wire.FineTuningJob)
    def cancel_job(fine_tuning_job_id: str) -> wire.FineTuningJob:
        request, row = _unfinished(gateway, fine_tuning_job_id)
        if row is None:
            if store.cancel_request(request.id):
                return job_document.document(*_both(gateway, request.id))
            request, row = _both(gateway, request.id)  # it became a job meanwhile
        if row is not None:
            row = workspace.cancel(row.id)
        return job_document.document(request, row)

    @routes.post("/{fine_tuning_job_id}/pause", response_model=wire.FineTuningJob)
    def pause_job(fine_tuning_job_id: str) -> wire.FineTuningJob:
        request, row = _unfinished(gateway, fine_tuning_job_id)
        if row is None:
            raise Refusal(400, f"Job {request.id} is not running yet: it cannot be paused.", code="invalid_value")
        return job_document.document(request, workspace.pause(row.id))

    @routes.post("/{fine_tuning_job_id}/resume", response_model=wire.FineTuningJob)
    def resume_job(fine_tuning_job_id: str) -> wire.FineTuningJob:
        request, row = _both(gateway, fine_tuning_job_id)
        if row is None:
            raise Refusal(
                400, f"Job {request.id} is not running yet: there is nothing to resume.", code="invalid_value"
            )
        try:
            return job_document.document(request, workspace.resume(row.id))
        except ConfigError as error:  # it has ended
            raise Refusal(400, str(error), code="invalid_value") from error

    @routes.get("/{fine_tuning_job_id}/events", response_model=wire.EventList)
    def list_events(fine_tuning_job_id: str, after: str | None = None, limit: Limit = 20) -> wire.EventList:
        """Newest first; `after` is the id of the last event that was seen, and gives those before it."""
        request, row = _both(gateway, fine_tuning_job_id)
        if row is not None:
            gateway.hurry(row)
        before = None
        if after is not None:
            before = job_document.position_of(request.id, after)
            if before is None:
                raise not_found(f"No event '{after}' of job {request.id}.", "after")
        data = (
            []
            if row is None
            else [
                job_document.event(request.id, position, told)
                for position, told in workspace.newest_events(row.id, before=before, limit=limit + 1)
            ]
        )
        if len(data) <= limit:
            own = [*job_document.first_events(request), *(job_document.last_events(request) if row is None else [])]
            for told in reversed(own):
                position = job_document.position_of(request.id, told.id)
                assert position is not None
                if before is None or position < before:
                    data.append(told)
        return wire.EventList(data=data[:limit], has_more=len(data) > limit)

    @routes.get("/{fine_tuning_job_id}/checkpoints", response_model=wire.CheckpointList)
    def list_checkpoints(fine_tuning_job_id: str, after: str | None = None, limit: Limit = 10) -> wire.CheckpointList:
        """Newest first. A backend that has none to show gives an empty list."""
        request, row = _both(gateway, fine_tuning_job_id)
        found = []
        if row is not None:
            try:
                found = [job_document.checkpoint(request, row, told) for told in workspace.checkpoints(row.id)]
            except UnsupportedError:
                found = []
        found.sort(key=lambda told: -told.step_number)
        if after is not None:
            ids = [told.id for told in found]
            if after not in ids:
                raise not_found(f"No checkpoint '{after}' of job {request.id}.", "after")
            found = found[ids.index(after) + 1 :]
        shown = found[:limit]
        return wire.CheckpointList(
            data=shown,
            first_id=shown[0].id if shown else None,
            last_id=shown[-1].id if shown else None,
            has_more=len(found) > limit,
        )

    return routes


def _written(told: wire.Told) -> Response:
    """As it is: FastAPI would take it apart and validate it once more, which costs more than all else of an answer."""
    return Response(told.model_dump_json(), media_type="application/json")


def _both(gateway: Gateway, job_id: str) -> tuple[JobRequestRow, JobRow | None]:
    found = gateway.store.request_and_job(job_id)
    if found is not None:
        return found
    row = gateway.store.jobs_by_id([job_id]).get(job_id)
    if row is None:
        raise not_found(f"Could not find fine tune: {job_id}", "fine_tuning_job_id", "fine_tune_not_found")
    return requests_for(gateway.store, [row])[job_id], row


def _unfinished(gateway: Gateway, job_id: str) -> tuple[JobRequestRow, JobRow | None]:
    request, row = _both(gateway, job_id)
    if request.state in ("failed", "cancelled") or (row is not None and row.job_status.terminal):
        raise Refusal(400, f"Job has already completed: {job_id}", code="invalid_request_error")
    return request, row
