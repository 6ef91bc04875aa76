"""The time until training is paid back, and the traffic at which one option becomes cheaper than another. Pure, and
exact.

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
from tuneport.formatting import money

MOST_PIECES = 5_000
"""Two staircases that rise almost alike cross at each step: so many are looked at, and `until` says how far."""


@dataclass(frozen=True)
class TrafficCost:
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

    def cost_at(self, traffic: float) -> float:
        return self.fixed + self.per_unit * traffic + self.step * self.replicas_at(traffic)

    def replicas_at(self, traffic: float) -> int:
        """Return how many replicas serve the traffic."""
        return 1 if self.capacity is None else max(1, ceil(Fraction(traffic) / Fraction(self.capacity)))


@dataclass(frozen=True)
class CostRange:
    """US dollars: at least, expected, at most. Raises ConfigError if they are not in this order."""

    low: float
    expected: float
    high: float

    def __post_init__(self) -> None:
        if not self.low <= self.expected <= self.high:
            raise ConfigError(f"{self.low:g} <= {self.expected:g} <= {self.high:g} does not hold")

    def __sub__(self, other: CostRange) -> CostRange:
        """Return the difference as low, expected and high."""
        return CostRange(self.low - other.high, self.expected - other.expected, self.high - other.low)


@dataclass(frozen=True)
class ServingCostOption:
    """One way to get the answers: what it costs once, and each month at least, as expected, at most.

    It ends after `months_left` months, if it is known to shut down.
    """

    name: str
    low: TrafficCost
    expected: TrafficCost
    high: TrafficCost
    training: CostRange = CostRange(0.0, 0.0, 0.0)
    months_left: float | None = None

    def monthly_cost(self, traffic: float) -> CostRange:
        low, expected, high = (cost.cost_at(traffic) for cost in (self.low, self.expected, self.high))
        return CostRange(min(low, expected), expected, max(high, expected))


@dataclass(frozen=True)
class TrafficStretch:
    """Traffic above `start` and up to `end`; `sign` -1: the first costs less there, 1: the second, 0: both the same."""

    start: Fraction
    end: Fraction
    sign: int


def cheaper_stretches(first: TrafficCost, second: TrafficCost, most: float) -> list[TrafficStretch]:
    """Return which option is cheaper on each stretch of traffic above 0 and up to `most`.

    Neighbours differ and nothing is left out. The last stretch ends before `most` only if the two options cross too
    often to be listed (`MOST_PIECES`).
    """
    one, other, end, scale = _whole_numbers(first, second, most)
    low, high = _undecided(one, other, end)
    found: list[TrafficStretch] = []
    for start, stop in pairwise(_edges(one, other, low, high, end)):
        middle = (start + stop) // 2  # all edges are even
        at_middle, at_stop = one.cost_at(middle) - other.cost_at(middle), one.cost_at(stop) - other.cost_at(stop)
        # Both are straight lines within a piece, so its middle and its end give the whole of it. They jump just above
        # `start`, so that what they cost at `start` itself belongs to the piece before.
        at_start = 2 * at_middle - at_stop
        if low < stop and start < high and at_start * at_stop < 0:
            root = start + Fraction((stop - start) * at_start, at_start - at_stop)
            _append(found, start, root, at_start)
            _append(found, root, stop, at_stop)
        else:
            _append(found, start, stop, at_middle)
    return [TrafficStretch(each.start / scale, each.end / scale, each.sign) for each in found]


def _append(found: list[TrafficStretch], start: int | Fraction, end: int | Fraction, difference: int) -> None:
    sign = (difference > 0) - (difference < 0)
    if found and found[-1].sign == sign:
        start = found.pop().start
    found.append(TrafficStretch(Fraction(start), Fraction(end), sign))


@dataclass(frozen=True)
class _IntegerTrafficCost:
    """A `TrafficCost` in whole numbers, which floating point numbers are but for a power of two. `growth` is the mean
    rise by traffic, `base` what stands before it: the staircase lies between that line and a line one `stair` above."""

    fixed: int
    per_unit: int
    step: int
    capacity: int | None

    def cost_at(self, traffic: int) -> int:
        steps = 1 if self.capacity is None else max(1, -(-traffic // self.capacity))
        return self.fixed + self.per_unit * traffic + self.step * steps

    @property
    def growth(self) -> Fraction:
        return self.per_unit + (Fraction(0) if self.capacity is None else Fraction(self.step, self.capacity))

    @property
    def base(self) -> int:
        return self.fixed + (self.step if self.capacity is None else 0)

    @property
    def stair(self) -> int:
        return 0 if self.capacity is None else self.step


def _whole_numbers(
    first: TrafficCost, second: TrafficCost, most: float
) -> tuple[_IntegerTrafficCost, _IntegerTrafficCost, int, int]:
    """Return both costs and `most`, with all traffic times the last number, which makes every capacity whole."""
    costs = (first, second)
    traffics = [Fraction(each) for each in (most, first.capacity, second.capacity) if each is not None]
    dollars = [Fraction(each) for cost in costs for each in (cost.fixed, cost.per_unit, cost.step)]
    by, of = 2 * max(each.denominator for each in traffics), max(each.denominator for each in dollars)
    one, other = (
        _IntegerTrafficCost(
            int(Fraction(cost.fixed) * of * by),
            int(Fraction(cost.per_unit) * of),
            int(Fraction(cost.step) * of * by),
            None if cost.capacity is None else int(Fraction(cost.capacity) * by),
        )
        for cost in costs
    )
    return one, other, int(Fraction(most) * by), by


def _undecided(first: _IntegerTrafficCost, second: _IntegerTrafficCost, most: int) -> tuple[int, int]:
    """Return the range of traffic in which steps can decide which option is cheaper: the bands of both overlap
    there."""
    growth, base = first.growth - second.growth, first.base - second.base
    # The difference is at least base + growth * x - second.stair, and at most base + growth * x + first.stair.
    if not growth:
        return 0, most if -first.stair <= base <= second.stair else 0
    nearer, farther = sorted(((second.stair - base) / growth, (-first.stair - base) / growth))
    return max(0, min(floor(nearer / 2) * 2, most)), min(most, max(ceil(farther / 2) * 2, 0))


def _edges(first: _IntegerTrafficCost, second: _IntegerTrafficCost, low: int, high: int, most: int) -> list[int]:
    """Return the traffic between which both costs are straight lines, or the cheaper option is settled."""
    edges = {0, low, high, most}
    last = most
    for cost in (first, second):
        if cost.capacity is None or not cost.step or low >= high:
            continue
        start, stop = low // cost.capacity + 1, -(-high // cost.capacity) - 1
        if stop - start > MOST_PIECES:
            stop = start + MOST_PIECES
            last = min(last, stop * cost.capacity)
        edges |= {number * cost.capacity for number in range(start, stop + 1)}
    return sorted(edge for edge in edges | {last} if edge <= last)


@dataclass(frozen=True)
class CostCrossover:
    """`second` overtakes `first`, which is the cheaper of the two at the least traffic.

    In units a month: `second` may be cheaper above `low`, is expected to be, for good, above `at`, and is surely
    cheaper above `high` (None: above no traffic that was looked at). It `begins` to be cheaper below `at` where the
    steps of a replica make them change places more than once. `until`: so far was looked. `reason` says why there is
    no `at`.
    """

    first: str
    second: str
    begins: float | None
    low: float | None
    at: float | None
    high: float | None
    until: float
    reason: str = ""


def cost_crossover(one: ServingCostOption, other: ServingCostOption, most: float) -> CostCrossover:
    """Return the traffic, up to `most`, at which one of two options becomes cheaper than the other each month."""
    found = cheaper_stretches(one.expected, other.expected, most)
    first, second = one, other
    if next((each.sign for each in found if each.sign), -1) > 0:
        first, second = other, one
        found = [replace(each, sign=-each.sign) for each in found]
    until = float(found[-1].end)
    wins = [each for each in found if each.sign > 0]
    if not wins:
        same = all(each.sign == 0 for each in found)
        reason = "both cost the same" if same else f"{first.name} costs less at any traffic in the range"
        return CostCrossover(first.name, second.name, None, None, None, None, until, reason)
    # The least traffic at which it can be true.
    possible = next((each for each in cheaper_stretches(first.high, second.low, most) if each.sign > 0), wins[0])
    start, low = float(wins[0].start), float(possible.start)
    if found[-1].sign <= 0:
        reason = "the cheaper one changes with each replica"
        return CostCrossover(first.name, second.name, start, low, None, None, until, reason)
    # The most above which it cannot be otherwise.
    sure = cheaper_stretches(first.low, second.high, most)[-1]
    high = float(sure.start) if sure.sign > 0 and sure.end >= found[-1].end else None
    return CostCrossover(first.name, second.name, start, low, float(found[-1].start), high, until)


@dataclass(frozen=True)
class Payback:
    """Months until what was paid once has come back. None is never, for the reason that `never` gives.

    `low` and `high` are the least and the most that the ranges of the costs allow; None is never, too.
    """

    months: float | None
    low: float | None
    high: float | None
    never: str = ""


def payback_time(option: ServingCostOption, instead_of: ServingCostOption, traffic: float) -> Payback:
    """Return the months until the training of `option` is paid back by its monthly savings over `instead_of`.

    One-time costs of `instead_of` count as saved.
    """
    paid = option.training - instead_of.training
    saved = instead_of.monthly_cost(traffic) - option.monthly_cost(traffic)
    left = option.months_left
    months = _months(paid.expected, saved.expected, left)
    low, high = _months(paid.low, saved.high, left), _months(paid.high, saved.low, left)
    if months is not None:
        return Payback(months, low, high)
    if saved.expected < 0:
        more = -saved.expected
        never = f"it costs {money(more)} a month more" if more >= 0.005 else "it costs a little more a month"
    elif saved.expected == 0:
        never = "it costs the same each month"
    else:
        needed = paid.expected / saved.expected
        never = f"it would take {needed:,.1f} months, and it shuts down in {max(0.0, left or 0.0):,.1f}"
    return Payback(None, low, None, never)


def _months(paid: float, saved: float, left: float | None) -> float | None:
    if paid <= 0:
        return 0.0 if saved >= 0 else None
    months = paid / saved if saved > 0 else None
    return months if months is not None and (left is None or months <= left) else None


def payback_traffic(
    option: ServingCostOption, instead_of: ServingCostOption, months: float, most: float
) -> float | None:
    """Return the least traffic from which training is paid back within `months`, or None if it is not up to `most`."""
    paid = option.training.expected - instead_of.training.expected
    bearing = replace(option.expected, fixed=option.expected.fixed + max(0.0, paid) / months)
    found = cheaper_stretches(bearing, instead_of.expected, most)
    return float(found[-1].start) if found[-1].sign < 0 else None
