"""How long training takes. Pure. On one's own machine from arithmetic or a measured rate; elsewhere nobody says."""

from __future__ import annotations

from dataclasses import dataclass
from math import log2

from tuneport.manifests import Dimensions
from tuneport.types import Adapter

MEASURED_CPU_TOKENS_PER_SECOND = 300.0
"""Tokens per second that LoRA (r=16, all linear layers, fp32) trains of a 134.5 M parameter model.

Measured on 2 cores with AMX, SmolLM2-135M-Instruct; bf16 reached about 600. Another model's rate is this times
0.1345 / its billions of parameters, because the arithmetic of a token grows with the parameters. Other machines differ
by a factor of two either way, which is the spread that `local_duration` gives.
"""
MEASURED_CPU_PARAMS_B = 0.1345
CPU_SPREAD = 2.0

# Share of the peak that is reached, by tokens of a micro-step: (tokens, low, high), A100 and its like.
_UTILISATION = ((256, 0.04, 0.15), (1024, 0.20, 0.30), (2048, 0.31, 0.40), (8192, 0.44, 0.67))

# Seconds that a micro-step takes for each layer however short it is: kernel launches, not arithmetic (A100, LoRA with
# checkpointing 0.125 s for 24 layers; quantised 0.012 s a layer).
FLOOR_SECONDS_PER_LAYER = {Adapter.FULL: 0.005, Adapter.LORA: 0.005, Adapter.QLORA: 0.012}
FLOOR_SECONDS_PER_LAYER[Adapter.PREFIX] = FLOOR_SECONDS_PER_LAYER[Adapter.PROMPT] = 0.005  # as LoRA, not measured
LOADING_SECONDS = 30.0
GPU_SPREAD = 1.5
"""Of 52 published single-GPU throughputs (A100, L40S; LoRA, QLoRA and full), 45 lie within the bounds widened by this,
27 within the bare ones; half of the expected values are within 20 %. Short steps of 7 B models are faster than told."""


@dataclass(frozen=True)
class Duration:
    """Seconds of training, or `unavailable` with the reason. `low` and `high` bound `expected`."""

    expected_seconds: float | None = None
    low_seconds: float | None = None
    high_seconds: float | None = None
    unavailable: str | None = None
    explanation: str = ""

    @classmethod
    def unknown(cls, because: str) -> Duration:
        return cls(unavailable=because)


def hosted_duration(title: str) -> Duration:
    return Duration.unknown(f"{title} publishes no training throughput and no queue times")


def flops_per_token(
    params_b: float, adapter: Adapter, *, length: int, checkpointing: bool, dimensions: Dimensions | None = None
) -> float:
    """6 P for all weights, 4 P over a frozen base, 2 P more where the forward pass is done twice; and attention's
    2 L h T for each of its passes, where the dimensions are known."""
    params = params_b * 1e9
    total = (6 if adapter is Adapter.FULL else 4) * params + (2 * params if checkpointing else 0)
    if dimensions is not None:
        total += 2 * dimensions.layers * dimensions.query_width * length * (4 if checkpointing else 3)
    return total


def utilisation(tokens_per_micro_step: int) -> tuple[float, float]:
    """Low and high share of the peak, between the table's points by the logarithm of the tokens."""
    first, last = _UTILISATION[0], _UTILISATION[-1]
    if tokens_per_micro_step <= first[0]:
        return first[1] * tokens_per_micro_step / first[0], first[2] * tokens_per_micro_step / first[0]
    for (n0, low0, high0), (n1, low1, high1) in zip(_UTILISATION, _UTILISATION[1:], strict=False):
        if tokens_per_micro_step <= n1:
            share = log2(tokens_per_micro_step / n0) / log2(n1 / n0)
            return low0 + share * (low1 - low0), high0 + share * (high1 - high0)
    return last[1], last[2]


def gpu_duration(
    tokens: int,
    *,
    params_b: float,
    adapter: Adapter,
    bf16_tflops: float,
    micro_batch: int = 4,
    length: int = 1024,
    checkpointing: bool = True,
    dimensions: Dimensions | None = None,
) -> Duration:
    """`tokens` in all (per epoch x epochs, padding included) on one GPU: arithmetic / (peak x utilisation), floored."""
    per_step = micro_batch * length
    flops = flops_per_token(params_b, adapter, length=length, checkpointing=checkpointing, dimensions=dimensions)
    floor = FLOOR_SECONDS_PER_LAYER[adapter] * (dimensions.layers if dimensions else 32)
    low_share, high_share = utilisation(per_step)
    steps = tokens / per_step
    slow, fast = (
        steps * max(floor, flops * per_step / (bf16_tflops * 1e12 * share)) for share in (low_share, high_share)
    )
    return Duration(
        expected_seconds=LOADING_SECONDS + (slow * fast) ** 0.5,
        low_seconds=LOADING_SECONDS + fast / GPU_SPREAD,
        high_seconds=LOADING_SECONDS + slow * GPU_SPREAD,
        explanation=(
            f"{tokens:,} tokens at {flops / 1e9:.1f} GFLOP each, {low_share:.0%} to {high_share:.0%} of "
            f"{bf16_tflops:g} TFLOP/s at {per_step:,} tokens a step"
        ),
    )


def cpu_duration(
    tokens: int, *, params_b: float, tokens_per_second: float | None = None, measured: str | None = None
) -> Duration:
    """On the processor: the measured rate of this machine for this model, else the documented one scaled by size."""
    if tokens_per_second is not None:
        seconds = tokens / tokens_per_second
        return Duration(
            expected_seconds=seconds,
            low_seconds=seconds * 0.8,
            high_seconds=seconds * 1.3,
            explanation=f"{tokens:,} tokens at {tokens_per_second:,.0f} tokens/s ({measured or 'measured here'})",
        )
    rate = MEASURED_CPU_TOKENS_PER_SECOND * MEASURED_CPU_PARAMS_B / params_b
    seconds = tokens / rate
    return Duration(
        expected_seconds=seconds,
        low_seconds=seconds / CPU_SPREAD,
        high_seconds=seconds * CPU_SPREAD,
        explanation=(
            f"{tokens:,} tokens at {rate:,.1f} tokens/s: {MEASURED_CPU_TOKENS_PER_SECOND:g} measured with "
            f"{MEASURED_CPU_PARAMS_B * 1000:g} M parameters on 2 cores, scaled by size"
        ),
    )
