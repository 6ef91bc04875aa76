"""The two charts of a comparison: dollars over the months, and dollars a month over the traffic."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import combinations
from math import floor, log10
from typing import TYPE_CHECKING

from tuneport.estimate.break_even import ServingCostOption, TrafficCost
from tuneport.estimate.cost import HOURS_PER_MONTH
from tuneport.formatting import compact, money
from tuneport.pages.lines import STYLES, ChartAxis, ChartLine, ChartMark, draw_line_chart
from tuneport.workflows.comparison.break_even import DAYS_PER_MONTH, YEAR, ComparisonBreakEven
from tuneport.workflows.comparison.words import compared_months, cross_over_sentence

if TYPE_CHECKING:
    from markupsafe import Markup

_POINTS = 160
_MOST_STEPS = 400
_MOST_MARKS = 6
_STEEP = 30
"""Multiple of the lowest year's total that is too much for a chart with a linear axis."""
_EARLY = 0.4
"""Months: an earlier payback cannot be seen if a year fills the width."""
_HOUR = 1 / HOURS_PER_MONTH
_short_money = partial(money, short=True)
_TIMES = {_HOUR: "1 hour", 1 / DAYS_PER_MONTH: "1 day", 7 / DAYS_PER_MONTH: "1 week", 1.0: "1 month", 12.0: "1 year"}
_LEAST_SCALE, _MOST_SCALE = 0.01, 10.0
"""The chart reaches from a hundredth of the stated traffic to ten times it, and on to the last cross-over it marks."""


def options_for_chart(found: ComparisonBreakEven) -> list[ServingCostOption]:
    """Return the options for a chart, at most as many as can be told apart: the best rows, and what the best of them is
    compared with."""
    rows = [row for row in found.shown(STYLES - 1) if row.option is not None]
    options = [row.option for row in rows if row.option is not None]
    against = [row.instead_of for row in rows if row.instead_of is not None]
    before = found.today or next(iter(against), None)
    return options if before is None else [before, *options]


def chart_over_months(found: ComparisonBreakEven, options: Sequence[ServingCostOption]) -> Markup | None:
    """Return the chart of total spending over the months at the stated traffic; logarithmic if amounts differ much.
    Returns None if nothing costs anything that is known."""
    spans = [option.monthly_cost(found.unit.stated) for option in options]
    ends = [float(YEAR) if option.months_left is None else min(YEAR, option.months_left) for option in options]
    years = [option.training.expected + YEAR * span.expected for option, span in zip(options, spans, strict=True)]
    paid = [year for year in years if year > 0]
    if not paid:
        return None
    marks = _paid_back(found, options)
    steep = max(paid) > _STEEP * min(paid) or any(mark.x < _EARLY for mark in marks)
    first = max(_HOUR, min([1 / DAYS_PER_MONTH, *(mark.x / 3 for mark in marks)])) if steep else 0.0
    drawn = []
    for option, span, end in zip(options, spans, ends, strict=True):
        if end <= first:
            continue
        if steep:
            times = [first * (end / first) ** (step / _POINTS) for step in range(_POINTS + 1)]
        else:
            times = [0.0, end]
        points = [(time, option.training.expected + time * span.expected) for time in times]
        band = [(t, option.training.low + t * span.low, option.training.high + t * span.high) for t in times]
        flat = all(low == high for _, low, high in band)
        note = f"{money(option.training.expected)} once, {money(span.expected)} a month"
        if end < YEAR:
            note += f"; ends after {compared_months(end)}"
        drawn.append(ChartLine(option.name, points, () if flat else band, note))
    top = max((each[1] for line in drawn for each in line.points), default=0.0)
    top = max([top, *(high for line in drawn for _, _, high in line.band)])
    if not top:
        return None
    if not steep:
        x, y = (
            ChartAxis(0.0, YEAR, lambda month: f"{month:g}", at=(0, 3, 6, 9, 12)),
            ChartAxis(0.0, top * 1.05, _short_money),
        )
    else:
        least = min(each[1] for line in drawn for each in line.points if each[1] > 0)
        low = _decade(min([max(least, top / 1e6), *(mark.y for mark in marks)]))
        # A week would touch the month where hours are shown, too.
        times = [each for each, words in _TIMES.items() if words != "1 week" or first > 0.01]
        x = ChartAxis(first, YEAR, _TIMES.__getitem__, logarithmic=True, at=times)
        y = ChartAxis(low, top * 1.5, _short_money, logarithmic=True)
    return draw_line_chart(drawn, x, y, label="US dollars spent in all, by months", marks=marks[:_MOST_MARKS])


def _paid_back(found: ComparisonBreakEven, options: Sequence[ServingCostOption]) -> list[ChartMark]:
    """Return marks for the crossings of two lines: there the higher start has paid back."""
    marks = []
    for one, other in combinations(options, 2):
        saved = other.monthly_cost(found.unit.stated).expected - one.monthly_cost(found.unit.stated).expected
        paid = one.training.expected - other.training.expected
        if saved == 0 or paid == 0 or paid / saved <= 0:
            continue
        time = paid / saved
        left = min(each.months_left if each.months_left is not None else YEAR for each in (one, other))
        if time <= min(left, YEAR):
            later, before = (one, other) if saved > 0 else (other, one)
            spent = one.training.expected + time * one.monthly_cost(found.unit.stated).expected
            marks.append(
                ChartMark(time, spent, f"after {compared_months(time)} {later.name} has cost less than {before.name}")
            )
    return sorted(marks, key=lambda mark: mark.x)


def chart_over_traffic(found: ComparisonBreakEven, options: Sequence[ServingCostOption]) -> Markup | None:
    """Return the chart of a month's cost by traffic, both logarithmic; cross-overs are marked. Returns None if there is
    no traffic, or nothing costs anything that is known."""
    stated = found.unit.stated
    if not stated:
        return None
    crossing = [each for each in found.cross_overs(list(options)) if each.at is not None][:_MOST_MARKS]
    places = [each.at for each in crossing if each.at is not None]
    low = min([stated * _LEAST_SCALE, *(each / 3 for each in places)])
    high = max([stated * _MOST_SCALE, *(each * 3 for each in places)])
    x = ChartAxis(low, high, compact, logarithmic=True)
    costs = [_curve(option.expected, low, high) for option in options]
    paid = [cost for curve in costs for _, cost in curve if cost > 0]
    if not paid:
        return None
    y = ChartAxis(_decade(max(min(paid), max(paid) / 1e6)), max(paid) * 1.5, _short_money, logarithmic=True)
    drawn = []
    for option, curve in zip(options, costs, strict=True):
        narrow = option.low == option.high
        band = () if narrow else _band(option, low, high)
        drawn.append(
            ChartLine(
                option.name, [each for each in curve if each[1] > 0] or [(low, y.low)], band, _steps(option, found)
            )
        )
    by_name = {option.name: option for option in options}
    marks = [
        ChartMark(each.at, by_name[each.second].expected.cost_at(each.at), cross_over_sentence(each, found.unit))
        for each in crossing
        if each.at is not None
    ]
    return draw_line_chart(
        drawn, x, y, label=f"US dollars a month by {found.unit.word}", marks=marks, here=(stated, "your traffic")
    )


def _steps(option: ServingCostOption, found: ComparisonBreakEven) -> str:
    cost = option.expected
    if not cost.step:
        return "in proportion to the traffic"
    if cost.capacity is None:
        return f"{money(cost.step)} a month; how much one replica bears is not known"
    return f"{money(cost.step)} a month for each {compact(cost.capacity)} {found.unit.word}"


def _curve(cost: TrafficCost, low: float, high: float) -> list[tuple[float, float]]:
    """Return points that show every step, if they are few enough to be seen."""
    places = [low * (high / low) ** (step / _POINTS) for step in range(_POINTS + 1)]
    if cost.capacity is not None and cost.step:
        last = min(floor(high / cost.capacity), _MOST_STEPS)
        for number in range(1, last + 1):
            edge = number * cost.capacity
            places += [edge, edge * (1 + 1e-9)] if edge >= low else []
    return [(place, cost.cost_at(place)) for place in sorted(each for each in places if low <= each <= high)]


def _band(option: ServingCostOption, low: float, high: float) -> list[tuple[float, float, float]]:
    places = [low * (high / low) ** (step / _POINTS) for step in range(_POINTS + 1)]
    return [(place, option.low.cost_at(place), option.high.cost_at(place)) for place in places]


def _decade(least: float) -> float:
    return float(10.0 ** floor(log10(least)))
