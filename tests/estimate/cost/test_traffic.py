"""A month's traffic: what cannot be is refused, and the cost of it is a line or a staircase."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuneport.errors import ConfigError
from tuneport.estimate.cost import MonthlyCost, Traffic


def test_requests_times_tokens() -> None:
    traffic = Traffic.of_requests(25_000, 400, 80)
    assert (traffic.input_tokens, traffic.output_tokens, traffic.requests) == (10_000_000, 2_000_000, 25_000)
    assert (traffic.tokens_in_per_request, traffic.tokens_out_per_request) == (400, 80)


def test_what_is_left_out_is_that_of_the_stated_requests() -> None:
    long = Traffic.stated(requests=2_000_000, input_tokens=3_000_000_000)
    assert (long.tokens_in_per_request, long.tokens_out_per_request) == (1_500, 80)
    wordy = Traffic.stated(requests=1_000, output_tokens=1_000_000)
    assert (wordy.tokens_in_per_request, wordy.tokens_out_per_request) == (400, 1_000)
    unsaid = Traffic.stated(output_tokens=4_000_000)
    assert (unsaid.input_tokens, unsaid.output_tokens) == (10_000_000, 4_000_000)
    assert Traffic.stated(requests=0, input_tokens=0).output_tokens == 0


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Traffic(1, 1, 7.0), "30 % is 0.3"),
        (lambda: Traffic(1, 1, batch_share=30), "30 % is 0.3"),
        (lambda: Traffic(1, 1, float("nan")), "cached_share"),
        (lambda: Traffic(-1, 1), "input_tokens is -1"),
        (lambda: Traffic.of_requests(-5, 400, 80), "requests is -5"),
        (lambda: Traffic.of_requests(25_000, 400_000_000, 80), "not of the month"),
        (lambda: Traffic(10**12, 0, requests=10), "not of the month"),
        (lambda: Traffic(10**6, 0, saved_per_request=100), "give requests too"),
        (lambda: Traffic.of_requests(1_000, 400, 80, saved_per_request=401), "more than the prompt has"),
    ],
)
def test_mistaken_units_are_told(make: object, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make()  # type: ignore[operator]


def test_a_tuned_model_is_sent_less_and_the_cache_loses_it_first() -> None:
    today = Traffic.of_requests(1_000, 1_000, 50, cached_share=0.8, saved_per_request=700)
    tuned = today.tuned()
    assert tuned.input_tokens == 300_000 and tuned.output_tokens == today.output_tokens
    assert tuned.cached_share * tuned.input_tokens == pytest.approx(100_000)  # of 800,000 cached, 700,000 are gone
    assert Traffic.of_requests(1_000, 1_000, 50, cached_share=0.5, saved_per_request=700).tuned().cached_share == 0
    assert Traffic(10, 10, 0.5).tuned().cached_share == 0.5


def test_a_line_and_a_staircase() -> None:
    line = MonthlyCost(growing=12.0)
    assert [line.at(scale) for scale in (0, 0.5, 1, 3)] == [0, 6, 12, 36] and line.fixed() == 0
    stairs = MonthlyCost(machine=100.0, load=0.4)
    assert [stairs.machines(scale) for scale in (0, 1, 2.5, 2.6, 5, 5.1)] == [1, 1, 1, 2, 2, 3]
    assert stairs.at(2.6) == stairs.fixed(2.6) == 200
    assert MonthlyCost(machine=100.0).at(1e9) == 100  # the load is not known


@settings(deadline=None)
@given(
    st.floats(0, 1e6), st.floats(0, 1e5), st.one_of(st.none(), st.floats(0, 1e3)), st.floats(0, 100), st.floats(0, 100)
)
def test_more_traffic_never_costs_less(
    growing: float, machine: float, load: float | None, one: float, other: float
) -> None:
    cost = MonthlyCost(growing=growing, machine=machine, load=load)
    less, more = sorted((one, other))
    assert 0 <= cost.fixed(less) <= cost.at(less) <= cost.at(more)
