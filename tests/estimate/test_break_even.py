"""Break-even and cross-over, against every point that a brute force can look at."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from math import ceil, inf, nan

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuneport.errors import ConfigError
from tuneport.estimate.break_even import (
    MOST_PIECES,
    CostRange,
    ServingCostOption,
    TrafficCost,
    cheaper_stretches,
    cost_crossover,
    payback_time,
    payback_traffic,
)

amounts = st.integers(0, 40).map(lambda number: number / 4)
costs = st.builds(
    TrafficCost,
    fixed=amounts,
    per_unit=amounts,
    step=amounts,
    capacity=st.one_of(st.none(), st.integers(1, 40).map(lambda number: number / 4)),
)
MOST = 60


def brute(cost: TrafficCost, traffic: Fraction) -> Fraction:
    replicas = 1
    while cost.capacity is not None and replicas * Fraction(cost.capacity) < traffic:
        replicas += 1
    return Fraction(cost.fixed) + Fraction(cost.per_unit) * traffic + Fraction(cost.step) * replicas


def option(name: str, expected: TrafficCost, training: float = 0, **more: float) -> ServingCostOption:
    return ServingCostOption(name, expected, expected, expected, CostRange(training, training, training), **more)


@settings(deadline=None)
@given(costs, costs)
def test_the_stretches_are_what_brute_force_finds(first: TrafficCost, second: TrafficCost) -> None:
    found = cheaper_stretches(first, second, MOST)
    assert found[0].start == 0 and found[-1].end == MOST
    for before, after in pairwise(found):
        assert before.end == after.start and before.sign != after.sign
    for stretch in found:
        assert stretch.start < stretch.end
        width = stretch.end - stretch.start
        # Denominators that no step and no root has, so that no point lies on one.
        points = [stretch.start + width * Fraction(part, 1009) for part in range(1, 1009, 63)]
        points += [stretch.start + width / 1_000_003, stretch.end - width / 1_000_003]
        for point in points:
            difference = brute(first, point) - brute(second, point)
            assert (difference > 0) - (difference < 0) == stretch.sign, float(point)


@settings(deadline=None)
@given(costs, costs, st.integers(1, 240))
def test_no_change_of_places_is_missed(first: TrafficCost, second: TrafficCost, quarters: int) -> None:
    """The sign just above any quarter is that of its stretch: steps lie on quarters, so none hides between two."""
    point = Fraction(quarters - 1, 4) + Fraction(1, 1_000_003)
    stretch = next(each for each in cheaper_stretches(first, second, MOST) if each.start < point <= each.end)
    difference = brute(first, point) - brute(second, point)
    assert (difference > 0) - (difference < 0) == stretch.sign


@settings(deadline=None)
@given(costs, costs)
def test_who_is_first_makes_no_difference(first: TrafficCost, second: TrafficCost) -> None:
    turned = [(each.start, each.end, -each.sign) for each in cheaper_stretches(second, first, MOST)]
    assert [(each.start, each.end, each.sign) for each in cheaper_stretches(first, second, MOST)] == turned


@settings(deadline=None)
@given(costs, st.integers(0, 240))
def test_a_month_costs_what_the_formula_says(cost: TrafficCost, quarters: int) -> None:
    traffic = quarters / 4
    assert cost.cost_at(traffic) == float(brute(cost, Fraction(traffic)))
    assert cost.cost_at(traffic) <= cost.cost_at(traffic + 0.25)
    assert cost.replicas_at(traffic) == (1 if cost.capacity is None else max(1, ceil(traffic / cost.capacity)))


def test_an_endpoint_overtakes_tokens_and_loses_again_where_it_needs_a_second_replica() -> None:
    """$100 a replica of 150 requests, against $1 a request: cheaper from 100 to 150, then from 200 on."""
    tokens, endpoint = (
        option("tokens", TrafficCost(per_unit=1)),
        option("endpoint", TrafficCost(step=100, capacity=150)),
    )
    found = cost_crossover(tokens, endpoint, 1_000)
    assert (found.first, found.second) == ("tokens", "endpoint")
    assert (found.begins, found.at, found.until) == (100, 200, 1_000)
    assert [float(each.start) for each in cheaper_stretches(tokens.expected, endpoint.expected, 1_000)] == [
        0,
        100,
        150,
        200,
    ]
    assert cost_crossover(endpoint, tokens, 1_000) == found


def test_the_range_of_a_cross_over_holds_that_of_every_cost_within_the_ranges() -> None:
    tokens = ServingCostOption("tokens", TrafficCost(per_unit=0.8), TrafficCost(per_unit=1), TrafficCost(per_unit=1.25))
    endpoint = ServingCostOption("endpoint", TrafficCost(fixed=90), TrafficCost(fixed=100), TrafficCost(fixed=120))
    found = cost_crossover(endpoint, tokens, 1_000)
    assert (found.low, found.at, found.high) == (72, 100, 150)
    assert cost_crossover(tokens, endpoint, 140).high is None, "surely cheaper only above what was looked at"


def ranged(name: str, cost: TrafficCost, less: float, more: float) -> ServingCostOption:
    low = TrafficCost(cost.fixed * less, cost.per_unit * less, cost.step * less, cost.capacity)
    high = TrafficCost(cost.fixed * more, cost.per_unit * more, cost.step * more, cost.capacity)
    return ServingCostOption(name, low, cost, high)


shares = st.sampled_from([0.0, 0.25, 0.5, 1.0])


@settings(deadline=None)
@given(costs, costs, shares, shares)
def test_it_may_be_before_it_is_and_is_before_it_must_be(
    one: TrafficCost, other: TrafficCost, less: float, more: float
) -> None:
    found = cost_crossover(ranged("one", one, 1 - less, 1 + more), ranged("other", other, 1 - less, 1 + more), MOST)
    if found.begins is None:
        assert found.at is None and found.reason
        return
    assert found.low is not None and found.low <= found.begins
    if found.at is not None:
        assert found.begins <= found.at < found.until == MOST
        assert found.high is None or found.at <= found.high
        if less == more == 0:
            assert found.high == found.at
    else:
        assert found.reason and found.high is None


def test_why_none_overtakes() -> None:
    dear, cheap = option("dear", TrafficCost(per_unit=2)), option("cheap", TrafficCost(per_unit=1))
    found = cost_crossover(dear, cheap, 100)
    assert (found.first, found.at, found.low) == ("cheap", None, None)
    assert found.reason == "cheap costs less at any traffic in the range"
    assert cost_crossover(cheap, cheap, 100).reason == "both cost the same"
    # Both rise by 10 a step of 10: they change places for ever.
    stairs, line = option("stairs", TrafficCost(step=10, capacity=10)), option("line", TrafficCost(2.5, per_unit=1))
    assert cost_crossover(stairs, line, 95).reason == "the cheaper one changes with each replica"


def test_so_many_crossings_are_listed_and_no_more() -> None:
    found = cheaper_stretches(TrafficCost(step=1, capacity=1), TrafficCost(0.5, per_unit=1), 1e9)
    assert MOST_PIECES < found[-1].end < 2 * MOST_PIECES + 2
    # Where only the first steps matter, the others are not looked at: this would be 10**9 of them.
    (only,) = cheaper_stretches(TrafficCost(step=1, capacity=1), TrafficCost(10, per_unit=5), 1e9)
    assert only.sign == -1 and only.end == 10**9


def test_training_is_paid_back_in_months() -> None:
    tuned = option("tuned", TrafficCost(fixed=20), training=90)
    base = option("base", TrafficCost(per_unit=0.5))
    assert payback_time(tuned, base, 100).months == 3
    assert payback_time(tuned, base, 40).never == "it costs the same each month"
    assert payback_time(tuned, base, 20).never == "it costs $10.00 a month more"
    ending = option("tuned", TrafficCost(fixed=20), training=90, months_left=1.5)
    assert payback_time(ending, base, 100).never == "it would take 3.0 months, and it shuts down in 1.5"
    assert payback_time(ending, base, 200).months == pytest.approx(1.125)
    assert payback_time(option("free", TrafficCost(fixed=20)), base, 100).months == 0


def test_the_range_of_the_months() -> None:
    tuned = ServingCostOption("tuned", TrafficCost(10), TrafficCost(20), TrafficCost(60), CostRange(80, 90, 100))
    found = payback_time(tuned, option("base", TrafficCost(fixed=50)), 1)
    assert (found.low, found.months, found.high) == (2, 3, None)


@settings(deadline=None)
@given(costs, costs, amounts, st.integers(1, 240))
def test_after_the_payback_less_was_spent_and_not_before(
    tuned: TrafficCost, base: TrafficCost, training: float, quarters: int
) -> None:
    traffic = Fraction(quarters, 4)
    found = payback_time(option("tuned", tuned, training), option("base", base), float(traffic))
    for months in (0.5, 1, 2, 7, 31, 500):
        spent = Fraction(training) + Fraction(months) * brute(tuned, traffic)
        kept = Fraction(months) * brute(base, traffic)
        if found.months is None or months < found.months * (1 - 1e-12):
            assert (
                spent > kept
                or (training == 0 and found.months is None)
                or brute(tuned, traffic) == brute(base, traffic)
            )
        elif months > found.months * (1 + 1e-12):
            assert spent <= kept


def test_the_traffic_from_which_training_pays_within_a_year() -> None:
    tuned, base = option("tuned", TrafficCost(per_unit=0.25), training=120), option("base", TrafficCost(per_unit=0.5))
    start = payback_traffic(tuned, base, 12, 1_000)
    assert start == 40
    assert payback_time(tuned, base, start).months == 12
    assert payback_traffic(tuned, base, 12, 39) is None


@pytest.mark.parametrize(
    "values", [{"fixed": -1}, {"per_unit": nan}, {"step": inf}, {"capacity": 0}, {"capacity": nan}]
)
def test_mistakes_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(values))):
        TrafficCost(**values)
    with pytest.raises(ConfigError):
        CostRange(2, 1, 3)
