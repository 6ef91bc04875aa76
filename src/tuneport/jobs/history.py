"""Finished jobs, as estimates learn from them; and how to look at them without making a store where there is none."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuneport.errors import TuneportError
from tuneport.estimate.learning import History, HostedRun, PastRun
from tuneport.jobs.estimates import Actual, JobEstimate
from tuneport.types import JobStatus

if TYPE_CHECKING:
    from tuneport.settings import Settings


LEARNT_FROM = 1000
"""Older jobs were on another driver, another version, another machine."""
_NEWEST = (  # the + keeps SQLite from reading and sorting all that succeeded, by the index of states
    "SELECT backend, model, estimate, actual FROM jobs WHERE +status = ? AND actual IS NOT NULL "
    "AND estimate IS NOT NULL ORDER BY finished_at DESC LIMIT ?"
)


def history_of(jobs: Iterable[tuple[str, str, Any, Any]]) -> History:
    """Of (backend, model, estimate, actual); those without a time, with an interruption, or that stopped early, tell
    nothing."""
    local: list[PastRun] = []
    hosted: dict[str, list[HostedRun]] = {}
    for backend, model, estimated, came_to in jobs:
        estimate, actual = JobEstimate.model_validate(estimated or {}), Actual.model_validate(came_to)
        if not actual.seconds or actual.interrupted or actual.cut_short or not estimate.tokens:
            continue
        if estimate.billing != "machine_hours":
            hosted.setdefault(backend, []).append(HostedRun(model, estimate.tokens, actual.seconds))
        elif estimate.device and estimate.params_b and estimate.adapter and estimate.uncorrected_seconds:
            local.append(
                PastRun(
                    device=estimate.device,
                    params_b=estimate.params_b,
                    adapter=estimate.adapter,
                    tokens=estimate.tokens,
                    expected_seconds=estimate.uncorrected_seconds,
                    seconds=actual.seconds,
                )
            )
    return History(local, hosted)


def history(settings: Settings) -> History:
    """For estimates before any job: of the store, if there is one. A store that does not work teaches nothing.

    SQLite's file is read as it is: SQLAlchemy takes a third of a second to import, which a repeated `compare` has not,
    and whoever only looks makes and upgrades no store.
    """
    if settings.get("TUNEPORT_DATABASE_URL") is None:
        return _of_file(settings.home / "tuneport.db")
    from tuneport.jobs.store import Store

    try:
        store = Store(settings.database_url)
        try:
            return store.history()
        finally:
            store.close()
    except TuneportError:
        return History()


def _of_file(path: Path) -> History:
    if not path.is_file():
        return History()
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            rows = connection.execute(_NEWEST, (JobStatus.SUCCEEDED.value, LEARNT_FROM)).fetchall()
        return history_of((backend, model, json.loads(told), json.loads(came)) for backend, model, told, came in rows)
    except (sqlite3.Error, ValueError):  # damaged, locked, or of a version before there was an estimate
        return History()
