"""Reads finished jobs for estimates, and makes no store if there is none: `read_past_jobs`."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from tuneport.errors import TuneportError
from tuneport.estimate.learning import DurationHistory
from tuneport.lifecycle.accounting.history import LEARNT_FROM, job_history
from tuneport.types import JobStatus

if TYPE_CHECKING:
    from tuneport.settings import Settings

_NEWEST = (  # the + keeps SQLite from reading and sorting all that succeeded, by the index of states
    "SELECT backend, model, estimate, actual FROM jobs WHERE +status = ? AND actual IS NOT NULL "
    "AND estimate IS NOT NULL ORDER BY finished_at DESC LIMIT ?"
)


def read_past_jobs(settings: Settings) -> DurationHistory:
    """Return the history of the store for estimates, if there is a store. One that does not work counts as empty.

    SQLite's file is read directly: importing SQLAlchemy takes a third of a second, which a repeated `compare` cannot
    spare, and reading makes and upgrades no store.
    """
    if settings.get("TUNEPORT_DATABASE_URL") is None:
        return _of_file(settings.home / "tuneport.db")
    from tuneport.lifecycle.store.store import Store

    try:
        with closing(Store(settings.database_url).unscoped()) as store:
            return store.statistics.read_job_history()
    except TuneportError:
        return DurationHistory()


def _of_file(path: Path) -> DurationHistory:
    if not path.is_file():
        return DurationHistory()
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            rows = connection.execute(_NEWEST, (JobStatus.SUCCEEDED.value, LEARNT_FROM)).fetchall()
        return job_history((backend, model, json.loads(told), json.loads(came)) for backend, model, told, came in rows)
    except (sqlite3.Error, ValueError):  # damaged, locked, or of a version before there was an estimate
        return DurationHistory()
