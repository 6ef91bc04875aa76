"""Packed rows must be to the model what each row alone is: same loss, same gradients, nothing leaks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from tuneport.data.rendering import IGNORED
from tuneport.train.packing import (
    PackingCollator,
    PaddingCollator,
    agrees,
    prompt_labels,
    rows_per_pack,
    shared_length,
)

SYSTEM = [1, 20, 21, 22, 23]
ROWS = [
    {"input_ids": [*SYSTEM, 30, 31, 32, 40, 0], "labels": [IGNORED] * 8 + [40, 0]},
    {"input_ids": [*SYSTEM, 33, 41, 42, 0], "labels": [IGNORED] * 6 + [41, 42, 0]},
    {"input_ids": [*SYSTEM, 34, 35, 36, 37, 43, 0], "labels": [IGNORED] * 9 + [43, 0]},
]


@pytest.fixture
def network(model: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32, attn_implementation="eager")


def loss_and_gradients(network: Any, batches: list[dict[str, torch.Tensor]]) -> tuple[float, torch.Tensor]:
    network.zero_grad()
    total = 0.0
    for batch in batches:
        batch = dict(batch)
        batch.pop("useful_tokens")
        labels = batch.pop("labels")
        logits = network(**batch, use_cache=False).logits
        loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), reduction="sum")
        loss.backward()
        total += loss.item()
    return total, torch.cat([p.grad.flatten() for p in network.parameters()])


def test_a_pack_has_the_loss_and_the_gradients_of_its_rows(network: Any) -> None:
    alone, alone_gradients = loss_and_gradients(network, [PaddingCollator(2)([row]) for row in ROWS])
    packed, packed_gradients = loss_and_gradients(network, [PackingCollator(torch.float32)(ROWS)])
    padded, padded_gradients = loss_and_gradients(network, [PaddingCollator(2)(ROWS)])

    assert packed == pytest.approx(alone, rel=1e-5) and padded == pytest.approx(alone, rel=1e-5)
    assert torch.allclose(packed_gradients, alone_gradients, atol=1e-5)
    assert torch.allclose(padded_gradients, alone_gradients, atol=1e-5)


def test_the_shared_beginning_is_computed_once() -> None:
    batch = PackingCollator(torch.float32)(ROWS)

    assert batch["input_ids"].shape == (1, 5 + 5 + 4 + 6)
    assert batch["position_ids"][0].tolist() == [0, 1, 2, 3, 4, *range(5, 10), *range(5, 9), *range(5, 11)]
    assert int(batch["useful_tokens"]) == 10 + 9 + 11


def test_the_token_before_the_first_trained_one_is_never_shared() -> None:
    same = [{"input_ids": [1, 5, 6, 7], "labels": [IGNORED, IGNORED, 6, 7]}] * 2

    assert shared_length(same) == 1  # 5 predicts 6, so each row has its own
    whole = [{"input_ids": [1, 5, 6], "labels": [1, 5, 6]}] * 2
    assert shared_length(whole) == 0


def test_a_leak_is_noticed(network: Any) -> None:
    assert agrees(network, ROWS, torch.float32)

    forward = network.forward

    def without_mask(*args: Any, attention_mask: torch.Tensor, **kwargs: Any) -> Any:
        return forward(*args, attention_mask=None, **kwargs)  # plain causal attention: rows see each other

    network.forward = without_mask
    network.config.initializer_range = 1.0
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(8)  # an untrained model predicts the same everywhere; make it care
    assert not agrees(network, ROWS, torch.float32)


def test_packs_are_small_and_divide_the_batch() -> None:
    short = [{"input_ids": [1] * 20, "labels": [IGNORED] * 19 + [1]}] * 16
    long = [{"input_ids": [number] * 900, "labels": [IGNORED] * 899 + [1]} for number in range(16)]

    assert rows_per_pack(short, 8) == 8
    assert rows_per_pack(long, 8) == 1
    assert rows_per_pack(short, 7) == 7


def test_prompt_labels_are_the_tokens_that_are_no_answer_but_the_first() -> None:
    assert prompt_labels([5, 6, 7, 8], [IGNORED, IGNORED, 7, 8]) == [IGNORED, 6, IGNORED, IGNORED]


def test_packed_and_padded_batches_agree_on_which_prompt_tokens_count() -> None:
    """But for the shared beginning, which a pack holds once and leaves out."""
    rows = [
        {"input_ids": [1, 2, 3, 9], "labels": [IGNORED, IGNORED, IGNORED, 9]},
        {"input_ids": [1, 2, 4, 5, 8], "labels": [IGNORED, IGNORED, IGNORED, IGNORED, 8]},
    ]
    packed = PackingCollator(torch.float32)(rows)
    assert packed["input_ids"].tolist() == [[1, 2, 3, 9, 4, 5, 8]]
    assert packed["prompt_labels"].tolist() == [[IGNORED] * 5 + [5, IGNORED]]
    padded = PaddingCollator(0)(rows)
    assert padded["prompt_labels"].tolist() == [[IGNORED, 2, 3, IGNORED, IGNORED], [IGNORED, 2, 4, 5, IGNORED]]
