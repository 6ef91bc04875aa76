"""Training and inference cost against the worked examples and bills that were published."""

from __future__ import annotations

from datetime import date

import pytest

from tuneport.errors import ConfigError
from tuneport.estimate.cost import HOURS_PER_MONTH, OwnGPUCost, Traffic, inference_quote, training_quote
from tuneport.estimate.duration import Duration
from tuneport.manifests import Manifest, OfferedModel, find_manifest_model, load_gpus, load_manifest
from tuneport.types import Adapter, Method, Quote

OPENAI, TOGETHER, LOCAL = (load_manifest(name) for name in ("openai", "together", "local"))


def model(manifest: Manifest, model_id: str) -> OfferedModel:
    found = find_manifest_model(manifest, model_id)
    assert found is not None
    return found


def train(manifest: Manifest, model_id: str, tokens: int | None = 0, epochs: int = 1, **more: object) -> Quote:
    return training_quote(manifest, model(manifest, model_id), tokens_per_epoch=tokens, epochs=epochs, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(("model_id", "dollars"), [("gpt-4o-mini-2024-07-18", 0.90), ("gpt-3.5-turbo-0125", 2.40)])
def test_openais_published_examples(model_id: str, dollars: float) -> None:
    quote = train(OPENAI, model_id, 100_000, 3)
    assert quote.expected == pytest.approx(dollars)
    assert (quote.low, quote.high) == (quote.expected, quote.expected)
    assert quote.source == "https://openai.com/api/pricing" and quote.as_of == date(2025, 11, 1)
    assert quote.explanation == f"100,000 tokens x 3 epochs at ${dollars * 10 / 3:.2f} per 1M"


def test_openai_does_not_bill_validation_and_together_does() -> None:
    plain, validated = (
        train(OPENAI, "gpt-4.1-mini-2025-04-14", 10**6, 2, validation_tokens=v, evaluations=2) for v in (0, 40_000)
    )
    assert plain.expected == validated.expected == pytest.approx(10.0)
    quote = train(TOGETHER, "Qwen/Qwen3.5-9B", 10**7, 3, validation_tokens=10**6, evaluations=2)
    assert quote.expected == pytest.approx((3 * 10 + 2 * 1) * 0.48)


def test_togethers_minimum() -> None:
    """A Qwen3-14B LoRA run of about 370,000 tokens was billed $4.00; so were runs of 17,000 and 23,000."""
    quote = train(TOGETHER, "Qwen/Qwen3-14B", 370_000, 1)
    assert quote.expected == 4.00
    assert "= $0.18, below the minimum of $4.00 a job" in quote.explanation
    exempt = train(TOGETHER, "Qwen/Qwen3-235B-A22B", 100_000, 1)
    assert exempt.expected == pytest.approx(0.60)


@pytest.mark.parametrize(
    ("model_id", "method", "adapter", "rate"),
    [
        ("meta-llama/Meta-Llama-3.1-8B-Instruct-Reference", Method.SFT, Adapter.LORA, 0.48),
        ("meta-llama/Meta-Llama-3.1-8B-Instruct-Reference", Method.SFT, Adapter.FULL, 0.54),
        ("meta-llama/Meta-Llama-3.1-8B-Instruct-Reference", Method.DPO, Adapter.LORA, 1.20),
        ("mistralai/Mixtral-8x7B-Instruct-v0.1", Method.SFT, Adapter.LORA, 1.50),  # total, not active, parameters
        ("meta-llama/Llama-3.3-70B-Instruct-Reference", Method.SFT, Adapter.LORA, 2.90),
        ("meta-llama/Llama-3.3-70B-Instruct-Reference", Method.DPO, Adapter.FULL, 8.00),
        ("Qwen/Qwen3-235B-A22B", Method.DPO, Adapter.LORA, 15.00),
    ],
)
def test_togethers_brackets(model_id: str, method: Method, adapter: Adapter, rate: float) -> None:
    quote = train(TOGETHER, model_id, 10**8, 1, method=method, adapter=adapter)
    assert quote.expected == pytest.approx(100 * rate)


def test_without_packing_the_padding_is_billed() -> None:
    quote = train(TOGETHER, "Qwen/Qwen3.5-9B", 10**6, 1, rows=10_000, packing=False, max_length=2048)
    assert quote.expected == pytest.approx(10_000 * 2048 / 1e6 * 0.48)
    assert "set max_length" in str(train(TOGETHER, "Qwen/Qwen3.5-9B", 10**6, 1, packing=False).unavailable)
    validated = train(
        TOGETHER,
        "Qwen/Qwen3.5-9B",
        10**6,
        1,
        rows=10_000,
        packing=False,
        max_length=2048,
        validation_tokens=9,
        validation_rows=1_000,
        evaluations=2,
    )
    assert validated.expected == pytest.approx(12_000 * 2048 / 1e6 * 0.48)


def test_an_approximate_count_gives_bounds_each_above_the_minimum() -> None:
    about = {"low": 0.5, "high": 1.5, "approximate_because": "reasons"}
    quote = train(TOGETHER, "Qwen/Qwen3.5-9B", 10**7, 1, **about)
    assert (quote.low, quote.expected, quote.high) == (4.00, pytest.approx(4.80), pytest.approx(7.20))
    assert quote.explanation.endswith("; approximate, $4.00 to $7.20: reasons")
    small = train(TOGETHER, "Qwen/Qwen3.5-9B", 10**5, 1, **about)
    assert (small.low, small.expected, small.high) == (4.00, 4.00, 4.00)
    assert "which makes no difference here" in small.explanation
    padded = train(TOGETHER, "Qwen/Qwen3.5-9B", 10**7, 1, rows=10_000, packing=False, max_length=2048, **about)
    assert padded.low == padded.expected == padded.high  # the padded length is billed, whatever the tokens
    openai = train(OPENAI, "gpt-4.1-mini-2025-04-14", 10**6, 1, **about)
    assert (openai.low, openai.high) == (pytest.approx(2.5), pytest.approx(7.5))


@pytest.mark.parametrize("traffic", [(1, 1, 7.0), (1, 1, -0.1), (1, 1, float("nan")), (-1, 1, 0.0), (1, -1, 0.0)])
def test_traffic_that_cannot_be(traffic: tuple[int, int, float]) -> None:
    with pytest.raises(ConfigError, match="cached_share is|tokens is"):
        Traffic(*traffic)


@pytest.mark.parametrize(
    ("manifest", "model_id", "method", "reason"),
    [
        (TOGETHER, "Qwen/Qwen3.5-397B-A17B", Method.SFT, "397 B parameters and the published brackets end at 100 B"),
        (TOGETHER, "zai-org/GLM-5.1", Method.SFT, "the size of zai-org/GLM-5.1 is not known"),
        (OPENAI, "gpt-4.1-mini-2025-04-14", Method.DPO, "whether both answers are billed"),
        (OPENAI, "gpt-4-0613", Method.SFT, "OpenAI publishes no sft price for gpt-4-0613"),
    ],
)
def test_what_is_not_known_is_said_not_invented(manifest: Manifest, model_id: str, method: Method, reason: str) -> None:
    quote = train(manifest, model_id, 1_000, 1, method=method)
    assert quote.expected is None and quote.unavailable is not None and reason in quote.unavailable


def test_without_token_counts_there_is_no_price() -> None:
    quote = train(OPENAI, "gpt-4.1-mini-2025-04-14", None)
    assert quote.expected is None and quote.unavailable == "the tokens of the dataset were not counted"


def test_ones_own_machine_costs_nothing_and_a_rented_one_by_the_hour() -> None:
    own = train(LOCAL, "smollm2-135m-instruct", 10**6, 3)
    assert own.expected == 0.0 and own.explanation == "your own machine; electricity not counted"
    offer = load_gpus().find("H100").cheapest("Lambda")
    assert offer is not None
    two_hours = Duration(expected_seconds=7200, low_seconds=3600, high_seconds=10_800)
    rented = train(LOCAL, "llama-3.1-8b-instruct", 10**6, 3, duration=two_hours, own=OwnGPUCost(offer=offer))
    assert rented.expected == pytest.approx(2 * 3.99)
    assert (rented.low, rented.high) == (pytest.approx(3.99), pytest.approx(3 * 3.99))
    assert train(
        LOCAL, "llama-3.1-8b-instruct", duration=Duration.unknown("no peak"), own=OwnGPUCost(offer=offer)
    ).unavailable


def test_openai_inference_by_the_token() -> None:
    mini = model(OPENAI, "gpt-4.1-mini-2025-04-14")
    quote = inference_quote(OPENAI, mini, Traffic(10_000_000, 2_000_000))
    assert quote.expected == pytest.approx(10 * 0.80 + 2 * 3.20)
    cached = inference_quote(OPENAI, mini, Traffic(10_000_000, 2_000_000, cached_share=0.5))
    assert cached.expected == pytest.approx(5 * 0.80 + 5 * 0.20 + 2 * 3.20)
    old = inference_quote(OPENAI, model(OPENAI, "gpt-3.5-turbo-0125"), Traffic(10**6, 0, cached_share=0.5))
    assert old.expected == pytest.approx(3.00)  # it has no price for cached tokens


def test_together_inference_is_an_endpoint_whatever_the_traffic() -> None:
    llama = model(TOGETHER, "meta-llama/Meta-Llama-3.1-8B-Instruct-Reference")
    idle, busy = (inference_quote(TOGETHER, llama, Traffic(n, n)) for n in (0, 10**9))
    assert idle.expected == busy.expected == pytest.approx(3.99 * HOURS_PER_MONTH)
    assert idle.high == pytest.approx(5.49 * HOURS_PER_MONTH)
    assert "tuned models are not served per token" in idle.explanation
    large = inference_quote(TOGETHER, model(TOGETHER, "meta-llama/Llama-3.3-70B-Instruct-Reference"), Traffic(0, 0))
    assert large.expected == pytest.approx(8.99 * HOURS_PER_MONTH)  # one B200 is cheaper than three H100
    assert inference_quote(TOGETHER, model(TOGETHER, "zai-org/GLM-5.1"), Traffic(0, 0)).unavailable
