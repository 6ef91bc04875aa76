"""Jobs in tuneport's own format, as `tuneport show --json` prints them; files appear by id, not by path."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tuneport.lifecycle.document import describe_job, describe_job_request
from tuneport.lifecycle.job_view import JobView

if TYPE_CHECKING:
    from tuneport.lifecycle.store.store import Store


def native_job_documents(store: Store, job_ids: list[str]) -> dict[str, dict[str, Any]]:
    """Return documents of jobs, and of requests that will become jobs, by id. Unknown ids are omitted."""
    requests = store.requests.by_ids(job_ids)  # first: what becomes a job meanwhile is found as one
    rows = store.jobs.by_ids(job_ids)
    found = {job_id: JobView(rows.get(job_id), requests.get(job_id)) for job_id in job_ids}
    return {job_id: native_job_document(view) for job_id, view in found.items() if view.record or view.request}


def native_job_document(view: JobView) -> dict[str, Any]:
    request, row = view.request, view.record
    if row is None:
        assert request is not None
        told = describe_job_request(request)
    else:
        told = describe_job(row)
        if request is None:
            return told
        if told["needs"] is not None:  # the account's other jobs are the operator's
            told["note"] = f"it is not known whether {row.backend} started this job; the operator has to say"
            told["needs"] |= {"message": told["note"], "candidates": []}
        told["dataset"]["path"] = request.body["training_file"]
        told["validation"] = request.body.get("validation_file")
        if told["note"] is not None:
            told["note"] = view.name_client_file(told["note"])
    if told["error"] is not None:
        told["error"] = told["error"] | {"message": view.name_client_file(told["error"].get("message") or "")}
    return told
