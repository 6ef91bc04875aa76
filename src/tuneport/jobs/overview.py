"""Every job of the store on pages, newest first: those of the command line, of clients, and what is still a request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import false, select

from tuneport.jobs.database import Database
from tuneport.jobs.projects import if_visible, visible
from tuneport.jobs.tables import JobRequestRow, JobRow
from tuneport.jobs.training_time import trained_seconds
from tuneport.jobs.uploaded import behind
from tuneport.types import JobStatus, now

_STATE = {
    "waiting": JobStatus.PREPARING.value,
    "failed": JobStatus.FAILED.value,
    "cancelled": JobStatus.CANCELLED.value,
}


@dataclass(frozen=True)
class Listed:
    """A job with the request that it was made of, if a client asked for it; or a request of which no job is made."""

    row: JobRow | None
    request: JobRequestRow | None

    @property
    def id(self) -> str:
        found = self.row or self.request
        assert found is not None
        return found.id

    @property
    def created_at(self) -> datetime:
        found = self.row or self.request
        assert found is not None
        return found.created_at

    @property
    def status(self) -> JobStatus:
        if self.row is not None:
            return self.row.job_status
        assert self.request is not None
        return JobStatus(_STATE[self.request.state])


def listed_jobs(
    store: Database,
    *,
    limit: int,
    after: str | None = None,
    statuses: Sequence[JobStatus] | None = None,
    backend: str | None = None,
    metadata: Mapping[str, str] | None = None,
    with_model: bool = False,
) -> tuple[list[Listed], bool]:
    """So many jobs behind the one with the id `after`, and whether there are more. Each page is two look-ups in
    indexes, however many jobs there are. An `after` that is unknown gives the first page. `metadata`: what they must
    have; empty, that they have none. `with_model`: only those whose tuned model is there."""
    cursor = None if after is None else listed_job(store, after)
    jobs = select(JobRow).where(visible(JobRow))
    requests = select(JobRequestRow).where(visible(JobRequestRow), JobRequestRow.state.in_(list(_STATE)))
    if statuses is not None:
        words = [status.value for status in statuses]
        jobs = jobs.where(JobRow.status.in_(words))
        requests = requests.where(JobRequestRow.state.in_([state for state, word in _STATE.items() if word in words]))
    if backend is not None:
        jobs, requests = jobs.where(JobRow.backend == backend), requests.where(JobRequestRow.backend == backend)
    if with_model:
        jobs = jobs.where(JobRow.tuned_model.is_not(None), JobRow.deleted_at.is_(None))
        requests = requests.where(false())
    for name, value in (metadata or {}).items():
        jobs = jobs.where(JobRow.spec["metadata"][name].as_string() == value)
        requests = requests.where(JobRequestRow.body["metadata"][name].as_string() == value)
    if metadata is not None and not metadata:
        jobs = jobs.where(JobRow.spec["metadata"].as_string() == "{}")
        requests = requests.where(JobRequestRow.body["metadata"].as_string().is_(None))
    if cursor is not None:
        jobs = jobs.where(behind(JobRow, cursor.created_at, cursor.id, descending=True))
        requests = requests.where(behind(JobRequestRow, cursor.created_at, cursor.id, descending=True))
    jobs = jobs.order_by(JobRow.created_at.desc(), JobRow.id.desc()).limit(limit + 1)
    requests = requests.order_by(JobRequestRow.created_at.desc(), JobRequestRow.id.desc()).limit(limit + 1)
    with store.reading() as session:
        rows = list(session.scalars(jobs))
        waiting = list(session.scalars(requests))
        asked = select(JobRequestRow).where(JobRequestRow.id.in_([row.id for row in rows]))
        by_id = {request.id: request for request in session.scalars(asked)}
    # Between the two look-ups a request may have become a job.
    there = {row.id for row in rows}
    found = [Listed(row, by_id.get(row.id)) for row in rows]
    found += [Listed(None, request) for request in waiting if request.id not in there]
    found.sort(key=lambda each: (each.created_at, each.id), reverse=True)
    return found[:limit], len(found) > limit


def listed_job(store: Database, job_id: str) -> Listed | None:
    """The job with exactly that id."""
    with store.reading() as session:
        row, request = if_visible(session.get(JobRow, job_id)), if_visible(session.get(JobRequestRow, job_id))
    if row is None and (request is None or request.state not in _STATE):
        return None
    return Listed(row, request)


def cost_so_far(row: JobRow) -> tuple[float, str] | None:
    """US dollars that an unfinished job has cost by now, and by what that is reckoned; None where nothing tells.

    What its backend bills already; else the hours of a machine x its price; else the share of the steps x the quote.
    """
    state, terms, quote = row.job_state, row.job_estimate, row.job_quote
    if row.job_status.terminal or state is None:
        return None
    if state.cost is not None:
        return state.cost, f"what {row.backend} has billed so far"
    if terms is not None and terms.billing == "machine_hours":
        if terms.usd_per_hour is None:
            return 0.0, "your own machine; electricity not counted"
        hours = trained_seconds(row.running_at, row.idle_seconds, row.idle_since, now()) / 3600
        return hours * terms.usd_per_hour, f"{hours:.2f} h of training x ${terms.usd_per_hour:.2f}"
    step, of = state.progress.step, state.progress.total_steps
    if quote is None or quote.expected is None or step is None or not of:
        return None
    share = min(1.0, step / of)
    return share * quote.expected, f"{step:,} of {of:,} steps x ${quote.expected:,.2f} quoted"
