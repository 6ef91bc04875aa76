"""What a month's jobs come to, and what a running one is on its way to: the sums that budgets are held against."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import func, or_, select, text
from sqlalchemy.orm import Session

from tuneport.errors import BudgetError
from tuneport.jobs.estimates import JobEstimate
from tuneport.jobs.file_journal import UNFINISHED
from tuneport.jobs.tables import JobRow
from tuneport.jobs.training_time import trained_seconds
from tuneport.types import JobState

VARIABLE = "TUNEPORT_MONTHLY_BUDGET"
NAMED_AT_MOST = 3
SHARE_FOR_A_RATE = 0.05
"""Of a machine's hours: from so much of the way on the pace of its last steps counts; the first ones are slow."""

ROUNDING = 1.001
"""Providers round; a thousandth above a budget is no overrun."""


# --- a calendar month -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Month:
    """US dollars of one calendar month (UTC), all backends together.

    `spent`: what jobs that ended in it cost, or, where that is unknown, the most that they were to cost. `reserved`:
    the most that the `unfinished` jobs were to cost, or what they are on their way to where that is more, whenever they
    were submitted. `unknown`: jobs of which neither is known.
    """

    name: str
    spent: float
    reserved: float
    unfinished: int
    unknown: tuple[str, ...] = ()

    @property
    def total(self) -> float:
        return self.spent + self.reserved

    def as_dict(self) -> dict[str, Any]:
        return vars(self) | {"unknown": list(self.unknown), "total": self.total}

    def __str__(self) -> str:
        waiting = f"{self.unfinished:,} unfinished job" + ("" if self.unfinished == 1 else "s")
        return f"${self.spent:,.2f} spent in {self.name} (UTC) and ${self.reserved:,.2f} reserved for {waiting}"


def month_of(session: Session, moment: datetime, *, without: str | None = None) -> Month:
    """The sums of the month in which `moment` is. `without`: a job that is left out."""
    moment = moment.astimezone(UTC)
    start = moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    counted = JobRow.id != (without or "")
    unfinished = JobRow.status.in_(UNFINISHED)
    ended = JobRow.status.not_in(UNFINISHED) & (JobRow.finished_at >= start)
    cost = func.coalesce(JobRow.cost_usd, JobRow.reserved_usd)
    spent = session.scalar(select(func.sum(cost)).where(counted, ended))
    reserved, jobs = session.execute(
        select(func.sum(JobRow.reserved_usd), func.count()).where(counted, unfinished)
    ).one()
    reserved = float(reserved or 0.0) + _beyond(session, moment, without)
    nothing_known = or_(unfinished & JobRow.reserved_usd.is_(None), ended & cost.is_(None))
    unknown = session.scalars(select(JobRow.id).where(counted, nothing_known).order_by(JobRow.created_at))
    return Month(f"{start:%Y-%m}", float(spent or 0.0), reserved, jobs, tuple(unknown))


def _beyond(session: Session, moment: datetime, without: str | None) -> float:
    """What machines paid by the hour have cost by now above what is reserved for them: nobody may have looked at a job
    for days, and it trains on."""
    columns = (JobRow.reserved_usd, JobRow.usd_per_hour, JobRow.running_at, JobRow.idle_seconds, JobRow.idle_since)
    by_the_hour = (JobRow.usd_per_hour.is_not(None), JobRow.running_at.is_not(None), JobRow.reserved_usd.is_not(None))
    query = select(*columns).where(JobRow.id != (without or ""), JobRow.status.in_(UNFINISHED), *by_the_hour)
    beyond = 0.0
    for reserved, hourly, began, idle, idle_since in session.execute(query):
        spent = trained_seconds(began, idle, idle_since, moment) / 3600 * (hourly or 0.0)
        beyond += max(0.0, spent - (reserved or 0.0))
    return beyond


def hold_month(
    session: Session, cap: float, most: float | None, moment: datetime, *, backend: str, without: str | None = None
) -> None:
    """BudgetError where a job of at most `most` dollars would bring the month above `cap`.

    Within the transaction that writes the job, and after all others that do so, until it ends: SQLite's transactions
    queue up by themselves, PostgreSQL's by a lock. What costs nothing is never refused.
    """
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("SELECT pg_advisory_xact_lock(hashtext('tuneport month'))"))
    if most == 0:
        return
    nothing = "nothing was started"
    if most is None:
        raise BudgetError(
            f"what this job costs on {backend} is unknown, and {VARIABLE} is ${cap:,.2f}; {nothing}; unset it to go on"
        )
    month = month_of(session, moment, without=without)
    if month.unknown:
        some = ", ".join(month.unknown[:NAMED_AT_MOST])
        more = f" and {len(month.unknown) - NAMED_AT_MOST} more" if len(month.unknown) > NAMED_AT_MOST else ""
        raise BudgetError(
            f"what {some}{more} cost is unknown, so that nobody can hold {month.name} to {VARIABLE} (${cap:,.2f}); "
            f"{nothing}; wait for the next month, or unset it to go on"
        )
    if month.total + most > cap:
        raise BudgetError(
            f"{month}; with up to ${most:,.2f} for this job on {backend} that is ${month.total + most:,.2f}, above "
            f"{VARIABLE} of ${cap:,.2f}; {nothing}; raise it, cancel a job, or wait for the next month"
        )


def rest_of(row: JobRow) -> float | None:
    """What an ended job that goes on may come to at most: what it cost already, and of the most that it was to cost the
    share of the steps that it has not done. None: unknown."""
    if row.reserved_usd is None:
        return None
    progress = None if row.job_state is None else row.job_state.progress
    left = 1.0
    if progress is not None and progress.step and progress.total_steps:
        left = max(0.0, 1.0 - progress.step / progress.total_steps)
    spent = row.reserved_usd if row.cost_usd is None else row.cost_usd
    return max(row.reserved_usd, spent + row.reserved_usd * left)


# --- a running job ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Projection:
    """What an unfinished job is on its way to cost, in US dollars, and from what that is known."""

    usd: float
    because: str
    budget: float | None = None

    @property
    def over(self) -> bool:
        return self.budget is not None and self.usd > self.budget * ROUNDING

    def __str__(self) -> str:
        side = "above" if self.over else "within"
        held = "" if self.budget is None else f", {side} its budget of ${self.budget:,.2f}"
        return f"about ${self.usd:,.2f}{held} ({self.because})"

    def as_dict(self) -> dict[str, Any]:
        return vars(self) | {"over_budget": self.over}


def projection(row: JobRow) -> Projection | None:
    """By what its backend said last. None of a job that has ended or is not there yet, and where no price is known."""
    state, terms = row.job_state, row.job_estimate
    if state is None or terms is None or row.remote_id is None or row.job_status.terminal:
        return None
    found = _hours(row, state, terms) if terms.billing == "machine_hours" else _tokens(row, state, terms)
    quote = row.job_quote
    if quote is not None and quote.expected is not None:
        found.insert(0, (quote.expected, "as quoted"))
    if state.cost is not None:
        found.append((state.cost, f"what {row.backend} has billed so far"))
    if not found:
        return None
    # A quote is replaced by what came of it; what is spent already is the least that it can be.
    later = found[1:] or found
    usd, because = max(later, key=lambda pair: pair[0])
    return Projection(usd, because, row.budget_usd)


def _hours(row: JobRow, state: JobState, terms: JobEstimate) -> list[tuple[float, str]]:
    if terms.usd_per_hour is None or row.running_at is None or row.polled_at is None:
        return []
    passed = trained_seconds(row.running_at, row.idle_seconds, row.idle_since, row.polled_at)
    step, of, left = state.progress.step, state.progress.total_steps, state.progress.seconds_left
    found = [(passed / 3600 * terms.usd_per_hour, f"{passed / 3600:.2f} h at ${terms.usd_per_hour:.2f} so far")]
    if left is not None and step and of and step / of >= SHARE_FOR_A_RATE:
        told = f"{passed / 3600:.2f} h so far and {left / 3600:.2f} h left at ${terms.usd_per_hour:.2f}"
        found.append(((passed + left) / 3600 * terms.usd_per_hour, told))
    return found


def _tokens(row: JobRow, state: JobState, terms: JobEstimate) -> list[tuple[float, str]]:
    """Epochs that the provider chose otherwise than was thought, and tokens that it counts already."""
    price, least, quote = terms.usd_per_mtok, terms.minimum_usd or 0.0, row.job_quote
    if price is None:
        return []
    found = []
    epochs = state.hyperparameters.get("n_epochs")
    if isinstance(epochs, int) and terms.epochs and terms.tokens and epochs != terms.epochs and quote is not None:
        planned = terms.tokens / 1e6 * price
        besides = max(0.0, (quote.expected or 0.0) - max(least, planned)) * epochs / terms.epochs  # validation
        usd = max(least, planned * epochs / terms.epochs) + besides
        found.append((usd, f"{epochs} epochs, where {terms.epochs} were reckoned with, at ${price:.2f} per 1M"))
    if state.trained_tokens:
        usd = max(least, state.trained_tokens / 1e6 * price)
        found.append((usd, f"{state.trained_tokens:,} tokens at ${price:.2f} per 1M"))
    return found
