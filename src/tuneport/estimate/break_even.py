"""When training is paid back, and at which traffic one option overtakes another. Pure, and exact: in fractions.

A month of an option costs, at a traffic of x (requests, or tokens: one unit for all that are compared),

    fixed + per_unit * x + step * max(1, ceil(x / capacity))

`step` is what one replica costs a month and `capacity` the traffic that one bears: an endpoint that is always up costs
one step with no traffic, too, and a second one from the first request that is too many for the first.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from math import ceil, floor, isfinite

from tuneport.errors import ConfigError

MOST_PIECES = 5_000
"""Two staircases that rise almost alike cross at each step: so many are looked at, and `until` says how far."""


@dataclass(frozen=True)
class MonthlyCost:
    """US dollars a month, by traffic; see the formula above. `capacity` None: one step bears any traffic.

    ConfigError for what is negative or not finite, and for a capacity of 0.
    """

    fixed: float = 0.0
    per_unit: float = 0.0
    step: float = 0.0
    capacity: float | None = None

    def __post_init__(self) -> None:
        for name in ("fixed", "per_unit", "step"):
            value = getattr(self, name)
            if not isfinite(value) or value < 0:
                raise ConfigError(f"a month's cost has {name} = {value}; it is $0 or more")
        if self.capacity is not None and not (isfinite(self.capacity) and self.capacity > 0):
            raise ConfigError(f"a month's cost has capacity = {self.capacity}; it is more than 0, or unknown")

    def at(self, traffic: float) -> float:
        return float(self.exactly(Fraction(traffic)))

    def exactly(self, traffic: Fraction) -> Fraction:
        steps = 1 if self.capacity is None else max(1, ceil(traffic / Fraction(self.capacity)))
        return Fraction(self.fixed) + Fraction(self.per_unit) * traffic + Fraction(self.step) * steps

    def steps(self, traffic: float) -> int:
        """How many replicas bear the traffic."""
        return 1 if self.capacity is None else max(1, ceil(Fraction(traffic) / Fraction(self.capacity)))


@dataclass(frozen=True)
class Span:
    """US dollars: at least, expected, at most. ConfigError where they are not in this order."""

    low: float
    expected: float
    high: float

    def __post_init__(self) -> None:
        if not self.low <= self.expected <= self.high:
            raise ConfigError(f"{self.low:g} <= {self.expected:g} <= {self.high:g} does not hold")

    def __sub__(self, other: Span) -> Span:
        """The least that the difference can be, what is expected, and the most."""
        return Span(self.low - other.high, self.expected - other.expected, self.high - other.low)


@dataclass(frozen=True)
class Option:
    """One way to get the answers: what it costs once, and each month at least, as expected, at most.

    It ends after `months_left` months, where a last day is known.
    """

    name: str
    low: MonthlyCost
    expected: MonthlyCost
    high: MonthlyCost
    training: Span = Span(0.0, 0.0, 0.0)
    months_left: float | None = None

    def month(self, traffic: float) -> Span:
        low, expected, high = (cost.at(traffic) for cost in (self.low, self.expected, self.high))
        return Span(min(low, expected), expected, max(high, expected))


@dataclass(frozen=True)
class Stretch:
    """Traffic above `start` and up to `end`; `sign` -1: the first costs less there, 1: the second, 0: both the same."""

    start: Fraction
    end: Fraction
    sign: int


def stretches(first: MonthlyCost, second: MonthlyCost, most: float) -> list[Stretch]:
    """Who is cheaper where, for traffic above 0 and up to `most`: neighbours differ, nothing is left out.

    The last one ends before `most` only where the two cross too often to be listed (`MOST_PIECES`).
    """
    end = Fraction(most)
    low, high = _undecided(first, second, end)
    found: list[Stretch] = []
    for start, stop in pairwise(_edges(first, second, low, high, end)):
        middle = (start + stop) / 2
        at_middle, at_stop = _difference(first, second, middle), _difference(first, second, stop)
        # Both are straight lines within a piece, so its middle and its end give the whole of it. They jump just above
        # `start`, so that what they cost at `start` itself belongs to the piece before.
        at_start = 2 * at_middle - at_stop
        if stop <= low or start >= high:
            _append(found, start, stop, at_middle)
        elif at_start * at_stop < 0:
            root = start + (stop - start) * at_start / (at_start - at_stop)
            _append(found, start, root, at_start)
            _append(found, root, stop, at_stop)
        else:
            _append(found, start, stop, at_middle)
    return found


def _append(found: list[Stretch], start: Fraction, end: Fraction, difference: Fraction) -> None:
    sign = (difference > 0) - (difference < 0)
    if found and found[-1].sign == sign:
        found[-1] = replace(found[-1], end=end)
    else:
        found.append(Stretch(start, end, sign))


def _difference(first: MonthlyCost, second: MonthlyCost, traffic: Fraction) -> Fraction:
    return first.exactly(traffic) - second.exactly(traffic)


def _undecided(first: MonthlyCost, second: MonthlyCost, most: Fraction) -> tuple[Fraction, Fraction]:
    """From where to where the steps can matter to who is cheaper.

    A staircase lies between two lines that are a step apart. Where these bands do not overlap, the sign is settled.
    """
    slope, base = _slope(first) - _slope(second), _base(first) - _base(second)
    up = Fraction(first.step) if first.capacity is not None else Fraction(0)
    down = Fraction(second.step) if second.capacity is not None else Fraction(0)
    # The difference is at least base + slope * x - down, and at most base + slope * x + up.
    if not slope:
        return Fraction(0), most if -up <= base <= down else Fraction(0)
    nearer, farther = sorted(((down - base) / slope, (-up - base) / slope))
    return max(Fraction(0), min(nearer, most)), min(most, max(farther, Fraction(0)))


def _edges(first: MonthlyCost, second: MonthlyCost, low: Fraction, high: Fraction, most: Fraction) -> list[Fraction]:
    """Traffics between which both are straight lines, or the sign is settled."""
    edges = {Fraction(0), low, high, most}
    last = most
    for cost in (first, second):
        if cost.capacity is None or not cost.step or low >= high:
            continue
        capacity = Fraction(cost.capacity)
        start, stop = floor(low / capacity) + 1, ceil(high / capacity) - 1
        if stop - start > MOST_PIECES:
            stop = start + MOST_PIECES
            last = min(last, stop * capacity)
        edges |= {number * capacity for number in range(start, stop + 1)}
    return sorted(edge for edge in edges | {last} if edge <= last)


def _slope(cost: MonthlyCost) -> Fraction:
    per_unit = Fraction(cost.per_unit)
    return per_unit if cost.capacity is None else per_unit + Fraction(cost.step) / Fraction(cost.capacity)


def _base(cost: MonthlyCost) -> Fraction:
    return Fraction(cost.fixed) + (Fraction(cost.step) if cost.capacity is None else 0)


@dataclass(frozen=True)
class Overtaking:
    """`second` overtakes `first`, which is the cheaper of the two at the least traffic.

    In units a month: `second` may be cheaper above `low` (None: at no traffic looked at), is expected to be, for good,
    above `at`, and is surely cheaper above `high`. `from_` is where it is cheaper for the first time: below `at` where
    the steps of a replica make them change places more than once. `until`: so far was looked. `reason` says why there
    is no `at`.
    """

    first: str
    second: str
    from_: float | None
    low: float | None
    at: float | None
    high: float | None
    until: float
    reason: str = ""


def overtaking(one: Option, other: Option, most: float) -> Overtaking:
    """At which traffic, up to `most`, one of two options overtakes the other by its monthly costs."""
    found = stretches(one.expected, other.expected, most)
    first, second = (one, other) if next((each.sign for each in found if each.sign), -1) < 0 else (other, one)
    found = stretches(first.expected, second.expected, most)
    until = float(found[-1].end)
    # The least traffic at which it can be true, and the most above which it cannot be otherwise.
    possible = next((each for each in stretches(first.high, second.low, most) if each.sign > 0), None)
    sure = stretches(first.low, second.high, most)
    low = None if possible is None else float(possible.start)
    high = float(sure[-1].start) if sure[-1].sign > 0 else None
    wins = [each for each in found if each.sign > 0]
    if not wins:
        same = all(each.sign == 0 for each in found)
        reason = "both cost the same" if same else f"{first.name} costs less at every traffic that was looked at"
        return Overtaking(first.name, second.name, None, low, None, None, until, reason)
    start = float(wins[0].start)
    if found[-1].sign <= 0:
        reason = "they change places with each replica; neither stays the cheaper one"
        return Overtaking(first.name, second.name, start, low, None, None, until, reason)
    return Overtaking(first.name, second.name, start, low, float(found[-1].start), high, until)


@dataclass(frozen=True)
class Payback:
    """Months until what was paid once has come back. None is never, for the reason that `never` gives.

    `low` and `high` are the least and the most that the ranges of the costs allow; None is never, too.
    """

    months: float | None
    low: float | None
    high: float | None
    never: str = ""


def payback(option: Option, instead_of: Option, traffic: float) -> Payback:
    """Months until the training of `option` is paid back by what it saves a month instead of `instead_of`.

    What `instead_of` costs once is counted as saved.
    """
    paid = option.training - instead_of.training
    saved = instead_of.month(traffic) - option.month(traffic)
    left = option.months_left
    months = _months(paid.expected, saved.expected, left)
    low, high = _months(paid.low, saved.high, left), _months(paid.high, saved.low, left)
    if months is not None:
        return Payback(months, low, high)
    if saved.expected < 0:
        never = f"it costs ${-saved.expected:,.2f} a month more than {instead_of.name}"
    elif saved.expected == 0:
        never = f"it costs as much a month as {instead_of.name}"
    else:
        needed = paid.expected / saved.expected
        never = f"it would take {needed:,.1f} months, and its last day comes in {max(0.0, left or 0.0):,.1f}"
    return Payback(None, low, None, never)


def _months(paid: float, saved: float, left: float | None) -> float | None:
    if paid <= 0:
        return 0.0 if saved >= 0 else None
    months = paid / saved if saved > 0 else None
    return months if months is not None and (left is None or months <= left) else None


def pays_back_from(option: Option, instead_of: Option, months: float, most: float) -> float | None:
    """The least traffic from which training is paid back within so many months, for good; None: not up to `most`."""
    paid = option.training.expected - instead_of.training.expected
    bearing = replace(option.expected, fixed=option.expected.fixed + max(0.0, paid) / months)
    found = stretches(bearing, instead_of.expected, most)
    return float(found[-1].start) if found[-1].sign < 0 else None
