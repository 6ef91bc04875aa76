"""/tuneport/v1/jobs: every job of the store in tuneport's own words, also those of the command line."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query

from tuneport.errors import UnsupportedError
from tuneport.jobs.tables import JobRequestRow, JobRow
from tuneport.serve.errors import Refusal, not_found
from tuneport.serve.gateway import Gateway
from tuneport.serve.intake import create_own
from tuneport.serve.job_documents import document
from tuneport.serve.wire.own import Job, JobPage, Metrics, SubmitJob
from tuneport.types import JobStatus

Limit = Annotated[int, Query(ge=1, le=100)]


def router(gateway: Gateway) -> APIRouter:
    store, workspace = gateway.store, gateway.workspace
    routes = APIRouter(prefix="/tuneport/v1/jobs", tags=["Jobs"])

    @routes.post("", response_model=Job)
    def submit_job(
        asked: SubmitJob, idempotency_key: Annotated[str | None, Header(min_length=1, max_length=255)] = None
    ) -> dict[str, Any]:
        """Start a job with all that `tuneport submit` takes, and return at once; its files are judged and sent behind
        it. The same `Idempotency-Key` again gives the same job."""
        request = create_own(gateway, asked, key=idempotency_key)
        gateway.wake()
        return document(store.jobs_by_id([request.id]).get(request.id), request)

    @routes.get("", response_model=JobPage)
    def list_own_jobs(
        after: str | None = None, limit: Limit = 20, status: JobStatus | None = None, backend: str | None = None
    ) -> JobPage:
        """Newest first. A job appears once its files were judged; by its id it is found at once."""
        cursor = None
        if after is not None:
            cursor = store.jobs_by_id([after]).get(after)
            if cursor is None:
                raise not_found(f"No job {after!r} here.", "after", "job_not_found")
        rows, more = store.jobs_page(limit=limit, after=cursor, status=status, backend=backend)
        requests = store.requests_by_id([row.id for row in rows])
        data = [Job.model_validate(document(row, requests.get(row.id))) for row in rows]
        return JobPage(data=data, has_more=more)

    @routes.get("/{job_id}", response_model=Job)
    def retrieve_own_job(job_id: str) -> dict[str, Any]:
        """As last known, with what was estimated, what it came to and what it cost so far; that somebody asks has it
        looked at soon."""
        row, request = _both(gateway, job_id)
        if row is not None:
            gateway.hurry(row)
        return document(row, request)

    @routes.get("/{job_id}/metrics", response_model=Metrics)
    def job_metrics(job_id: str) -> Metrics:
        """The loss curve: a point a logged step, and the verdict on it. Empty where the backend has none to show."""
        row, _ = _both(gateway, job_id)
        try:
            points = [] if row is None else list(workspace.metrics(row.id))
        except UnsupportedError:
            points = []
        curve = workspace.judged(row, points) if row is not None and points else None
        return Metrics(job=job_id, data=points, curve=curve)

    @routes.post("/{job_id}/cancel", response_model=Job)
    def cancel_own_job(job_id: str) -> dict[str, Any]:
        """Of a job that has ended: no change, no error."""
        row, request = _both(gateway, job_id)
        if row is None:
            store.cancel_request(job_id)
            row, request = _both(gateway, job_id)  # it may have become a job meanwhile
        if row is not None:
            row = workspace.cancel(row.id)
        return document(row, request)

    @routes.post("/{job_id}/pause", response_model=Job)
    def pause_own_job(job_id: str) -> dict[str, Any]:
        row, request = _started(gateway, job_id)
        return document(workspace.pause(row.id), request)

    @routes.post("/{job_id}/resume", response_model=Job)
    def resume_own_job(job_id: str) -> dict[str, Any]:
        row, request = _started(gateway, job_id)
        return document(workspace.resume(row.id), request)

    @routes.delete("/{job_id}", response_model=Job)
    def delete_own_job(job_id: str) -> dict[str, Any]:
        """Delete the tuned model at its backend, for good; the job stays, and says so."""
        row, request = _started(gateway, job_id)
        return document(workspace.delete(row.id), request)

    return routes


def _both(gateway: Gateway, job_id: str) -> tuple[JobRow | None, JobRequestRow | None]:
    row, request = gateway.store.jobs_by_id([job_id]).get(job_id), gateway.store.job_request(job_id)
    if row is None and request is None:
        raise not_found(f"No job {job_id!r} here.", "job_id", "job_not_found")
    return row, request


def _started(gateway: Gateway, job_id: str) -> tuple[JobRow, JobRequestRow | None]:
    row, request = _both(gateway, job_id)
    if row is None:
        raise Refusal(400, f"Job {job_id} has not begun; it can be cancelled.", code="invalid_value")
    return row, request
