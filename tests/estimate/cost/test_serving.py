"""What a GPU serves, against published measurements."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tuneport.errors import ConfigError
from tuneport.estimate.cost import Traffic
from tuneport.estimate.cost.serving import SPREAD, estimated_speed, measured_speed
from tuneport.manifests import CatalogueGPU, ModelDimensions, load_gpus, load_models

LLAMA_7B = ModelDimensions(
    hidden_size=4096,
    layers=32,
    heads=32,
    kv_heads=32,
    intermediate_size=11008,
    vocab_size=32000,
    tied_embeddings=False,
)
LLAMA_8B = load_models().weights["llama-3.1-8b-instruct"].dimensions
A100, H100 = load_gpus().find("A100-80GB SXM"), load_gpus().find("H100 SXM")
A40 = CatalogueGPU(name="A40", vram_gib=48, bandwidth_gbps=696, bf16_tflops=150, bf16_tflops_source="data sheet")

# GPU, billions, shape, tokens in, out, at once, tokens/s written.
# TensorRT-LLM's docs/source/performance.md (v0.6.1), fp16; databasemart.com's A40 with vLLM, at its full load of
# 50 requests by the median time of a token (36 ms); one request each by johnmusgrave.com and yobitelcomm's bench.
PUBLISHED = [
    (A100, 6.74, LLAMA_7B, 128, 128, 384, 5586),
    (A100, 6.74, LLAMA_7B, 128, 2048, 60, 1928),
    (A100, 6.74, LLAMA_7B, 2048, 128, 52, 591),
    (A40, 8.03, LLAMA_8B, 100, 600, 50, 50 / 0.036),
    (load_gpus().find("A100-40GB SXM"), 8.03, LLAMA_8B, 1024, 128, 1, 75),
    (H100, 8.03, LLAMA_8B, 100, 128, 1, 122.2),
]


@pytest.mark.parametrize(("gpu", "params_b", "shape", "tokens_in", "out", "at_once", "measured"), PUBLISHED)
def test_published_throughputs_lie_within_the_spread(
    gpu: CatalogueGPU, params_b: float, shape: ModelDimensions, tokens_in: int, out: int, at_once: int, measured: float
) -> None:
    traffic = Traffic.of_requests(1_000, tokens_in, out)
    speed = estimated_speed(gpu, traffic, params_b=params_b, dimensions=shape, most_at_once=at_once)
    assert speed.seconds is not None and speed.low_seconds is not None and speed.high_seconds is not None
    assert out / speed.high_seconds <= measured <= out / speed.low_seconds
    assert max(out / speed.seconds / measured, measured * speed.seconds / out) < SPREAD


def test_a_measured_rate_is_taken_as_it_is_and_the_busy_hours_decide() -> None:
    traffic = Traffic.of_requests(730 * 3600, 400, 100)  # one request a second
    loads = measured_speed(1_000, traffic).loads(traffic)
    assert loads == (pytest.approx(0.1), pytest.approx(0.3), pytest.approx(0.42))
    waiting = replace(traffic, batch_share=1.0)
    assert measured_speed(1_000, waiting).loads(waiting) == (pytest.approx(0.1),) * 3
    for wrong in (0, -5, 10_000_000):
        with pytest.raises(ConfigError, match="not a possible speed"):
            measured_speed(wrong, traffic)


def test_without_requests_a_usual_one_is_assumed() -> None:
    known, unknown = Traffic.of_requests(25_000, 400, 80), Traffic(10_000_000, 2_000_000)
    both = [estimated_speed(H100, each, params_b=8.03).loads(each) for each in (known, unknown)]
    assert both[0] == pytest.approx(both[1])


def test_a_months_input_is_work_too_though_no_requests_are_stated() -> None:
    """Summing up hundreds of billions of tokens in a few words is nothing that one machine does."""
    prompts, summed_up = Traffic(100 * 10**9, 0), Traffic(100 * 10**9, 100 * 10**6)
    loads = [estimated_speed(H100, each, params_b=8.03).loads(each) for each in (prompts, summed_up)]
    assert loads[0] is not None and loads[1] is not None
    assert 1 < loads[0][1] < loads[1][1] < 1.05 * loads[0][1]
    assert summed_up.tokens_in_per_request * summed_up.request_count == pytest.approx(summed_up.input_tokens)
    assert summed_up.tokens_out_per_request * summed_up.request_count == pytest.approx(summed_up.output_tokens)
    stated = Traffic.of_requests(1_250_000, 80_000, 80)  # the same tokens
    same = estimated_speed(H100, stated, params_b=8.03).loads(stated)
    assert same is not None and loads[1][1] == pytest.approx(same[1], rel=0.3)


def test_what_is_not_known_is_said() -> None:
    traffic = Traffic.of_requests(1_000, 400, 80)
    assert estimated_speed(H100, traffic, params_b=None).unavailable == "the model's size is not known"
    nameless = CatalogueGPU(name="X", vram_gib=80)
    assert "the X is not known" in str(estimated_speed(nameless, traffic, params_b=8).unavailable)
    assert "do not hold" in str(estimated_speed(H100, traffic, params_b=70.6).unavailable)
    assert estimated_speed(H100, traffic, params_b=None).loads(traffic) is None


def test_a_cache_saves_the_prompts_time_and_two_gpus_serve_more_than_one() -> None:
    cold, warm = (Traffic.of_requests(1_000, 2_000, 50, cached_share=share) for share in (0.0, 0.9))
    times = [estimated_speed(H100, each, params_b=8.03).seconds or 0 for each in (cold, warm)]
    assert times[1] < times[0] / 2
    two = estimated_speed(H100, cold, params_b=8.03, count=2).seconds or 0
    assert times[0] / 2 < two < times[0]
