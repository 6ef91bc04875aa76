"""Writes money, sizes, times and counts for people: the same on the command line, on pages and in errors."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from math import floor, isnan, log10


def money(amount: float | None, *, short: bool = False) -> str:
    """Return US dollars to the cent, or with the digits that an amount below ten cents needs. "unknown" for None.

    `short`, for tables and axes: three digits from $10 on, whole dollars from $100 on, $1.25M from a million on.
    """
    if amount is None or isnan(amount):
        return "unknown"
    if amount < 0:
        return f"-{money(-amount, short=short)}"
    if amount == 0:
        return "$0"
    if short and amount >= 9.995:
        return f"${compact(amount)}"
    if amount >= 0.1:
        return f"${amount:,.2f}"
    digits = max(4, 1 - floor(log10(amount)))
    cents, rest = f"{amount:.{digits}f}"[:4], f"{amount:.{digits}f}"[4:]
    return f"${cents}{rest.rstrip('0')}"


def compact(number: float) -> str:
    """Return a number of things: whole below a million, then three digits: 22.5M rather than 22,524,312."""
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M")):
        if number >= size * 0.9995:
            return f"{number / size:.3g}{letter}" if number < size * 999.5 else f"{number / size:,.0f}{letter}"
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


_NAMES_LISTED = 60
_LONGEST_NAME = 30  # characters


def listed_names(names: Sequence[str]) -> str:
    """Return names from a user's file, such as its columns: all, but of very many only the first; "none" for none."""
    more = len(names) - _NAMES_LISTED
    short = [name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}…" for name in names[:_NAMES_LISTED]]
    return ", ".join(short) + (f" and {more:,} more" if more > 0 else "") or "none"


def counted(number: int, noun: str) -> str:
    """Return the number and its noun: 1 record, 2,000 records."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def number(value: float | int | None) -> str:
    """Return an integer in full and a float with four digits. "-" for None."""
    return "-" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


def size(count: int) -> str:
    """Return a number of bytes as 512 B, 1.5 kB, 120 MB or 2.4 GB, each unit a thousand of the one before."""
    amount = float(count)
    for unit in ("B", "kB", "MB"):
        if amount < 999.5:
            return f"{amount:.0f} {unit}" if unit == "B" or amount >= 99.95 else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:,.0f} GB" if amount >= 99.95 else f"{amount:.1f} GB"


def duration(seconds: float | None, *, short: bool = False) -> str:
    """Return a time as 5 s, 2 min 05 s or 1 h 05 min; `short`, for tables, as 0m05s, 2m05s or 1h05m. "-" for None."""
    if seconds is None:
        return "-"
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    if short:
        return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{rest:02}s"
    if hours:
        return f"{hours:,} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def hours(seconds: float) -> str:
    """Return a time in hours, as bills count it: 0.25 h."""
    return f"{seconds / 3600:.2f} h"


def ago(moment: datetime) -> str:
    """Return how long ago a moment was, so coarse that a page that shows it changes once a minute at most."""
    seconds = (datetime.now(UTC) - moment).total_seconds()
    if seconds < 60:
        return "just now"
    if seconds < 3600:
        return f"{seconds // 60:.0f} min ago"
    return f"{seconds // 3600:.0f} h ago" if seconds < 48 * 3600 else f"{seconds // 86400:.0f} days ago"


def since(moment: datetime) -> str:
    """Return the time since a moment, to the minute."""
    minutes = int((datetime.now(UTC) - moment).total_seconds()) // 60
    if minutes < 1:
        return "under a minute"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"
