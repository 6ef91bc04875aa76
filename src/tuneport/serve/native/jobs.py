"""The routes /tuneport/v1/jobs: every job of the store in tuneport's own format, including those of the command
line."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query

from tuneport.errors import UnsupportedError
from tuneport.lifecycle.job_view import JobView
from tuneport.serve.documents.native_job import native_job_document
from tuneport.serve.gateway import Gateway
from tuneport.serve.http.errors import Refusal, gateway_not_found_refusal
from tuneport.serve.jobs.create import create_native_job
from tuneport.serve.wire.native import Job, JobPage, Metrics, SubmitJob
from tuneport.types import JobStatus

Limit = Annotated[int, Query(ge=1, le=100)]


def router(gateway: Gateway) -> APIRouter:
    routes = APIRouter(prefix="/tuneport/v1/jobs", tags=["Jobs"])

    @routes.post("", response_model=Job)
    def submit_job(
        asked: SubmitJob, idempotency_key: Annotated[str | None, Header(min_length=1, max_length=255)] = None
    ) -> dict[str, Any]:
        """Start a job with any option of `tuneport submit`, and return at once. Files are validated and sent in the
        background. The same `Idempotency-Key` again returns the same job."""
        request = create_native_job(gateway, asked, key=idempotency_key)
        gateway.wake()
        return native_job_document(JobView(gateway.store.jobs.by_ids([request.id]).get(request.id), request))

    @routes.get("", response_model=JobPage)
    def list_own_jobs(
        after: str | None = None, limit: Limit = 20, status: JobStatus | None = None, backend: str | None = None
    ) -> JobPage:
        """List the jobs, newest first. A job is listed once its files were validated; by its id it is found at once."""
        cursor = None
        if after is not None:
            cursor = gateway.store.jobs.by_ids([after]).get(after)
            if cursor is None:
                raise gateway_not_found_refusal(f"No job {after!r} here.", "after", "job_not_found")
        rows, more = gateway.store.jobs.page(limit=limit, after=cursor, status=status, backend=backend)
        requests = gateway.store.requests.by_ids([row.id for row in rows])
        data = [Job.model_validate(native_job_document(JobView(row, requests.get(row.id)))) for row in rows]
        return JobPage(data=data, has_more=more)

    @routes.get("/{job_id}", response_model=Job)
    def retrieve_own_job(job_id: str) -> dict[str, Any]:
        """Return the job's last known state, its estimates, results and cost so far. The request also schedules an
        early poll of the job."""
        view = _view(gateway, job_id)
        if view.record is not None:
            gateway.request_poll(view.record)
        return native_job_document(view)

    @routes.get("/{job_id}/metrics", response_model=Metrics)
    def job_metrics(job_id: str) -> Metrics:
        """Return the loss curve, a point a logged step, and its verdict. The curve is empty if the backend reports
        none."""
        row = _view(gateway, job_id).record
        try:
            points = [] if row is None else list(gateway.workspace.metrics(row.id))
        except UnsupportedError:
            points = []
        curve = gateway.workspace.judged(row, points) if row is not None and points else None
        return Metrics(job=job_id, data=points, curve=curve)

    @routes.post("/{job_id}/cancel", response_model=Job)
    def cancel_own_job(job_id: str) -> dict[str, Any]:
        """Cancel a job. A job that has ended is returned unchanged, without an error."""
        view = _view(gateway, job_id)
        if view.record is None:
            gateway.store.requests.cancel(job_id)
            view = _view(gateway, job_id)  # it may have become a job meanwhile
        return native_job_document(
            view if view.record is None else JobView(gateway.workspace.cancel(job_id), view.request)
        )

    @routes.post("/{job_id}/pause", response_model=Job)
    def pause_own_job(job_id: str) -> dict[str, Any]:
        view = _started(gateway, job_id)
        return native_job_document(JobView(gateway.workspace.pause(job_id), view.request))

    @routes.post("/{job_id}/resume", response_model=Job)
    def resume_own_job(job_id: str) -> dict[str, Any]:
        view = _started(gateway, job_id)
        return native_job_document(JobView(gateway.workspace.resume(job_id), view.request))

    @routes.delete("/{job_id}", response_model=Job)
    def delete_own_job(job_id: str) -> dict[str, Any]:
        """Delete the tuned model at its backend, for good. The job stays and shows the deletion."""
        view = _started(gateway, job_id)
        return native_job_document(JobView(gateway.workspace.delete(job_id), view.request))

    return routes


def _view(gateway: Gateway, job_id: str) -> JobView:
    found = gateway.store.listing.get(job_id)
    if found is None:
        raise gateway_not_found_refusal(f"No job {job_id!r} here.", "job_id", "job_not_found")
    return found


def _started(gateway: Gateway, job_id: str) -> JobView:
    view = _view(gateway, job_id)
    if view.record is None:
        raise Refusal(400, f"Job {job_id} has not begun; it can be cancelled.", code="invalid_value")
    return view
