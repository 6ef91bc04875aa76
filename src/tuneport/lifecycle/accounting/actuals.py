"""Actual cost and training time of a job that has ended: from its row alone, by the terms written down at submit.

The provider's own sum is used if it is plausible, else its token count times the price. What is not known is
unavailable, with the reason.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from tuneport.formatting import hours, money
from tuneport.lifecycle.accounting.training_time import TRAINS, job_trained_seconds, record_job_idle_time
from tuneport.lifecycle.schema.estimates import JobActual, JobEstimate
from tuneport.lifecycle.schema.tables import JobRow
from tuneport.types import JobState, JobStatus

BELIEVABLE = 2.0
"""A sum in a unit that the provider documents nowhere is believed if it is within this factor of what its tokens cost
by the price; billionths read as dollars would be nine orders of magnitude off."""
PLAUSIBLE = 5.0
"""The same of the estimate from before the job: it knows of validation, but not that a job may stop early."""


def settle_job_actuals(row: JobRow, *, interrupted: bool = False, unread: bool = False) -> None:
    """Update beginning, duration and cost in the row to match its state. An unfinished job gets no cost.

    `unread`: the backend's events, which may say more, could not be read and will not be.
    """
    state = row.job_state
    if state is not None:
        _note_beginning(row, state)
    record_job_idle_time(row, _ended(row, state) if row.job_status.terminal else None)
    if not row.job_status.terminal:
        row.actual, row.cost_usd = None, None
        return
    actual = JobActual(
        **_duration(row, state, unread),
        **_cost(row, state, unread),
        tokens=None if state is None else state.trained_tokens,
        interrupted=interrupted or bool(row.idle_seconds) or bool(state and state.details.get("restarts")),
        share_done=_share_done(state),
    )
    row.actual, row.cost_usd = actual.model_dump(mode="json"), actual.usd


def record_job_training_start(row: JobRow, moment: datetime, by: str) -> None:
    """Record when training began. The backend's word replaces what was only seen; of two of one kind the earlier one
    counts."""
    if row.running_at is None or (row.running_by == "seen" and by == "backend"):
        row.running_at, row.running_by = moment, by
    elif row.running_by == by:
        row.running_at = min(row.running_at, moment)


def _note_beginning(row: JobRow, state: JobState) -> None:
    told = _time(state.details.get("started_at"))
    if told is not None:
        record_job_training_start(row, told, "backend")
    elif state.status in TRAINS and row.running_at is None and row.polled_at is not None:
        record_job_training_start(row, row.polled_at, "seen")


def _ended(row: JobRow, state: JobState | None) -> datetime | None:
    return (state.finished_at if state else None) or row.finished_at


def _share_done(state: JobState | None) -> float | None:
    if state is None or state.progress.step is None or not state.progress.total_steps:
        return None
    return min(1.0, state.progress.step / state.progress.total_steps)


def _never_began(row: JobRow, state: JobState | None) -> bool:
    step = state is not None and state.progress.step
    return row.job_status is not JobStatus.SUCCEEDED and row.running_at is None and not step


def _unread(row: JobRow, unread: bool) -> str | None:
    """Return why it is unknown whether a job without a known beginning ever began, or None."""
    if row.events_due:
        return f"unknown whether it began to train: read its events with `tuneport logs {row.id}`"
    return f"it is unknown whether it began to train: {row.backend}'s events could not be read" if unread else None


def _duration(row: JobRow, state: JobState | None, unread: bool = False) -> dict[str, Any]:
    if row.remote_id is None:
        reached = "is not known to have reached" if row.job_submission.unclear else "never reached"
        return {"seconds_unavailable": f"it {reached} {row.backend}"}
    if row.running_at is None:
        if _never_began(row, state):
            return {"seconds_unavailable": _unread(row, unread) or "it never began to train"}
        return {"seconds_unavailable": "it is unknown when it began to train"}
    ended = _ended(row, state)
    if ended is None:
        return {"seconds_unavailable": "it is unknown when it ended"}
    by = f"by {row.backend}'s own times" if row.running_by == "backend" else "since it was first seen training"
    pauses = "; waiting before that is not counted" if not row.idle_seconds else "; waiting and pauses are not counted"
    return {
        "seconds": job_trained_seconds(row.running_at, row.idle_seconds, row.idle_since, ended),
        "seconds_because": f"training until its end, {by}{pauses}",
    }


def _cost(row: JobRow, state: JobState | None, unread: bool) -> dict[str, Any]:
    if row.remote_id is None and row.job_submission.unclear:
        return {"usd_unavailable": f"whether {row.backend} runs a job of it is not known"}
    if row.remote_id is None or state is None:
        return _computed(0.0, f"nothing was started at {row.backend}")
    terms, status = row.job_estimate or JobEstimate(), row.job_status
    if terms.own_machine and terms.usd_per_hour is None:
        return {"usd": 0.0, "usd_because": "your own machine; electricity not counted", "authority": "local"}
    if status is JobStatus.FAILED and terms.failed_pays == "nothing" and not terms.own_machine:
        return _computed(0.0, f"{row.backend} refunds a job that fails")
    if _never_began(row, state):
        because = _unread(row, unread)
        return _computed(0.0, "it never began to train") if because is None else {"usd_unavailable": because}
    if terms.own_machine:
        return _hours(row, state, terms)
    by_tokens, reason = _by_tokens(row, state, terms)
    if state.cost is not None:
        return _stated(row, state, by_tokens, reason)
    if by_tokens is not None:
        return _computed(by_tokens, reason)
    return {"usd_unavailable": reason}


def _hours(row: JobRow, state: JobState, terms: JobEstimate) -> dict[str, Any]:
    assert terms.usd_per_hour is not None
    took = _duration(row, state)
    seconds = took.get("seconds")
    if seconds is None:
        return {"usd_unavailable": f"it is paid by the hour, and {took['seconds_unavailable']}"}
    usd = seconds / 3600 * terms.usd_per_hour
    return {
        "usd": usd,
        "usd_because": f"{hours(seconds)} of training x {money(terms.usd_per_hour)}",
        "authority": "local",
    }


def _by_tokens(row: JobRow, state: JobState, terms: JobEstimate) -> tuple[float | None, str]:
    """Return tokens x price, at least the minimum. A cancelled job counts the tokens of the steps that it did."""
    status = row.job_status
    if status is JobStatus.FAILED:
        return None, f"{row.backend} does not say what it bills for a job that fails"
    if status is JobStatus.CANCELLED and terms.cancelled_pays != "steps_done":
        return None, f"{row.backend} does not say what it bills for a job that was cancelled"
    if state.trained_tokens is None:
        return None, f"{row.backend} reports neither a sum nor trained tokens"
    if terms.usd_per_mtok is None:
        return None, f"{row.backend} reports no sum, and the price of this job was not known"
    tokens, done = float(state.trained_tokens), ""
    if status is JobStatus.CANCELLED:
        step, of = state.progress.step, state.progress.total_steps
        if step is None or not of:
            return None, "it is unknown how many steps it had done when it was cancelled"
        tokens, done = tokens * min(1.0, step / of), f", {step} of {of} steps done"
    usd = tokens / 1e6 * terms.usd_per_mtok
    reason = f"{state.trained_tokens:,} tokens at {money(terms.usd_per_mtok)} per 1M{done}"
    if terms.minimum_usd is not None and usd < terms.minimum_usd and status is JobStatus.SUCCEEDED:
        return terms.minimum_usd, f"{reason} = {money(usd)}, below the minimum of {money(terms.minimum_usd)}"
    return usd, reason


def _stated(row: JobRow, state: JobState, by_tokens: float | None, reason: str) -> dict[str, Any]:
    """Return the sum that the backend gives, unless its unit is a guess that neither the tokens nor the quote agree
    with. The tokens are those of the training file alone, over all its steps."""
    assert state.cost is not None
    own = state.details.get("cost")
    if own:  # reckoned by the backend from its own count
        return _computed(state.cost, str(own.get("computed", "")) if isinstance(own, dict) else str(own))
    doubt = state.details.get("cost_doubt")
    if doubt is None:
        return {"usd": state.cost, "usd_because": f"as {row.backend} bills it", "authority": "billed"}
    if by_tokens is not None and is_job_actual_within_tolerance(state.cost, by_tokens, BELIEVABLE):
        return {"usd": state.cost, "usd_because": f"as {row.backend} bills it: {reason}", "authority": "billed"}
    quote = row.job_quote
    if quote is not None and quote.expected and is_job_actual_within_tolerance(state.cost, quote.expected, PLAUSIBLE):
        near = f"as {row.backend} bills it, quoted {money(quote.expected)} ({doubt})"
        return {"usd": state.cost, "usd_because": near, "authority": "billed"}
    if by_tokens is not None:
        return _computed(by_tokens, f"{reason}; not the {money(state.cost)} that {row.backend} seems to say ({doubt})")
    return {"usd_unavailable": f"{doubt}, and nothing is there to check {money(state.cost)} with: {reason}"}


def is_job_actual_within_tolerance(one: float, other: float, factor: float) -> bool:
    return one == other or (one > 0 and other > 0 and 1 / factor <= one / other <= factor)


def _computed(usd: float, because: str) -> dict[str, Any]:
    return {"usd": usd, "usd_because": because, "authority": "computed"}


def _time(value: Any) -> datetime | None:
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return moment if moment.tzinfo else None
