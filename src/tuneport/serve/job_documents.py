"""Jobs in tuneport's own words, as `tuneport show --json` prints them; files by their ids, not by where they lie."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from tuneport.jobs.document import describe, describe_request
from tuneport.jobs.tables import JobRequestRow, JobRow

if TYPE_CHECKING:
    from tuneport.jobs.store import Store


def job_documents(store: Store, job_ids: list[str]) -> dict[str, dict[str, Any]]:
    """Of jobs, and of requests that are to become some, by id; without those that there are not."""
    rows = store.jobs_by_id(job_ids)
    requests = store.requests_by_id(job_ids)
    found = {job_id: (rows.get(job_id), requests.get(job_id)) for job_id in job_ids}
    return {job_id: document(row, request) for job_id, (row, request) in found.items() if row or request}


def document(row: JobRow | None, request: JobRequestRow | None) -> dict[str, Any]:
    """At least one of the two."""
    if row is None:
        assert request is not None
        told = describe_request(request)
    else:
        told = describe(row)
        if request is None:
            return told
        told["dataset"]["path"] = request.body["training_file"]
        told["validation"] = request.body.get("validation_file")
        if told["note"] is not None:
            told["note"] = by_file(request, told["note"])
    if told["error"] is not None:
        told["error"] = told["error"] | {"message": by_file(request, told["error"].get("message") or "")}
    return told


def by_file(request: JobRequestRow, text: str) -> str:
    """A message about the data names the client's file, not where its content lies on this disk."""
    for name in ("training", "validation"):
        if sha256 := request.body.get(f"{name}_sha256"):
            text = re.sub(rf"[^\s'\"]*/{sha256}\.jsonl", request.body[f"{name}_file"], text)
    return text
