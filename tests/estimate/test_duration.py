"""How long it takes: against measured throughput, and silence where nobody knows."""

from __future__ import annotations

from math import log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.duration import score
from benchmarks.measured_rows import UnusableRowError, parse, read_rows
from tests.support.folders import SHARED
from tuneport.estimate.duration import (
    GPU_SPREAD,
    MEASURED_CPU_TOKENS_PER_SECOND,
    CPURate,
    cpu_duration,
    flops_per_token,
    gpu_duration,
    gpu_utilisation,
    hosted_duration,
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


def test_wide_models_keep_a_card_busier() -> None:
    shares = [gpu_utilisation(width) for width in (512, 2048, 4096, 8192)]
    assert shares == sorted(shares) and shares[-1] < 0.7
    assert gpu_utilisation(4096, "H100 SXM") < gpu_utilisation(4096, "A100-80GB SXM")


MEASURED = SHARED / "facts" / "memory_measured.csv"


@pytest.mark.skipif(not MEASURED.is_file(), reason="the measured rows are not in the shared folder")
def test_published_throughputs_lie_within_the_bounds() -> None:
    found = []
    for raw in read_rows(MEASURED):
        try:
            found.append(score(parse(raw)))
        except UnusableRowError:
            continue
    assert len(found) > 100
    inside = [abs(row.log_error) <= log(GPU_SPREAD) for row in found]
    assert sum(inside) / len(inside) > 0.85
    current = [abs(row.log_error) for row in found if row.row.current]
    assert len(current) >= 10 and sum(current) / len(current) < 0.2


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
    assert duration.expected_seconds == pytest.approx(30 + 1000 * 30 * 0.005, rel=0.02)


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


@given(
    st.sampled_from(list(Adapter)),
    st.floats(0.1, 80),
    st.integers(1, 32),
    st.integers(16, 8192),
    st.booleans(),
)
def test_more_never_takes_less(adapter: Adapter, params_b: float, batch: int, length: int, checkpointing: bool) -> None:
    def seconds(tokens: int = 10**7, *, size: float = params_b, **more: int) -> float:
        given = {"micro_batch": batch, "length": length} | more
        found = gpu_duration(
            tokens, params_b=size, adapter=adapter, bf16_tflops=312, checkpointing=checkpointing, **given
        )
        assert found.low_seconds and found.expected_seconds and found.high_seconds
        assert 0 < found.low_seconds < found.expected_seconds < found.high_seconds
        return found.expected_seconds

    assert seconds(2 * 10**7) > seconds()
    assert seconds(micro_batch=2 * batch) <= seconds() * 1.001  # more at once, never slower for the same tokens
    assert seconds() < 10**9  # hours, not years: a slip of units would show


def test_a_rate_measured_here_is_scaled_by_size_and_sure_of_like_sizes_only() -> None:
    rate = CPURate(400.0, 0.1345, "measured here")
    same = cpu_duration(40_000, params_b=0.1345, rate=rate)
    assert same.expected_seconds == pytest.approx(100.0) and same.high_seconds == pytest.approx(150.0)
    assert same.explanation == "40,000 tokens at 400.0 tokens/s: measured here"
    large = cpu_duration(40_000, params_b=1.345, rate=rate)
    assert large.expected_seconds == pytest.approx(1000.0) and large.high_seconds == pytest.approx(2000.0)
    assert large.explanation == "40,000 tokens at 40.0 tokens/s: 400 measured here, scaled by size"
