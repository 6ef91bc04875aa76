"""Finished jobs, as estimates learn from them; and how to look at them without making a store where there is none."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuneport.errors import TuneportError
from tuneport.estimate.learning import History, HostedRun, PastRun
from tuneport.jobs.estimates import Actual, JobEstimate

if TYPE_CHECKING:
    from tuneport.settings import Settings


def history_of(jobs: Iterable[tuple[str, str, Any, Any]]) -> History:
    """Of (backend, model, estimate, actual); those without a time, or with an interruption, tell nothing."""
    local: list[PastRun] = []
    hosted: dict[str, list[HostedRun]] = {}
    for backend, model, estimated, came_to in jobs:
        estimate, actual = JobEstimate.model_validate(estimated or {}), Actual.model_validate(came_to)
        if not actual.seconds or actual.interrupted or not estimate.tokens:
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
    """For estimates before any job: of the store, if there is one. A store that does not work teaches nothing."""
    if settings.get("TUNEPORT_DATABASE_URL") is None and not (Path(settings.home) / "tuneport.db").is_file():
        return History()
    from tuneport.jobs.store import Store

    try:
        store = Store(settings.database_url)
        try:
            return store.history()
        finally:
            store.close()
    except TuneportError:
        return History()
