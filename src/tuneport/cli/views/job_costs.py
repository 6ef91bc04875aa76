"""The estimated cost and time of jobs beside the actual ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tuneport.cli.views import output
from tuneport.cli.views.table import Column, CommandTable

if TYPE_CHECKING:
    from tuneport.lifecycle.accounting.accuracy import EstimateError, JobEstimateAccuracy
    from tuneport.lifecycle.accounting.budgets import MonthlyJobCosts
    from tuneport.lifecycle.schema.records import JobRecord


def print_job_costs(rows: Sequence[JobRecord], errors: Sequence[JobEstimateAccuracy], month: MonthlyJobCosts) -> None:
    if not rows:
        output.print_note("no jobs yet")
        return
    console = output.console()
    table = CommandTable(
        (
            Column("job"),
            Column("status"),
            Column("backend"),
            Column("expected", rank=1, right=True),
            Column("cost", right=True),
            Column("to take", rank=3, right=True),
            Column("took", rank=2, right=True),
        )
    )
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
    table.print()
    if output.as_tsv:
        return
    console.print(f"{month}.", markup=False)
    for error in errors:
        told = [
            text
            for text in (_estimate_error_line("cost", error.cost), _estimate_error_line("time", error.duration))
            if text is not None
        ]  # fmt: skip
        if told:
            console.print(f"[bold]{output.escape_markup(error.backend)}[/bold]: {'; '.join(told)}")
    for reason in reasons:
        console.print(reason, style="dim", markup=False)


def _estimate_error_line(what: str, error: EstimateError | None) -> str | None:
    if error is None:
        return None
    jobs = output.counted(error.jobs, "job")
    return (
        f"{what} estimates were off by {error.mean_error:.0%} on average ({jobs}), {error.within_bounds:,} within the "
        f"bounds, median ratio {error.median_ratio:.2f}"
    )


def cost_line(row: JobRecord) -> str | None:
    """Return the cost of an ended job and its source, or what the backend reports so far."""
    actual, state = row.job_actual, row.job_state
    if actual is None:
        return None if state is None or state.cost is None else output.money(state.cost)
    if actual.usd is None:
        return f"unavailable, because {actual.usd_unavailable}"
    return f"{output.money(actual.usd)} ({actual.usd_because})"


def budget_line(row: JobRecord) -> str | None:
    """Return the budget of a job that has one, and its projected cost."""
    from tuneport.lifecycle.accounting.budgets import project_job_cost

    if row.budget_usd is None:
        return None
    projected = project_job_cost(row)
    return output.money(row.budget_usd) if projected is None else f"on its way to {projected}"


def time_line(row: JobRecord) -> str | None:
    """Return how long an ended job trained, beside the estimate; for a running job, the estimate."""
    actual, estimate = row.job_actual, row.job_estimate
    if actual is None and estimate is not None and estimate.seconds is not None:
        return f"~{output.duration(estimate.seconds)} expected ({estimate.seconds_because})"
    if actual is None or actual.seconds is None:
        return None
    expected = (
        "" if estimate is None or estimate.seconds is None else f", ~{output.duration(estimate.seconds)} expected"
    )
    return f"{output.duration(actual.seconds)}{expected}"
