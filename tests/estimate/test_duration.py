"""How long it takes: against measured throughput, and silence where nobody knows."""

from __future__ import annotations

import pytest

from tuneport.estimate.duration import (
    MEASURED_CPU_TOKENS_PER_SECOND,
    cpu_duration,
    flops_per_token,
    gpu_duration,
    hosted_duration,
    utilisation,
)
from tuneport.manifests import load_models
from tuneport.types import Adapter


def test_arithmetic_of_a_token() -> None:
    assert flops_per_token(1, Adapter.FULL, length=0, checkpointing=False) == 6e9
    assert flops_per_token(1, Adapter.LORA, length=0, checkpointing=False) == 4e9
    assert flops_per_token(1, Adapter.LORA, length=0, checkpointing=True) == 6e9
    dimensions = load_models().weights["llama-3.1-8b-instruct"].dimensions
    long = flops_per_token(8, Adapter.LORA, length=8192, checkpointing=True, dimensions=dimensions)
    assert long - 6 * 8e9 == 2 * 32 * 4096 * 8192 * 4


def test_utilisation_rises_with_the_tokens_of_a_step() -> None:
    assert utilisation(256) == (0.04, 0.15)
    assert utilisation(8192) == utilisation(100_000) == (0.44, 0.67)
    points = [utilisation(2**power) for power in range(4, 16)]
    assert points == sorted(points)
    assert all(low < high for low, high in points)


def test_a_measured_lora_run_lies_within_the_bounds() -> None:
    """PEFT's own benchmark: Llama-3.2-3B, LoRA on q and v, batch 4 of 210 tokens on average, L40S: 967 s for 4,198,051
    tokens without checkpointing, padding not counted."""
    row = load_models().weights["llama-3.2-3b-instruct"]
    assert row.params_b is not None
    duration = gpu_duration(
        4_198_051,
        params_b=row.params_b,
        adapter=Adapter.LORA,
        bf16_tflops=362,
        micro_batch=4,
        length=210,
        checkpointing=False,
        dimensions=row.dimensions,
    )
    assert duration.low_seconds is not None and duration.high_seconds is not None
    assert duration.low_seconds < 967 < duration.high_seconds


def test_short_steps_have_a_floor() -> None:
    """A small model's step takes 5 ms a layer however little it computes."""
    row = load_models().weights["smollm2-135m-instruct"]
    duration = gpu_duration(
        64_000,
        params_b=0.1345,
        adapter=Adapter.LORA,
        bf16_tflops=989,
        micro_batch=1,
        length=64,
        dimensions=row.dimensions,
    )
    assert duration.low_seconds == pytest.approx(30 + 1000 * 30 * 0.005)


def test_the_processor_by_size_or_as_measured() -> None:
    small = cpu_duration(30_000, params_b=0.1345)
    assert small.expected_seconds == pytest.approx(30_000 / MEASURED_CPU_TOKENS_PER_SECOND)
    large = cpu_duration(30_000, params_b=1.345)
    assert small.expected_seconds is not None
    assert large.expected_seconds == pytest.approx(10 * small.expected_seconds)
    assert "measured with 134.5 M parameters on 2 cores" in small.explanation
    own = cpu_duration(30_000, params_b=0.1345, tokens_per_second=600, measured="yesterday's job")
    assert own.expected_seconds == pytest.approx(50) and "yesterday's job" in own.explanation


def test_a_hosted_duration_is_not_invented() -> None:
    duration = hosted_duration("OpenAI")
    assert duration.expected_seconds is None
    assert duration.unavailable == "OpenAI publishes no training throughput and no queue times"
