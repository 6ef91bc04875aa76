"""The serving capacity of one GPU (or several as one): arithmetic for the prompts, memory traffic for the answers.
Pure.

prompt:  2 x parameters floating point operations a token, over the peak rate x PREFILL_UTILISATION
answer:  each step reads all weights and the cache of every request in it, over the bandwidth x BANDWIDTH_SHARE,
         and gives one token to each of them
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from tuneport.errors import ConfigError
from tuneport.estimate.cost.traffic import SECONDS_PER_MONTH, Traffic
from tuneport.manifests import CatalogueGPU, ModelDimensions, load_models

WEIGHT_BYTES = 2  # bf16
SERVING_HEADROOM = 1.2
"""A served model needs its bf16 weights and about a fifth more for the cache: an assumption."""
USABLE_MEMORY = 0.9  # vLLM's gpu_memory_utilization by default
MOST_AT_ONCE = 256
"""Requests in one step: vLLM's max_num_seqs of long standing. More would answer each of them slowly."""
PREFILL_UTILISATION = 0.6
"""TensorRT-LLM's table (docs/source/performance.md, v0.6.1): LLaMA 7B, fp16, A100: 2,048 tokens in 133 ms = 0.67 of the
peak; its other rows and vLLM's overhead speak for a little less."""
BANDWIDTH_SHARE = 0.7
"""Of the data sheet's bandwidth, in decoding: 0.78 by the same table (batch 60, 128 in, 2,048 out), 0.77 with vLLM 0.23
on an A100 40GB (johnmusgrave.com, Llama 3.1 8B, one request: 75 tokens/s), 0.58 with vLLM 0.21 on an H100 (one request:
122 tokens/s, yobitelcomm bench)."""
SPREAD = 1.6
"""The estimate is held to lie within a factor of this; `tests/estimate/cost/test_serving.py` has the published rows."""
TOGETHER_SHARE = 0.8  # of their sum, for several GPUs that serve one model: they wait for each other; an assumption
PEAK_TO_MEAN = (1.0, 3.0, 168 / 40)
"""The busiest hours over the mean, which is what machines must be there for: traffic that never sleeps; all of it in 8
of 24 hours; all of it in the 40 working hours of a week. Arithmetic, not measurement. A batch waits for quiet hours."""
MOST_TOKENS_PER_SECOND = 1_000_000


@dataclass(frozen=True)
class ServingSpeed:
    """GPU-seconds of a mean request on a full machine, or why that is not known. `low` is the fastest."""

    seconds: float | None = None
    low_seconds: float | None = None
    high_seconds: float | None = None
    unavailable: str | None = None
    explanation: str = ""

    def loads(self, traffic: Traffic) -> tuple[float, float, float] | None:
        """Return how many machines the month keeps busy (low, expected, high), its busiest hours decisive."""
        if self.seconds is None or self.low_seconds is None or self.high_seconds is None:
            return None
        count = traffic.request_count
        each = (self.low_seconds, self.seconds, self.high_seconds)
        peaks = (traffic.batch_share + (1 - traffic.batch_share) * peak for peak in PEAK_TO_MEAN)
        low, expected, high = (count * s * peak / SECONDS_PER_MONTH for s, peak in zip(each, peaks, strict=True))
        return low, expected, high


def gpus_needed(params_b: float, vram_gib: float) -> int:
    """Return how many such GPUs hold the model in bf16, with room for its cache."""
    return max(1, ceil(params_b * WEIGHT_BYTES * SERVING_HEADROOM / vram_gib))


def measured_speed(tokens_per_second: float, traffic: Traffic) -> ServingSpeed:
    """Return the speed from a measured rate: output tokens per second of the whole machine, over all concurrent
    requests, prompts included in the time. Raises ConfigError for an impossible rate."""
    if not 0 < tokens_per_second <= MOST_TOKENS_PER_SECOND:
        raise ConfigError(
            f"{tokens_per_second:g} tokens/s is not a possible speed; give the whole machine's output tokens per second"
        )
    seconds = (traffic.tokens_out_per_request or traffic.tokens_in_per_request) / tokens_per_second
    return ServingSpeed(seconds, seconds, seconds, explanation=f"{tokens_per_second:,.0f} tokens/s, as given")


def estimated_speed(
    gpu: CatalogueGPU,
    traffic: Traffic,
    *,
    params_b: float | None,
    dimensions: ModelDimensions | None = None,
    count: int = 1,
    most_at_once: int = MOST_AT_ONCE,
) -> ServingSpeed:
    """Estimate what `count` such GPUs serve together, in bf16 and under full load: as many concurrent requests as the
    memory holds, and `most_at_once` at most.

    A mixture of experts is treated as dense: too slow for few concurrent requests, about right for many.
    """
    if params_b is None:
        return ServingSpeed(unavailable="the model's size is not known")
    if gpu.bandwidth_gbps is None or gpu.bf16_tflops is None:
        return ServingSpeed(unavailable=f"the bandwidth or the peak rate of the {gpu.name} is not known")
    together = count if count == 1 else count * TOGETHER_SHARE
    weights = params_b * 1e9 * WEIGHT_BYTES
    room = count * gpu.vram_gib * 2**30 * USABLE_MEMORY - weights
    if room <= 0:
        return ServingSpeed(unavailable=f"{count} x {gpu.name} do not hold the model")
    tokens_in, tokens_out = traffic.tokens_in_per_request, traffic.tokens_out_per_request
    cached = traffic.cached_share * tokens_in
    kv = estimate_cache_bytes_per_token(params_b, dimensions)
    at_once = max(1, min(most_at_once, int(room / (kv * max(1.0, tokens_in + tokens_out)))))
    flops = gpu.bf16_tflops * 1e12 * together * PREFILL_UTILISATION
    prefill = 2 * params_b * 1e9 * (tokens_in - cached) / flops
    held = kv * (tokens_in + tokens_out / 2) * at_once
    reading = (weights + held) / (gpu.bandwidth_gbps * 1e9 * together * BANDWIDTH_SHARE)
    step = max(reading, 2 * params_b * 1e9 * at_once / flops)
    seconds = prefill + tokens_out * step / at_once
    rate = f"{tokens_out / seconds:,.0f} tokens/s written" if seconds and tokens_out else "prompts only"
    name = f"{count} x {gpu.name}" if count > 1 else gpu.name
    return ServingSpeed(
        seconds,
        seconds / SPREAD,
        seconds * SPREAD,
        explanation=f"about {rate} by one {name}, {at_once} requests at once (estimated)",
    )


def estimate_cache_bytes_per_token(params_b: float, dimensions: ModelDimensions | None) -> float:
    """Return the bytes of keys and values of one token in bf16: 2 x layers x key width x 2 bytes. Without dimensions,
    scales from Llama 3.1 8B (128 KiB; it groups its heads)."""
    if dimensions is None:
        return float(131_072 * (params_b / 8.03) ** (2 / 3))
    return 2.0 * dimensions.layers * dimensions.key_width * 2


def find_weight_dimensions(backend: str, model_id: str) -> ModelDimensions | None:
    """Return the shape of the weights behind a backend's own id, or None if `models.toml` does not have it."""
    models = load_models()
    name = models.name_of(backend, model_id)
    weights = models.find(name or model_id)
    return weights.dimensions if weights else None
