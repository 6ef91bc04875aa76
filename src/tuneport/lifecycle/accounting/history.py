"""Finished jobs, as estimates learn from them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tuneport.estimate.learning import DurationHistory, HostedRun, PastRun
from tuneport.lifecycle.schema.estimates import JobActual, JobEstimate

LEARNT_FROM = 1000
"""Older jobs were on another driver, another version, another machine."""


def job_history(jobs: Iterable[tuple[str, str, Any, Any]]) -> DurationHistory:
    """Return what finished jobs teach, given as (backend, model, estimate, actual). Jobs without a time, with an
    interruption, or that stopped early teach nothing."""
    local: list[PastRun] = []
    hosted: dict[str, list[HostedRun]] = {}
    for backend, model, estimated, came_to in jobs:
        estimate, actual = JobEstimate.model_validate(estimated or {}), JobActual.model_validate(came_to)
        if not actual.seconds or actual.interrupted or actual.cut_short or not estimate.tokens:
            continue
        if not estimate.own_machine:
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
    return DurationHistory(local, hosted)
