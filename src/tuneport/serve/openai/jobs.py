"""The routes /v1/fine_tuning/jobs: create, list, cancel, pause and resume jobs, list events and checkpoints."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response

from tuneport.errors import ConfigError, UnsupportedError
from tuneport.lifecycle.job_view import JobView
from tuneport.lifecycle.schema.records import JobRecord
from tuneport.serve import wire
from tuneport.serve.documents import openai_job as job_document
from tuneport.serve.documents.command_line_jobs import list_gateway_file_ids
from tuneport.serve.gateway import Gateway
from tuneport.serve.http.errors import Refusal, gateway_not_found_refusal
from tuneport.serve.http.openapi import BY_METADATA
from tuneport.serve.http.queries import StrictRoute, parse_metadata_query
from tuneport.serve.jobs.create import create_openai_job

Limit = Annotated[int, Query(ge=1, le=100)]


def router(gateway: Gateway) -> APIRouter:
    routes = APIRouter(prefix="/v1/fine_tuning/jobs", tags=["Fine-tuning"], route_class=StrictRoute)

    @routes.post("", response_model=wire.FineTuningJob)
    def create_job(
        asked: wire.CreateJob, idempotency_key: Annotated[str | None, Header(max_length=255)] = None
    ) -> wire.FineTuningJob:
        """Start a job and return at once. Its files are validated and sent in the background. The same
        `Idempotency-Key` again returns the same job."""
        request = create_openai_job(gateway, asked, key=idempotency_key)
        gateway.wake()
        return _told(gateway, JobView(gateway.store.jobs.by_ids([request.id]).get(request.id), request))

    @routes.get("", response_model=wire.JobList, openapi_extra=BY_METADATA)
    def list_jobs(request: Request, after: str | None = None, limit: Limit = 20) -> Response:
        """List the jobs, newest first. `metadata[KEY]=VALUE` filters; `metadata=null` lists jobs without metadata."""
        filtered = parse_metadata_query(request.query_params)
        if after is not None:
            _view(gateway, after)
        found, more = gateway.store.listing.page(limit=limit, after=after, metadata=filtered)
        files = list_gateway_file_ids(gateway.store, found)
        documents = [job_document.openai_job_document(view, files) for view in found]
        return _written(wire.JobList(data=documents, has_more=more))

    @routes.get("/{fine_tuning_job_id}", response_model=wire.FineTuningJob)
    def retrieve_job(fine_tuning_job_id: str) -> Response:
        """Return the job's last known state. The request also schedules an early poll of the job."""
        view = _view(gateway, fine_tuning_job_id)
        if view.record is not None:
            gateway.request_poll(view.record)
        return _written(_told(gateway, view))

    @routes.post("/{fine_tuning_job_id}/cancel", response_model=wire.FineTuningJob)
    def cancel_job(fine_tuning_job_id: str) -> wire.FineTuningJob:
        view = _unfinished(gateway, fine_tuning_job_id)
        if view.record is None:
            gateway.store.requests.cancel(view.id)
            view = _view(gateway, view.id)  # it may have become a job meanwhile
        return _told(gateway, view, None if view.record is None else gateway.workspace.cancel(view.id))

    @routes.post("/{fine_tuning_job_id}/pause", response_model=wire.FineTuningJob)
    def pause_job(fine_tuning_job_id: str) -> wire.FineTuningJob:
        view = _unfinished(gateway, fine_tuning_job_id)
        if view.record is None:
            raise Refusal(400, f"Job {view.id} is not running yet: it cannot be paused.", code="invalid_value")
        return _told(gateway, view, gateway.workspace.pause(view.id))

    @routes.post("/{fine_tuning_job_id}/resume", response_model=wire.FineTuningJob)
    def resume_job(fine_tuning_job_id: str) -> wire.FineTuningJob:
        view = _view(gateway, fine_tuning_job_id)
        if view.record is None:
            raise Refusal(400, f"Job {view.id} is not running yet: there is nothing to resume.", code="invalid_value")
        try:
            return _told(gateway, view, gateway.workspace.resume(view.id))
        except ConfigError as error:  # it has ended
            raise Refusal(400, str(error), code="invalid_value") from error

    @routes.get("/{fine_tuning_job_id}/events", response_model=wire.EventList)
    def list_events(fine_tuning_job_id: str, after: str | None = None, limit: Limit = 20) -> wire.EventList:
        """List a job's events, newest first; `after` is the id of the last event that was seen, and older events
        follow."""
        view, before, data = _view(gateway, fine_tuning_job_id), None, []
        if after is not None:
            before = job_document.openai_event_position(view.id, after)
            if before is None:
                raise gateway_not_found_refusal(f"No event '{after}' of job {view.id}.", "after")
        if view.record is not None:
            gateway.request_poll(view.record)
            found = gateway.workspace.newest_events(view.id, before=before, limit=limit + 1)
            data = [job_document.openai_event_document(view.id, position, told) for position, told in found]
        if len(data) <= limit:
            own = [
                *job_document.first_openai_events(view, list_gateway_file_ids(gateway.store, [view])),
                *job_document.last_openai_events(view),
            ]
            for told in reversed(own):
                position = job_document.openai_event_position(view.id, told.id)
                assert position is not None
                if before is None or position < before:
                    data.append(told)
        return wire.EventList(data=data[:limit], has_more=len(data) > limit)

    @routes.get("/{fine_tuning_job_id}/checkpoints", response_model=wire.CheckpointList)
    def list_checkpoints(fine_tuning_job_id: str, after: str | None = None, limit: Limit = 10) -> wire.CheckpointList:
        """List a job's checkpoints, newest first. The list is empty if the backend reports none."""
        view = _view(gateway, fine_tuning_job_id)
        found = []
        if view.record is not None:
            try:
                found = [
                    job_document.openai_checkpoint_document(view, told)
                    for told in gateway.workspace.checkpoints(view.id)
                ]
            except UnsupportedError:
                found = []
        found.sort(key=lambda told: -told.step_number)
        if after is not None:
            ids = [told.id for told in found]
            if after not in ids:
                raise gateway_not_found_refusal(f"No checkpoint '{after}' of job {view.id}.", "after")
            found = found[ids.index(after) + 1 :]
        shown = found[:limit]
        return wire.CheckpointList(
            data=shown,
            first_id=shown[0].id if shown else None,
            last_id=shown[-1].id if shown else None,
            has_more=len(found) > limit,
        )

    return routes


def _written(told: wire.ResponseModel) -> Response:
    """Return the document as a response. FastAPI would validate it again, which costs more than the rest of the
    answer."""
    return Response(told.model_dump_json(), media_type="application/json")


def _told(gateway: Gateway, view: JobView, now: JobRecord | None = None) -> wire.FineTuningJob:
    """Return the job's document. `now` is its record after an action."""
    view = view if now is None else JobView(now, view.request)
    return job_document.openai_job_document(view, list_gateway_file_ids(gateway.store, [view]))


def _view(gateway: Gateway, job_id: str) -> JobView:
    found = gateway.store.listing.get(job_id)
    if found is None:
        raise gateway_not_found_refusal(
            f"Could not find fine tune: {job_id}", "fine_tuning_job_id", "fine_tune_not_found"
        )
    return found


def _unfinished(gateway: Gateway, job_id: str) -> JobView:
    view = _view(gateway, job_id)
    if not view.is_unfinished:
        raise Refusal(400, f"Job has already completed: {job_id}", code="invalid_request_error")
    return view
