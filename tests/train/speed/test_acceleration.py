from __future__ import annotations

from itertools import pairwise

import pytest

from tuneport.base_models import BaseModelDevice, best_base_model_precision
from tuneport.train.run.checkpoints import SeededLengthGroupedSampler
from tuneport.train.speed.acceleration import choose_acceleration


@pytest.mark.parametrize(
    ("device", "capability", "cpu_has_bf16", "expected"),
    [
        ("cuda", (9, 0), False, "bf16"),
        ("cuda", (8, 0), False, "bf16"),
        ("cuda", (7, 5), False, "fp16"),  # a T4: torch would emulate bf16
        ("cpu", (0, 0), True, "bf16"),
        ("cpu", (0, 0), False, "fp32"),
        ("mps", (0, 0), False, "fp32"),
    ],
)
def test_the_precision_is_what_the_hardware_multiplies(
    device: str, capability: tuple[int, int], cpu_has_bf16: bool, expected: str
) -> None:
    assert best_base_model_precision(device, capability=capability, cpu_has_bf16=cpu_has_bf16) == expected


@pytest.mark.parametrize(
    ("device", "capability", "installed", "flash", "liger"),
    [
        (BaseModelDevice("cuda", "bf16"), (9, 0), {"flash_attn", "liger_kernel"}, True, True),
        (BaseModelDevice("cuda", "bf16"), (8, 6), {"flash_attn"}, True, False),
        (
            BaseModelDevice("cuda", "fp16"),
            (7, 5),
            {"flash_attn", "liger_kernel"},
            False,
            True,
        ),  # too old for FlashAttention 2
        (BaseModelDevice("cuda", "fp32"), (8, 0), {"flash_attn"}, False, False),  # which multiplies 16 bits only
        (BaseModelDevice("cuda", "bf16"), (8, 0), set(), False, False),
        (BaseModelDevice("cpu", "bf16"), None, {"flash_attn", "liger_kernel"}, False, False),
        (BaseModelDevice("mps", "fp32"), None, {"liger_kernel"}, False, False),
    ],
)
def test_faster_parts_are_used_where_they_run(
    device: BaseModelDevice, capability: tuple[int, int] | None, installed: set[str], flash: bool, liger: bool
) -> None:
    chosen = choose_acceleration(device, capability, installed)

    assert (chosen.flash, chosen.liger) == (flash, liger)
    assert (chosen.note is not None) == (device.name == "cuda")
    if chosen.note:
        assert ("FlashAttention" in chosen.note, "Liger" in chosen.note) == (flash, liger)
        assert device.precision in chosen.note


def test_groups_of_like_length_are_the_same_again_in_a_resumed_run() -> None:
    lengths = [number * 37 % 101 + 1 for number in range(400)]
    sampler, resumed = (
        SeededLengthGroupedSampler(8, lengths=lengths, seed=3),
        SeededLengthGroupedSampler(8, lengths=lengths, seed=3),
    )
    first = list(sampler)
    sampler.set_epoch(1)
    second = list(sampler)
    resumed.set_epoch(1)

    assert list(resumed) == second != first
    assert sorted(first) == sorted(second) == list(range(400))
    batches = [[lengths[i] for i in first[at : at + 8]] for at in range(0, 400, 8)]
    spread = sum(max(batch) - min(batch) for batch in batches) / len(batches)
    assert spread < 12  # at random it would be about 80
    assert any(a > b for a, b in pairwise(max(batch) for batch in batches))  # grouped, not sorted
