"""What a backend said of jobs, as the store keeps it: of one job under its lease, or of many at once."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Protocol

from tuneport.jobs.rhythm import seconds_until_next
from tuneport.jobs.store import Store
from tuneport.types import JobState, now


class Known(Protocol):
    """What is known of a job before it is asked about; a row is one."""

    @property
    def created_at(self) -> datetime: ...
    @property
    def status(self) -> str: ...


def columns_of(
    state: JobState, created_at: datetime, *, moment: datetime | None = None, dice: Callable[[], float] = random.random
) -> dict[str, Any]:
    """What a state says of a job, as columns of its row; and when to ask about it again."""
    moment = moment or now()
    due = None
    if not state.status.terminal:
        due = moment + timedelta(seconds=seconds_until_next(state, created_at, moment, random=dice))
    return {
        "status": state.status.value,
        "state": state.model_dump(mode="json"),
        "error": None if state.error is None else state.error.model_dump(mode="json"),
        "tuned_model": state.tuned_model,
        "finished_at": (state.finished_at or moment) if state.status.terminal else None,
        "polled_at": moment,
        "due_at": due,
    }


def record_states(
    store: Store,
    states: Mapping[str, JobState],
    known: Mapping[str, Known],
    *,
    moment: datetime | None = None,
    dice: Callable[[], float] = random.random,
    written: dict[str, int] | None = None,
) -> list[str]:
    """Store what many answers at once said, by job id, in one transaction; return the ids that were written.

    Their events are not asked for: of a job that ended or changed, the row says that there are more (`events_due`), and
    whoever looks at them, or has the time, fetches them. A row that somebody is at is left alone. `written` is the
    caller's memory of what it wrote last: of a state that is still the same, only the times are written.
    """
    changes: dict[str, dict[str, Any]] = {}
    marks: dict[str, int] = {}
    for job_id, state in states.items():
        columns = columns_of(state, known[job_id].created_at, moment=moment, dice=dice)
        marks[job_id] = hash(state.model_dump_json())
        if written is not None and written.get(job_id) == marks[job_id] and columns["status"] == known[job_id].status:
            columns = {"polled_at": columns["polled_at"], "due_at": columns["due_at"]}
            changes[job_id] = columns | {"note": None}
            continue
        if written is not None and job_id in written and state.progress.step is None:
            columns["state"]["progress"] = store.told_progress(job_id).model_dump(mode="json")
        changes[job_id] = columns | {"note": None}
        if columns["status"] != known[job_id].status:
            changes[job_id]["events_due"] = True
        if state.status.terminal:
            changes[job_id]["wish"] = None
    recorded = store.record_many(changes)
    if written is not None:
        written.update((job_id, marks[job_id]) for job_id in recorded)
    return recorded
