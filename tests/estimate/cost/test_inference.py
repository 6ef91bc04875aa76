"""A month of inference: by the token, from endpoints, from one's own GPU, and from the base model."""

from __future__ import annotations

from datetime import date

import pytest

from tuneport.errors import ConfigError
from tuneport.estimate.cost import HOURS_PER_MONTH, OwnGPUCost, Traffic, base_inference_quote, inference_quote
from tuneport.manifests import (
    BasePriceManifest,
    Manifest,
    OfferedModel,
    find_manifest_model,
    load_base_price_manifest,
    load_gpus,
    load_manifest,
)

OPENAI, TOGETHER, LOCAL = (load_manifest(name) for name in ("openai", "together", "local"))
LLAMA = "meta-llama/Meta-Llama-3.1-8B-Instruct-Reference"
H100 = load_gpus().find("H100 SXM")
TODAY = date(2026, 11, 26)


def model(manifest: Manifest, model_id: str) -> OfferedModel:
    found = find_manifest_model(manifest, model_id)
    assert found is not None
    return found


def test_batches_and_caches_are_not_discounted_twice() -> None:
    mini = model(OPENAI, "gpt-4.1-mini-2025-04-14")
    quote = inference_quote(OPENAI, mini, Traffic(10_000_000, 2_000_000, cached_share=0.5, batch_share=0.4))
    at_once = 6 * (0.5 * 0.80 + 0.5 * 0.20) + 1.2 * 3.20
    assert quote.expected == pytest.approx(at_once + 4 * 0.40 + 0.8 * 1.60)
    assert quote.parts is not None and quote.parts.growing == quote.expected and quote.parts.fixed() == 0
    assert quote.at(3) == pytest.approx(3 * (quote.expected or 0))


def test_without_a_price_for_them_cached_and_batched_tokens_cost_in_full_and_the_quote_says_so() -> None:
    old = model(OPENAI, "gpt-3.5-turbo-1106")
    quote = inference_quote(OPENAI, old, Traffic(10**6, 0, cached_share=0.5, batch_share=0.5))
    assert quote.expected == pytest.approx(3.00)
    assert "no price of cached tokens and batches is known" in quote.explanation


def test_a_shorter_prompt_saves_what_the_long_one_would_have_cost_here() -> None:
    mini = model(OPENAI, "gpt-4.1-mini-2025-04-14")
    traffic = Traffic.of_requests(100_000, 1_500, 100, saved_per_request=1_200)
    quote = inference_quote(OPENAI, mini, traffic)
    assert quote.expected == pytest.approx(100_000 * (300 * 0.80 + 100 * 3.20) / 1e6)
    assert quote.prompt_saving == pytest.approx(100_000 * 1_200 * 0.80 / 1e6)
    cached = Traffic.of_requests(100_000, 1_500, 100, cached_share=0.8, saved_per_request=1_200)
    assert inference_quote(OPENAI, mini, cached).prompt_saving == pytest.approx(100_000 * 1_200 * 0.20 / 1e6)
    assert inference_quote(OPENAI, mini, Traffic(10**6, 10**6)).prompt_saving is None


def test_endpoints_multiply_with_the_traffic() -> None:
    llama = model(TOGETHER, LLAMA)
    idle, busy = (inference_quote(TOGETHER, llama, Traffic.of_requests(n, 1_000, 300)) for n in (0, 100_000_000))
    assert idle.expected == pytest.approx(3.99 * HOURS_PER_MONTH) and idle.high == pytest.approx(5.49 * HOURS_PER_MONTH)
    assert busy.parts is not None and busy.parts.load is not None and busy.parts.load > 2
    assert busy.expected == pytest.approx(busy.parts.machines() * busy.parts.machine)
    assert busy.low is not None and busy.high is not None and busy.low < (busy.expected or 0) < busy.high
    assert "replicas: about" in busy.explanation and "by one" in busy.explanation
    assert busy.at(0.01) == pytest.approx(busy.parts.machine)


def test_a_gpu_that_is_owned_or_rented_costs_its_hours() -> None:
    smol = model(LOCAL, "llama-3.1-8b-instruct")
    traffic = Traffic.of_requests(100_000, 400, 80)
    own = inference_quote(LOCAL, smol, traffic, own=OwnGPUCost(gpu=H100, usd_per_hour=1.20))
    assert own.expected == own.low == pytest.approx(1.20 * HOURS_PER_MONTH) and own.as_of is None
    offer = H100.cheapest("Lambda")
    assert offer is not None
    rented = inference_quote(LOCAL, smol, traffic, own=OwnGPUCost(gpu=H100, offer=offer))
    assert rented.expected == pytest.approx(3.99 * HOURS_PER_MONTH) and rented.as_of == offer.as_of
    assert rented.low == rented.expected and rented.serving == "Lambda's H100 SXM, always up" and rented.offer == offer
    slow = OwnGPUCost(gpu=H100, usd_per_hour=1.20, tokens_per_second=3)
    measured = inference_quote(LOCAL, smol, traffic, own=slow)
    assert measured.expected == pytest.approx(4 * 1.20 * HOURS_PER_MONTH)  # 3.04 tokens/s, three times in busy hours
    assert "3 tokens/s, as given" in measured.explanation


def test_ones_own_machine_without_a_price_costs_nothing() -> None:
    quote = inference_quote(LOCAL, model(LOCAL, "smollm2-135m-instruct"), Traffic(10**6, 10**6))
    assert quote.expected == 0 and quote.explanation == "your own machine; electricity not counted"


def test_a_machine_of_which_nobody_knows_what_it_serves_has_no_monthly_price() -> None:
    """One machine at $2 would seem to answer any traffic, and so to be the cheapest from some traffic on."""
    qwen, unknown = model(LOCAL, "qwen3-8b"), OwnGPUCost(usd_per_hour=2.0)
    quote = inference_quote(LOCAL, qwen, Traffic.of_requests(100_000_000, 400, 80), own=unknown)
    assert quote.expected is None and quote.parts is None
    assert "neither its GPU nor its speed is given" in str(quote.unavailable)
    assert "--own-speed or --own-gpu" in str(quote.unavailable)
    nothing = inference_quote(LOCAL, qwen, Traffic.of_requests(0, 400, 80), own=unknown)
    assert nothing.expected == nothing.high == pytest.approx(2 * HOURS_PER_MONTH)  # always up all the same
    told = inference_quote(LOCAL, qwen, Traffic(10, 10), own=OwnGPUCost(usd_per_hour=2.0, tokens_per_second=50))
    assert told.expected == pytest.approx(2 * HOURS_PER_MONTH)


def test_an_endpoint_of_unknown_speed_has_no_price_and_another_one_is_taken() -> None:
    llama, traffic = model(TOGETHER, LLAMA), Traffic.of_requests(1_000, 400, 80)
    new = TOGETHER.hosting[0].model_copy(update={"gpu": "X9000", "usd_per_hour": 0.01, "usd_per_hour_high": None})
    both = TOGETHER.model_copy(update={"hosting": (new, *TOGETHER.hosting)})
    assert inference_quote(both, llama, traffic).expected == inference_quote(TOGETHER, llama, traffic).expected
    only = inference_quote(TOGETHER.model_copy(update={"hosting": (new,)}), llama, traffic)
    assert only.expected is None and "the speed of X9000 is not known" in str(only.unavailable)


def test_the_price_of_a_whole_machine_is_not_multiplied_by_its_gpus() -> None:
    traffic = Traffic.of_requests(1_000, 400, 80)
    large = model(LOCAL, "llama-3.3-70b-instruct")
    each = inference_quote(LOCAL, large, traffic, own=OwnGPUCost(gpu=H100, usd_per_hour=4.0))
    assert each.expected == pytest.approx(3 * 4 * HOURS_PER_MONTH) and "3 x your own H100 SXM" in each.explanation
    whole = inference_quote(LOCAL, large, traffic, own=OwnGPUCost(gpu=H100, usd_per_hour=4.0, whole_machine=True))
    assert whole.expected == pytest.approx(4 * HOURS_PER_MONTH)
    assert "1 x your own machine with 3 x H100 SXM at $4.00" in whole.explanation


def test_an_endpoint_is_quoted_as_always_up_and_says_when_it_could_stop() -> None:
    quote = inference_quote(TOGETHER, model(TOGETHER, LLAMA), Traffic.of_requests(25_000, 400, 80))
    assert quote.low == quote.expected == pytest.approx(3.99 * HOURS_PER_MONTH)
    assert quote.idle_stop_minutes == 30 and not quote.stops_when_idle


@pytest.mark.parametrize(("hour", "speed"), [(25_000.0, None), (-1.0, None), (2.0, 0.0), (2.0, 10_000_000.0)])
def test_an_own_gpus_mistaken_units_are_told(hour: float, speed: float | None) -> None:
    with pytest.raises(ConfigError):
        OwnGPUCost(gpu=H100, usd_per_hour=hour, tokens_per_second=speed)


def test_the_base_models_month_comes_from_litellms_table() -> None:
    prices = load_base_price_manifest()
    traffic = Traffic.of_requests(100_000, 1_500, 100, saved_per_request=1_200)
    mini = base_inference_quote(OPENAI, model(OPENAI, "gpt-4.1-mini-2025-04-14"), traffic, prices, today=TODAY)
    assert mini.expected == pytest.approx(100_000 * (1_500 * 0.40 + 100 * 1.60) / 1e6)  # the whole prompt
    assert f"litellm {prices.version}" in mini.explanation and mini.as_of == prices.as_of
    ended = base_inference_quote(TOGETHER, model(TOGETHER, LLAMA), traffic, prices, today=TODAY)
    assert ended.explanation.startswith("Together.ai has not served together_ai/meta-llama/Meta-Llama-3.1-8B")
    assert ended.expected == pytest.approx(3.99 * HOURS_PER_MONTH)
    gone = base_inference_quote(OPENAI, model(OPENAI, "gpt-3.5-turbo-1106"), traffic, prices, today=TODAY)
    assert gone.expected is None and "by the token since 2026-09-28" in str(gone.unavailable)
    none = BasePriceManifest({}, "1.0", TODAY)
    assert base_inference_quote(OPENAI, model(OPENAI, "gpt-4.1-mini-2025-04-14"), traffic, none).unavailable
    own = OwnGPUCost(gpu=H100, usd_per_hour=1.0)
    assert base_inference_quote(LOCAL, model(LOCAL, "qwen3-8b"), traffic, prices, own=own).expected == pytest.approx(
        730
    )
