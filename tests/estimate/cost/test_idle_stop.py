"""A machine that stops when idle: its share of the month against a simulation of requests, and what that costs."""

from __future__ import annotations

import random

import pytest

from tuneport.estimate.cost import HOURS_PER_MONTH, OwnGPUCost, Traffic, inference_quote, quote_stopped_when_idle
from tuneport.estimate.cost.idle_stop import WORKING_SHARE, uptime_share
from tuneport.manifests import find_manifest_model, load_gpus, load_manifest

LOCAL, TOGETHER = load_manifest("local"), load_manifest("together")
LLAMA = next(model for model in TOGETHER.models if model.id == "meta-llama/Meta-Llama-3.1-8B-Instruct-Reference")


def simulated_share(requests: int, idle_hours: float) -> float:
    """Draw a month of requests, and add up how long the machine is up after each of them."""
    draw = random.Random(f"{requests} {idle_hours}")
    moments = sorted(draw.uniform(0, HOURS_PER_MONTH) for _ in range(requests))
    gaps = [later - earlier for earlier, later in zip(moments, [*moments[1:], HOURS_PER_MONTH], strict=True)]
    return sum(min(gap, idle_hours) for gap in gaps) / HOURS_PER_MONTH


@pytest.mark.parametrize("requests", [200, 1_000, 5_000, 50_000])
@pytest.mark.parametrize("minutes", [1, 30])
def test_the_share_is_that_of_a_simulated_month(requests: int, minutes: int) -> None:
    share = uptime_share(Traffic.of_requests(requests, 400, 80), minutes / 60)
    assert share == pytest.approx(simulated_share(requests, minutes / 60), rel=0.05)


def test_requests_that_come_together_leave_it_more_idle() -> None:
    traffic = Traffic.of_requests(1_000, 400, 80)
    assert uptime_share(traffic, 0.5, spread=WORKING_SHARE) < uptime_share(traffic, 0.5)
    assert uptime_share(Traffic.of_requests(10**9, 400, 80), 0.5, spread=WORKING_SHARE) == pytest.approx(WORKING_SHARE)


def test_it_is_cheaper_with_few_requests_and_no_form_of_its_own_with_many() -> None:
    few, many = (Traffic.of_requests(count, 400, 80) for count in (500, 25_000))
    always = inference_quote(TOGETHER, LLAMA, few)
    quote = quote_stopped_when_idle(always, few)
    assert quote is not None and quote.stops_when_idle and quote.serving.endswith("stopped when idle")
    assert always.expected is not None and quote.expected == pytest.approx(always.expected * uptime_share(few, 0.5))
    assert quote.low is not None and quote.high is not None and quote.low < (quote.expected or 0) <= quote.high
    assert "after 30 minutes without a request" in quote.explanation
    assert quote_stopped_when_idle(inference_quote(TOGETHER, LLAMA, many), many) is None, "it would be up all the time"
    assert quote_stopped_when_idle(inference_quote(TOGETHER, LLAMA, Traffic(0, 0)), Traffic(0, 0)) is None


def test_a_serverless_card_stops_after_a_minute_and_a_rented_one_never() -> None:
    card, traffic = load_gpus().find("L4"), Traffic.of_requests(5_000, 400, 80)
    by_kind = {offer.kind: offer for offer in card.offers}
    model = find_manifest_model(LOCAL, "llama-3.1-8b-instruct")
    assert model is not None
    serverless = inference_quote(LOCAL, model, traffic, own=OwnGPUCost(card, offer=by_kind["serverless"]))
    quote = quote_stopped_when_idle(serverless, traffic)
    assert quote is not None and quote.expected is not None and serverless.expected is not None
    assert 0.05 < quote.expected / serverless.expected < 0.2
    rented = inference_quote(LOCAL, model, traffic, own=OwnGPUCost(card, offer=by_kind["on demand"]))
    assert quote_stopped_when_idle(rented, traffic) is None
