"""How long it takes: against measured throughput, and silence where nobody knows."""

from __future__ import annotations

import csv
import statistics

import pytest

from tests.conftest import SHARED
from tuneport.estimate.duration import (
    MEASURED_CPU_TOKENS_PER_SECOND,
    cpu_duration,
    flops_per_token,
    gpu_duration,
    hosted_duration,
    utilisation,
)
from tuneport.manifests import Dimensions, load_models
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


PEAK_TFLOPS = {"T4": 65, "L40S": 362, "A100": 312, "3090": 71, "4090": 165}


def ratios() -> list[tuple[float, float, float]]:
    """measured / (low, expected, high) of each published single-GPU throughput."""
    path = SHARED / "facts" / "memory_measured.csv"
    if not path.is_file():
        pytest.skip("the measured rows are not in the shared folder")
    found = []
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            peak = next((peak for name, peak in PEAK_TFLOPS.items() if name in row["gpu"]), None)
            known = row["tokens_per_s"] and row["micro_batch"].isdigit() and row["seq_len"].isdigit()
            if peak is None or not known or row["gpus"] != "1" or row["method"] not in list(Adapter):
                continue
            duration = gpu_duration(
                10**9,
                params_b=float(row["params_b"]),
                adapter=Adapter(row["method"]),
                bf16_tflops=peak,
                micro_batch=int(row["micro_batch"]),
                length=int(row["seq_len"]),
                checkpointing=row["grad_ckpt"] == "on",
                dimensions=Dimensions(  # only the layers and the width of the queries count here
                    hidden_size=int(row["hidden"]),
                    layers=int(row["layers"]),
                    heads=32,
                    kv_heads=32,
                    intermediate_size=1,
                    vocab_size=1,
                    tied_embeddings=True,
                ),
            )
            measured = 1e9 / float(row["tokens_per_s"])
            assert duration.low_seconds and duration.expected_seconds and duration.high_seconds
            found.append(
                (
                    measured / duration.low_seconds,
                    measured / duration.expected_seconds,
                    measured / duration.high_seconds,
                )
            )
    return found


def test_published_throughputs_lie_within_the_bounds() -> None:
    found = ratios()
    assert len(found) >= 40
    inside = [low >= 1 and high <= 1 for low, _, high in found]
    assert sum(inside) / len(inside) > 0.8
    assert statistics.median(abs(ratio - 1) for _, ratio, _ in found) < 0.25


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
    assert duration.low_seconds == pytest.approx(30 + 1000 * 30 * 0.005 / 1.5)


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
