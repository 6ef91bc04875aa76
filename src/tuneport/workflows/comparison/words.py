"""How money, traffic and time are written for people."""

from __future__ import annotations

from tuneport.estimate.break_even import Overtaking, Span
from tuneport.workflows.comparison.break_even import DAYS_PER_MONTH, Row, Unit


def usd(amount: float) -> str:
    """Cents below $1,000, and more digits where cents would say nothing."""
    if amount < 0:
        return f"-{usd(-amount)}"
    if amount == 0 or amount >= 999.5:
        return f"${amount:,.0f}"
    return f"${amount:.2f}" if amount >= 0.1 else f"${amount:.2g}"


def usd_round(amount: float) -> str:
    """For an axis."""
    return usd(amount).removesuffix(".00")


def usd_range(span: Span) -> str:
    """The expected amount, and in brackets from where to where, if it is no single one."""
    expected, low, high = usd(span.expected), usd(span.low), usd(span.high)
    return expected if low == high else f"{expected} ({low} to {high})"


def count(number: float) -> str:
    """Whole below a million, then three digits: 22.5M rather than 22,524,312."""
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M")):
        if number >= size * 0.9995:
            return f"{number / size:.3g}{letter}" if number < size * 999.5 else f"{number / size:,.0f}{letter}"
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def months(number: float) -> str:
    """Months; days below two of them; hours are not told, as no estimate here knows them."""
    if number >= 2:
        return f"{number:.1f} months"
    days = round(number * DAYS_PER_MONTH)
    return "at once" if number == 0 else "less than a day" if days < 1 else f"{days} day{'' if days == 1 else 's'}"


def overtakes(each: Overtaking, unit: Unit) -> str:
    """One sentence: who overtakes whom, above which traffic, and how sure that is."""
    if each.at is None:
        start = f"{count(each.begins or 0)} {unit.word} a month"
        return f"above {start} {each.second} and {each.first} change places with each replica"
    at = count(each.at)
    bounds = ["maybe at any"] if each.low == 0 else []
    if each.low and count(each.low) != at:
        bounds.append(f"maybe above {count(each.low)}")
    if each.high is not None and count(each.high) != at:
        bounds.append(f"surely above {count(each.high)}")
    sure = f" ({', '.join(bounds)})" if bounds else ""
    between = ""
    if each.begins is not None and each.begins < each.at * 0.999:
        between = f", and in part from {count(each.begins)} on"
    return f"above {at} {unit.word} a month {each.second} is cheaper than {each.first}{sure}{between}"


def paid_back(row: Row) -> str:
    """When the training has come back; or why never, or why that cannot be said."""
    if row.payback is None:
        return f"unavailable, because {unknown_because(row)}"
    if row.payback.months is None:
        return f"never, because {row.payback.never}"
    low, high = row.payback.low, row.payback.high
    words = months(row.payback.months)
    if low is not None and high is not None and months(low) == months(high):
        return words
    least = words if low is None else months(low)
    return f"{words} ({least} to {'never' if high is None else months(high)})"


def unknown_because(row: Row) -> str:
    """Why there is no break-even for a row."""
    choice = row.choice
    if row.uncounted:
        return "what your own machine costs is not known"
    for what, quote in (("the training price", choice.quote), ("the monthly price", choice.inference)):
        if quote is None or quote.expected is None:
            return f"{what} is unknown: {quote.unavailable if quote is not None and quote.unavailable else 'not asked'}"
    if choice.base is None or choice.base.expected is None:
        return f"the base model's price is unknown: {choice.base.unavailable if choice.base else 'not asked'}"
    return "there is nothing to compare it with"
