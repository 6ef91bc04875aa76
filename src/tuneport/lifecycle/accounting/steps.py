"""The optimizer steps of a job: those that its backend takes, against those that were expected at submit."""

from __future__ import annotations

from tuneport.estimate.training_settings import TrainingSteps
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
    seen, steps = _seen_steps(row), _expected_steps(row)
    if not seen or steps is None or steps.expected is None:
        return None
    low, high = steps.low or steps.expected, steps.high or steps.expected
    if low * (1 - TOLERANCE) <= seen <= high * (1 + TOLERANCE):
        return None
    fewer = "it learns less than was meant" if seen < low else "it trains longer than was meant"
    told = f"{row.backend} takes {seen:,} optimizer steps, not the {steps.expected:,} that were expected: {fewer}"
    return told if row.job_status.terminal else f"{told}; `tuneport cancel {row.id}` stops it"


def job_steps_text(row: JobRecord) -> str | None:
    """Return the steps of a job beside those expected, for people; None if nothing is known of them."""
    seen, steps = _seen_steps(row), _expected_steps(row)
    if steps is None or steps.expected is None:
        unknown = None if steps is None else f"not known before: {steps.unavailable}"
        return f"{seen:,}" if seen else unknown
    because = f" ({steps.explanation})" if steps.explanation else ""
    if not seen:
        return f"{steps.expected:,} expected{because}"
    if seen == steps.expected:
        return f"{seen:,}, as expected{because}"
    return (
        f"{seen:,}, {'not the' if describe_steps_difference(row) else 'about the'} {steps.expected:,} expected{because}"
    )


def _seen_steps(row: JobRow | JobRecord) -> int | None:
    return None if row.job_state is None else row.job_state.progress.total_steps


def _expected_steps(row: JobRow | JobRecord) -> TrainingSteps | None:
    return None if row.job_estimate is None else row.job_estimate.steps
