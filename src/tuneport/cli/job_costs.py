"""What jobs were to cost and take, beside what they came to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tuneport.cli import output

if TYPE_CHECKING:
    from tuneport.jobs.accuracy import BackendAccuracy, Error
    from tuneport.jobs.budgets import Month
    from tuneport.jobs.tables import JobRow


def print_costs(rows: Sequence[JobRow], errors: Sequence[BackendAccuracy], month: Month) -> None:
    if not rows:
        output.note("no jobs yet, so nothing was estimated and nothing was paid")
        return
    console = output.console()
    right = ("expected", "cost", "to take", "took")
    table = output.table("job", "status", "backend", *right, right=right)
    reasons = []
    for row in rows:
        quote, estimate, actual = row.job_quote, row.job_estimate, row.job_actual
        table.add_row(
            row.id,
            row.status,
            row.backend,
            "?" if quote is None or quote.expected is None else f"~{output.money(quote.expected)}",
            "-" if actual is None else "?" if actual.usd is None else output.money(actual.usd),
            "?" if estimate is None or estimate.seconds is None else f"~{output.duration(estimate.seconds)}",
            "-" if actual is None else "?" if actual.seconds is None else output.duration(actual.seconds),
        )
        if actual is not None and actual.usd is None:
            reasons.append(f"{row.id}: cost unavailable, because {actual.usd_unavailable}")
        if actual is not None and actual.seconds is None:
            reasons.append(f"{row.id}: time unavailable, because {actual.seconds_unavailable}")
    console.print(table)
    console.print(f"{month}.", markup=False)
    for error in errors:
        told = [
            text
            for text in (_told("cost", error.cost), _told("time", error.duration))
            if text is not None
        ]  # fmt: skip
        if told:
            console.print(f"[bold]{error.backend}[/bold]: {'; '.join(told)}")
    for reason in reasons:
        console.print(reason, style="dim", markup=False)


def _told(what: str, error: Error | None) -> str | None:
    if error is None:
        return None
    jobs = f"{error.jobs:,} job" + ("" if error.jobs == 1 else "s")
    return (
        f"{what} {error.mean_error:.0%} off in the mean of {jobs}, {error.within_bounds:,} within the bounds, "
        f"median {error.median_ratio:.2f} of what was said"
    )


def cost_line(row: JobRow) -> str | None:
    """What an ended job cost and by what that is known; of another what its backend says so far."""
    actual, state = row.job_actual, row.job_state
    if actual is None:
        return None if state is None or state.cost is None else output.money(state.cost)
    if actual.usd is None:
        return f"unavailable, because {actual.usd_unavailable}"
    return f"{output.money(actual.usd)} ({actual.usd_because})"


def budget_line(row: JobRow) -> str | None:
    """The budget of a job that has one, and what it is on its way to cost."""
    from tuneport.jobs.budgets import projection

    if row.budget_usd is None:
        return None
    projected = projection(row)
    return output.money(row.budget_usd) if projected is None else f"on its way to {projected}"


def time_line(row: JobRow) -> str | None:
    """How long an ended job trained, beside the estimate; of another, how long it is to train."""
    actual, estimate = row.job_actual, row.job_estimate
    if actual is None and estimate is not None and estimate.seconds is not None:
        return f"~{output.duration(estimate.seconds)} expected ({estimate.seconds_because})"
    if actual is None or actual.seconds is None:
        return None
    expected = (
        "" if estimate is None or estimate.seconds is None else f", ~{output.duration(estimate.seconds)} expected"
    )
    return f"{output.duration(actual.seconds)}{expected}"
