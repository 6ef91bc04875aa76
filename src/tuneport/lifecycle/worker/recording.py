"""The state that a backend reports, as the store keeps it: for one job under its lease, or for many at once."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Protocol

from tuneport.lifecycle.store.store import Store
from tuneport.lifecycle.worker.poll_interval import PollTiming, next_job_poll_delay
from tuneport.types import JobState, JobStatus, now

FAILED_AGAIN = 600.0
"""Seconds after which a job that failed is asked about once more: a provider may take its word back."""


class KnownJob(Protocol):
    """The known facts of a job before it is polled; a row is one."""

    @property
    def created_at(self) -> datetime: ...
    @property
    def status(self) -> str: ...


def job_state_columns(
    state: JobState,
    created_at: datetime,
    *,
    moment: datetime | None = None,
    rng: Callable[[], float] = random.random,
    timing: PollTiming = PollTiming(),  # noqa: B008  # frozen
) -> dict[str, Any]:
    """Return a state as columns of the job's row, and when to poll it again."""
    moment = moment or now()
    due = None
    if not state.status.terminal:
        due = moment + timedelta(seconds=next_job_poll_delay(state, created_at, moment, random=rng, timing=timing))
    again = {"recheck_at": moment + timedelta(seconds=FAILED_AGAIN)} if state.status is JobStatus.FAILED else {}
    return again | {
        "status": state.status.value,
        "state": state.model_dump(mode="json"),
        "error": None if state.error is None else state.error.model_dump(mode="json"),
        "tuned_model": state.tuned_model,
        "finished_at": (state.finished_at or moment) if state.status.terminal else None,
        "polled_at": moment,
        "due_at": due,
    }


def record_job_states(
    store: Store,
    states: Mapping[str, JobState],
    known: Mapping[str, KnownJob],
    *,
    moment: datetime | None = None,
    rng: Callable[[], float] = random.random,
    timing: PollTiming = PollTiming(),  # noqa: B008  # frozen
    written: dict[str, int] | None = None,
) -> list[str]:
    """Store the states of many jobs, by job id, in one transaction; return the ids that were written.

    Their events are fetched later: for a job that ended or changed, the row says that there are more (`events_due`). A
    row under a lease is left alone. `written` is the caller's memory of what it wrote last: if a state is still the
    same, only the times are written.
    """
    changes: dict[str, dict[str, Any]] = {}
    marks: dict[str, int] = {}
    for job_id, state in states.items():
        columns = job_state_columns(state, known[job_id].created_at, moment=moment, rng=rng, timing=timing)
        marks[job_id] = hash(state.model_dump_json())
        if written is not None and written.get(job_id) == marks[job_id] and columns["status"] == known[job_id].status:
            columns = {"polled_at": columns["polled_at"], "due_at": columns["due_at"]}
            changes[job_id] = columns | {"note": None}
            continue
        if written is not None and job_id in written and state.progress.step is None:
            columns["state"]["progress"] = store.events.read_job_progress(job_id).model_dump(mode="json")
        changes[job_id] = columns | {"note": None}
        if columns["status"] != known[job_id].status:
            changes[job_id]["events_due"] = True
        if state.status.terminal:
            changes[job_id]["requested_action"] = None
    recorded = store.schedule.record_many(changes)
    if written is not None:
        written.update((job_id, marks[job_id]) for job_id in recorded)
    return recorded
