"""The optimizer steps of a job: those that its backend takes, against those that were expected at submit."""

from __future__ import annotations

from tuneport.lifecycle.schema.records import JobRecord
from tuneport.lifecycle.schema.tables import JobRow

STEPS = "steps"
"""The type, and the id after `tuneport-`, of the event that tells a difference: one for each job."""
TOLERANCE = 0.1
"""Share of the expected steps by which a total may lie outside its bounds: a few rows more or less in a batch change
nothing in a model."""


def describe_steps_difference(row: JobRow | JobRecord) -> str | None:
    """Return in a sentence how the steps that the backend names differ from those expected, or None if they do not, or
    if either is unknown. A job that stops early keeps its total, so that it does not differ."""
    seen, terms = None if row.job_state is None else row.job_state.progress.total_steps, row.job_estimate
    if not seen or terms is None or terms.steps is None:
        return None
    low, high = terms.steps_low or terms.steps, terms.steps_high or terms.steps
    if low * (1 - TOLERANCE) <= seen <= high * (1 + TOLERANCE):
        return None
    fewer = "it learns less than was meant" if seen < low else "it trains longer than was meant"
    told = f"{row.backend} takes {seen:,} optimizer steps, not the {terms.steps:,} that were expected: {fewer}"
    return told if row.job_status.terminal else f"{told}; `tuneport cancel {row.id}` stops it"


def job_steps_text(row: JobRecord) -> str | None:
    """Return the steps of a job beside those expected, for people; None if neither is known."""
    seen, terms = None if row.job_state is None else row.job_state.progress.total_steps, row.job_estimate
    expected = None if terms is None else terms.steps
    if expected is None:
        return f"{seen:,}" if seen else None
    if not seen:
        return f"{expected:,} expected"
    if seen == expected:
        return f"{seen:,}, as expected"
    return f"{seen:,}, {'not the' if describe_steps_difference(row) else 'about the'} {expected:,} expected"
