"""Writes what a comparison found in sentences."""

from __future__ import annotations

from collections.abc import Sequence

from tuneport.estimate.break_even import CostCrossover, CostRange
from tuneport.formatting import compact, counted, money
from tuneport.router import BackendChoice
from tuneport.workflows.comparison.break_even import DAYS_PER_MONTH, ComparisonBreakEvenRow, ComparisonTrafficUnit


def compared_money_range(span: CostRange) -> str:
    """Return the expected amount, and in brackets from where to where, if it is no single one."""
    expected, low, high = money(span.expected), money(span.low), money(span.high)
    return expected if low == high else f"{expected} ({low} to {high})"


def compared_steps(choice: BackendChoice) -> str:
    """Return the optimizer steps, `!` behind too few; `-` if they are not known."""
    steps = choice.steps
    if steps is None or steps.expected is None:
        return "-"
    return f"{steps.expected:,}{'!' if steps.too_few else ''}"


def compared_training(choices: Sequence[BackendChoice]) -> str:
    """Return whether all options train alike, and what a mark at the steps means."""
    epochs = sorted({choice.epochs for choice in choices if choice.epochs is not None})
    if not epochs:
        return ""
    if len(epochs) == 1:
        told = f"All train {counted(epochs[0], 'epoch')}."
    else:
        told = f"They do not train alike: {epochs[0]} to {epochs[-1]} epochs."
    few = any(choice.steps is not None and choice.steps.too_few for choice in choices)
    return told + (" With ! behind them, the steps are too few to learn much." if few else "")


def compared_months(number: float) -> str:
    """Return a time in months, or in days below two of them; hours are not shown, as no estimate here knows them."""
    if number >= 2:
        return f"{number:.1f} months"
    days = round(number * DAYS_PER_MONTH)
    return "at once" if number == 0 else "less than a day" if days < 1 else counted(days, "day")


def cross_over_sentence(each: CostCrossover, unit: ComparisonTrafficUnit) -> str:
    """Return one sentence: which option becomes cheaper, above which traffic, and how certain that is."""
    if each.at is None:
        start = f"{compact(each.begins or 0)} {unit.word} a month"
        return f"above {start} {each.second} and {each.first} change places with each replica"
    at = compact(each.at)
    bounds = ["possibly at any traffic"] if each.low == 0 else []
    if each.low and compact(each.low) != at:
        bounds.append(f"possibly from {compact(each.low)}")
    if each.high is not None and compact(each.high) != at:
        bounds.append(f"certain from {compact(each.high)}")
    sure = f" ({', '.join(bounds)})" if bounds else ""
    between = ""
    if each.begins is not None and each.begins < each.at * 0.999:
        between = f", partly from {compact(each.begins)}"
    return f"{each.second} becomes cheaper than {each.first} at {at} {unit.word} a month{sure}{between}"


def payback_sentence(row: ComparisonBreakEvenRow) -> str:
    """Return when the training pays back, or why it never does, or why that is unknown."""
    if row.payback is None:
        return f"unavailable, because {why_no_break_even(row)}"
    if row.payback.months is None:
        return f"never, because {row.payback.never}"
    low, high = row.payback.low, row.payback.high
    words = compared_months(row.payback.months)
    if low is not None and high is not None and compared_months(low) == compared_months(high):
        return words
    least = words if low is None else compared_months(low)
    return f"{words} ({least} to {'never' if high is None else compared_months(high)})"


def why_no_break_even(row: ComparisonBreakEvenRow) -> str:
    """Return why there is no break-even for a row."""
    choice = row.choice
    if row.uncounted:
        return "the cost of your own machine is unknown"
    for what, quote in (("the training price", choice.quote), ("the monthly price", choice.inference)):
        if quote is None or quote.expected is None:
            return f"{what} is unknown: {quote.unavailable if quote is not None and quote.unavailable else 'not asked'}"
    if choice.base is None or choice.base.expected is None:
        return f"the base model's price is unknown: {choice.base.unavailable if choice.base else 'not asked'}"
    return "there is nothing to compare it with"
