"""Budgets: what a month's jobs cost, what a running job will cost, and the limits that both are held against."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import func, or_, select, text
from sqlalchemy.orm import Session

from tuneport.errors import BudgetError
from tuneport.formatting import counted, hours, money
from tuneport.lifecycle.accounting.training_time import job_trained_seconds
from tuneport.lifecycle.schema.estimates import JobEstimate
from tuneport.lifecycle.schema.records import UNFINISHED, JobRecord
from tuneport.lifecycle.schema.tables import JobRow
from tuneport.types import JobState, now

VARIABLE = "TUNEPORT_MONTHLY_BUDGET"
NAMED_AT_MOST = 3
SHARE_FOR_A_RATE = 0.05
"""After this share of a machine's hours the pace of its last steps counts; the first steps are slow."""

ROUNDING = 1.001
"""Providers round; a thousandth above a budget is no overrun."""


# --- a calendar month -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MonthlyJobCosts:
    """US dollars of one calendar month (UTC), all backends together.

    `spent`: what jobs that ended in it cost, or, if unknown, the most that they could cost. `reserved`: the most that
    the `unfinished` jobs may cost, or their projected cost if that is more, whenever they were submitted. `unknown`:
    jobs for which neither is known.
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
        waiting = counted(self.unfinished, "unfinished job")
        return f"{money(self.spent)} spent in {self.name} (UTC) and {money(self.reserved)} reserved for {waiting}"


def sum_monthly_job_costs(session: Session, moment: datetime, *, without: str | None = None) -> MonthlyJobCosts:
    """Return the sums of the month that `moment` lies in. `without`: a job that is left out."""
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
    return MonthlyJobCosts(f"{start:%Y-%m}", float(spent or 0.0), reserved, jobs, tuple(unknown))


def _beyond(session: Session, moment: datetime, without: str | None) -> float:
    """Return what machines paid by the hour have cost by now above what is reserved for them: a job trains on even if
    it was not polled for days."""
    columns = (JobRow.reserved_usd, JobRow.usd_per_hour, JobRow.running_at, JobRow.idle_seconds, JobRow.idle_since)
    by_the_hour = (JobRow.usd_per_hour.is_not(None), JobRow.running_at.is_not(None), JobRow.reserved_usd.is_not(None))
    query = select(*columns).where(JobRow.id != (without or ""), JobRow.status.in_(UNFINISHED), *by_the_hour)
    beyond = 0.0
    for reserved, hourly, began, idle, idle_since in session.execute(query):
        spent = job_trained_seconds(began, idle, idle_since, moment) / 3600 * (hourly or 0.0)
        beyond += max(0.0, spent - (reserved or 0.0))
    return beyond


def hold_monthly_budget(
    session: Session, cap: float, most: float | None, moment: datetime, *, backend: str, without: str | None = None
) -> None:
    """Raise BudgetError if a job of at most `most` dollars would bring the month above `cap`.

    Call it within the transaction that writes the job. Until that ends, other such transactions wait: SQLite's by
    themselves, PostgreSQL's for a lock. A job that costs nothing is never refused.
    """
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("SELECT pg_advisory_xact_lock(hashtext('tuneport month'))"))
    if most == 0:
        return
    nothing = "nothing was started"
    if most is None:
        raise BudgetError(
            f"the cost of this job on {backend} is unknown, and {VARIABLE} is {money(cap)}; {nothing}; unset it first"
        )
    month = sum_monthly_job_costs(session, moment, without=without)
    if month.unknown:
        some = ", ".join(month.unknown[:NAMED_AT_MOST])
        more = f" and {len(month.unknown) - NAMED_AT_MOST} more" if len(month.unknown) > NAMED_AT_MOST else ""
        raise BudgetError(
            f"the cost of {some}{more} is unknown, so {month.name} cannot be held to {VARIABLE} ({money(cap)}); "
            f"{nothing}; wait for the next month, or unset it"
        )
    if month.total + most > cap:
        raise BudgetError(
            f"{month}; with up to {money(most)} for this job on {backend} that is {money(month.total + most)}, above "
            f"{VARIABLE} of {money(cap)}; {nothing}; raise it, cancel a job, or wait for the next month"
        )


def max_resume_cost(row: JobRow) -> float | None:
    """Return the most that an ended job may cost once it is resumed: its cost so far, plus the share of its maximum for
    the steps that it has not done. Returns None if that is unknown."""
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
class JobCostProjection:
    """The projected cost of an unfinished job in US dollars, and how it is known."""

    usd: float
    because: str
    budget: float | None = None

    @property
    def over_budget(self) -> bool:
        return self.budget is not None and self.usd > self.budget * ROUNDING

    def __str__(self) -> str:
        side = "above" if self.over_budget else "within"
        held = "" if self.budget is None else f", {side} its budget of {money(self.budget)}"
        return f"about {money(self.usd)}{held} ({self.because})"

    def as_dict(self) -> dict[str, Any]:
        return vars(self) | {"over_budget": self.over_budget}


def project_job_cost(row: JobRow | JobRecord) -> JobCostProjection | None:
    """Return the projected total cost from the last backend state. Returns None if the job has ended, has not started,
    or has no known price."""
    state, terms = row.job_state, row.job_estimate
    if state is None or terms is None or row.remote_id is None or row.job_status.terminal:
        return None
    found = _hours(row, state, terms) if terms.own_machine else _tokens(row, state, terms)
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
    return JobCostProjection(usd, because, row.budget_usd)


def _hours(row: JobRow | JobRecord, state: JobState, terms: JobEstimate) -> list[tuple[float, str]]:
    if terms.usd_per_hour is None or row.running_at is None or row.polled_at is None:
        return []
    passed = job_trained_seconds(row.running_at, row.idle_seconds, row.idle_since, row.polled_at)
    step, of, left = state.progress.step, state.progress.total_steps, state.progress.seconds_left
    found = [(passed / 3600 * terms.usd_per_hour, f"{hours(passed)} at {money(terms.usd_per_hour)} so far")]
    if left is not None and step and of and step / of >= SHARE_FOR_A_RATE:
        told = f"{hours(passed)} so far and {hours(left)} left at {money(terms.usd_per_hour)}"
        found.append(((passed + left) / 3600 * terms.usd_per_hour, told))
    return found


def _tokens(row: JobRow | JobRecord, state: JobState, terms: JobEstimate) -> list[tuple[float, str]]:
    """Return cost projections (US dollars, and how each is known): by the epochs that the provider chose, and by the
    tokens that it counts already."""
    price, least, quote = terms.usd_per_mtok, terms.minimum_usd or 0.0, row.job_quote
    if price is None:
        return []
    found = []
    epochs = state.hyperparameters.get("n_epochs")
    if isinstance(epochs, int) and terms.epochs and terms.tokens and epochs != terms.epochs and quote is not None:
        planned = terms.tokens / 1e6 * price
        besides = max(0.0, (quote.expected or 0.0) - max(least, planned)) * epochs / terms.epochs  # validation
        usd = max(least, planned * epochs / terms.epochs) + besides
        found.append((usd, f"{epochs} epochs instead of the estimated {terms.epochs}, at {money(price)} per 1M"))
    if state.trained_tokens:
        usd = max(least, state.trained_tokens / 1e6 * price)
        found.append((usd, f"{state.trained_tokens:,} tokens at {money(price)} per 1M"))
    return found


def job_cost_so_far(row: JobRecord) -> tuple[float, str] | None:
    """Return the US dollars that an unfinished job has cost by now and how they are computed, or None if nothing tells.

    The sum is what its backend bills already; else the hours of a machine x its price; else the share of the steps x
    the quote.
    """
    state, terms, quote = row.job_state, row.job_estimate, row.job_quote
    if row.job_status.terminal or state is None:
        return None
    if state.cost is not None:
        return state.cost, f"what {row.backend} has billed so far"
    if terms is not None and terms.own_machine:
        if terms.usd_per_hour is None:
            return 0.0, "your own machine; electricity not counted"
        passed = job_trained_seconds(row.running_at, row.idle_seconds, row.idle_since, now())
        return passed / 3600 * terms.usd_per_hour, f"{hours(passed)} of training x {money(terms.usd_per_hour)}"
    step, of = state.progress.step, state.progress.total_steps
    if quote is None or quote.expected is None or step is None or not of:
        return None
    share = min(1.0, step / of)
    return share * quote.expected, f"{step:,} of {of:,} steps x {money(quote.expected)} quoted"
