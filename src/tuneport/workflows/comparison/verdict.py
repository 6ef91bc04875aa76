"""The answer in a few sentences: what is cheapest, when training pays back, and what may go wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from itertools import groupby
from typing import Literal

from tuneport.formatting import compact, counted, money
from tuneport.workflows.comparison.break_even import DAYS_PER_MONTH, YEAR, ComparisonBreakEven, ComparisonBreakEvenRow
from tuneport.workflows.comparison.words import compared_money_range, payback_sentence

WIDE = 1.5
"""If the most of a year's total is this many times the least, the range is reported as a risk."""
SOON = 3
"""Months to a shutdown within which it is no warning any more."""
_NAMED = 3

Kind = Literal["pass", "warn", "fail"]


@dataclass(frozen=True)
class VerdictSentence:
    kind: Kind
    about: str
    words: str


def comparison_verdict(found: ComparisonBreakEven, *, day: date) -> list[VerdictSentence]:
    """Return the verdict: cheapest first, then payback, then risks."""
    return [*_cheapest(found), *_payback(found), *_risks(found, day)]


def _cheapest(found: ComparisonBreakEven) -> list[VerdictSentence]:
    lasting, ending = found.lasting(), found.ending()
    said = []
    if lasting is not None and lasting.total is not None:
        alike = found.as_dear_as(lasting)
        others = f"; {alike} other{'s' if alike > 1 else ''} within 2 % of it" if alike else ""
        total = compared_money_range(lasting.total)
        words = f"over a year, {lasting.name}: {_prices(lasting, found)}, {total} in all{others}"
        said.append(VerdictSentence("pass", "cheapest", words))
    if ending is not None and ending.choice.retires is not None:
        name = f"until it shuts down on {ending.choice.retires}, {ending.name}: {_prices(ending, found)}"
        said.append(VerdictSentence("warn", "cheapest", name))
    if not said:
        why = "unavailable, because no available option has both a training and a monthly price"
        said.append(VerdictSentence("warn", "cheapest", why))
    if found.today is not None:
        now = found.today.monthly_cost(found.unit.stated).expected
        than = ""
        if lasting is not None and now <= lasting.month(found.unit):
            than = "every option that still works in 12 months"
        if all(row is None or now <= row.month(found.unit) for row in (lasting, ending)):
            than = "every option"
        words = f"you pay {money(now)} a month"
        if than:
            words = f"keep what you use ({money(now)} a month): {than} costs as much or more"
        said.append(VerdictSentence("warn" if than else "pass", "today", words))
    return said


def _prices(row: ComparisonBreakEvenRow, found: ComparisonBreakEven) -> str:
    assert row.option is not None
    return f"{money(row.option.training.expected)} for training and {money(row.month(found.unit))} a month"


def _payback(found: ComparisonBreakEven) -> list[VerdictSentence]:
    said = []
    for row in (found.lasting(), found.ending()):
        if row is None:
            continue
        before = "" if row.instead_of is None else f" instead of {row.instead_of.name}"
        words = f"{row.name}{before}: {payback_sentence(row)}"
        back = row.payback is not None and row.payback.months is not None
        if back and row.saved is not None:
            words += f"; then {money(row.saved.expected)} saved a month"
        if row.payback is not None and not back and row.pays_from is not None:
            when = "before that day" if row.saved is not None and row.saved.expected > 0 else "within a year"
            words += f"; paid back {when} above {compact(row.pays_from)} {found.unit.word} a month"
        said.append(VerdictSentence("pass" if back else "warn", "paid back", words))
    return said


def _risks(found: ComparisonBreakEven, day: date) -> list[VerdictSentence]:
    had = [row for row in found.rows if row.choice.allowed]
    said = []
    ending = [row for row in had if row.choice.retires is not None and _months_to(row, day) < YEAR]
    for (last, _), rows in _grouped(ending):
        kind: Kind = "fail" if _months_to(rows[0], day) < SOON else "warn"
        said.append(VerdictSentence(kind, "shuts down", f"{last}, tuned models included: {_names(rows)}"))
    for (when, title), rows in _grouped([row for row in had if row.stale and row.priced_on], by_price=True):
        words = f"{title}'s were read on {when}, look at the source again: {_names(rows)}"
        said.append(VerdictSentence("warn", "old prices", words))
    for row in (found.lasting(), found.ending()):
        if row is not None and row.total is not None and row.total.high > WIDE * row.total.low:
            said.append(
                VerdictSentence("warn", "wide range", f"{row.name}: a year is {compared_money_range(row.total)}")
            )
    unpriced = [row for row in had if row.option is None]
    if unpriced:
        words = f"price unknown for {len(unpriced)} of {len(found.rows)} options; the table gives the reasons"
        said.append(VerdictSentence("warn", "no price", words))
    uncounted = [row for row in had if row.uncounted]
    if uncounted:
        words = (
            f"{counted(len(uncounted), 'local option')}, since the cost of your own machine is unknown; "
            "give it with --own-hour or --own-gpu"
        )
        said.append(VerdictSentence("warn", "not compared", words))
    return said


def _months_to(row: ComparisonBreakEvenRow, day: date) -> float:
    return 0.0 if row.choice.retires is None else (row.choice.retires - day).days / DAYS_PER_MONTH


def _grouped(
    rows: Sequence[ComparisonBreakEvenRow], *, by_price: bool = False
) -> list[tuple[tuple[str, str], list[ComparisonBreakEvenRow]]]:
    def key(row: ComparisonBreakEvenRow) -> tuple[str, str]:
        return str(row.priced_on if by_price else row.choice.retires), row.choice.title

    return [(each, list(group)) for each, group in groupby(sorted(rows, key=key), key=key)]


def _names(rows: Sequence[ComparisonBreakEvenRow]) -> str:
    names = ", ".join(row.name for row in rows[:_NAMED])
    return names if len(rows) <= _NAMED else f"{names} and {len(rows) - _NAMED} more"
