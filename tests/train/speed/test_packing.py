"""Packed rows must be to the model what each row alone is: same loss, same gradients, nothing leaks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from tuneport.data.templates.rendering import IGNORED
from tuneport.train.speed import attention
from tuneport.train.speed.attention import PACKED
from tuneport.train.speed.packing import (
    PackingCollator,
    PaddingCollator,
    PaddingFreeCollator,
    enable_packed_attention,
    prompt_loss_targets,
    rows_per_pack,
    shared_prefix_length,
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

    return AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32, attn_implementation=PACKED)


def caring(network: Any) -> Any:
    """An untrained model predicts the same everywhere; make it care."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(8)
    return network


def long_row(seed: int, tokens: int) -> dict[str, list[int]]:
    ids = [*SYSTEM, *torch.randint(3, 250, (tokens - len(SYSTEM),), generator=torch.manual_seed(seed)).tolist()]
    return {"input_ids": ids, "labels": [IGNORED] * 20 + ids[20:]}


def losses_and_gradients(network: Any, batches: list[dict[str, Any]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Of each trained token in order, and of all parameters."""
    network.zero_grad()
    found = []
    for batch in batches:
        batch = dict(batch)
        batch.pop("useful_tokens")
        batch.pop("prompt_labels")
        labels = batch.pop("labels")
        logits = network(**batch, use_cache=False).logits
        losses = F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), reduction="none")
        losses.sum().backward()
        found.append(losses.detach()[labels[:, 1:].flatten() != IGNORED])
    return torch.cat(found), torch.cat([p.grad.flatten() for p in network.parameters()])


@pytest.mark.parametrize("kept_scores", [attention.KEPT_SCORES, 0])
@pytest.mark.parametrize(
    "rows",
    [ROWS, [long_row(1, 300), *ROWS, long_row(2, 130), long_row(3, 400)], [long_row(4, 500)]],
    ids=["short", "mixed", "one long row"],
)
def test_a_pack_has_each_tokens_loss_and_the_gradients_of_its_rows(
    network: Any, rows: list[dict[str, list[int]]], kept_scores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "KEPT_SCORES", kept_scores)
    alone, alone_gradients = losses_and_gradients(network, [PaddingCollator(2)([row]) for row in rows])
    packed, packed_gradients = losses_and_gradients(network, [PackingCollator()(rows)])
    padded, padded_gradients = losses_and_gradients(network, [PaddingCollator(2)(rows)])

    assert torch.allclose(packed, alone, rtol=1e-4, atol=1e-4) and torch.allclose(padded, alone, rtol=1e-4, atol=1e-4)
    scale = alone_gradients.abs().max()
    assert torch.allclose(packed_gradients, alone_gradients, rtol=1e-3, atol=1e-5 * scale)
    assert torch.allclose(padded_gradients, alone_gradients, rtol=1e-3, atol=1e-5 * scale)


def test_blocks_are_small_and_hold_what_each_query_sees() -> None:
    plan = attention.PackedAttentionBlocks(3, [40, 50, 600])

    assert [(block.begin, block.end, block.first_key) for block in plan.blocks] == [
        (0, 93, 0),
        (93, 293, 93),
        (293, 493, 93),
        (493, 693, 93),
    ]
    seen = torch.zeros(693, 693)
    for block in plan.blocks:
        keys = [*range(block.shared), *range(block.first_key, block.end)]
        seen[block.begin : block.end, keys] = block.sees.float()
    expected = torch.zeros(693, 693)
    for begin, end in ((0, 3), (3, 43), (43, 93), (93, 693)):
        expected[begin:end, :3] = 1
        expected[begin:end, begin:end] = 1
    assert torch.equal(seen, expected.tril())


def test_without_padding_each_row_stands_by_itself(network: Any) -> None:
    """What FlashAttention is told of a batch; the same as TRL's collator says."""
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    batch = PaddingFreeCollator()(ROWS)
    expected = DataCollatorForLanguageModeling(pad_token_id=2, padding_free=True)([dict(row) for row in ROWS])

    for name in ("input_ids", "labels", "position_ids", "cu_seq_lens_q", "cu_seq_lens_k"):
        assert torch.equal(batch[name], expected[name]), name
    assert batch["cu_seq_lens_q"].dtype == expected["cu_seq_lens_q"].dtype
    assert batch["max_length_q"] == batch["max_length_k"] == expected["max_length_q"] == 11
    assert "attention_mask" not in batch and int(batch["useful_tokens"]) == 30
    assert (batch["prompt_labels"] == IGNORED).flatten()[[0, 10, 19]].all()  # nothing predicts a row's first token

    # SDPA keeps rows apart by the positions alone, so that the batch can be tried without a GPU.
    network.set_attn_implementation("sdpa")
    alone, alone_gradients = losses_and_gradients(network, [PaddingCollator(2)([row]) for row in ROWS])
    joined, joined_gradients = losses_and_gradients(network, [batch])
    assert torch.allclose(joined, alone, rtol=1e-4, atol=1e-4)
    assert torch.allclose(joined_gradients, alone_gradients, rtol=1e-3, atol=1e-5 * alone_gradients.abs().max())


def test_the_shared_beginning_is_computed_once() -> None:
    batch = PackingCollator()(ROWS)

    assert batch["input_ids"].shape == (1, 5 + 5 + 4 + 6)
    assert batch["position_ids"][0].tolist() == [0, 1, 2, 3, 4, *range(5, 10), *range(5, 9), *range(5, 11)]
    assert int(batch["useful_tokens"]) == 10 + 9 + 11


def test_the_token_before_the_first_trained_one_is_never_shared() -> None:
    same = [{"input_ids": [1, 5, 6, 7], "labels": [IGNORED, IGNORED, 6, 7]}] * 2

    assert shared_prefix_length(same) == 1  # 5 predicts 6, so each row has its own
    whole = [{"input_ids": [1, 5, 6], "labels": [1, 5, 6]}] * 2
    assert shared_prefix_length(whole) == 0


def test_a_leak_is_noticed(network: Any) -> None:
    network = caring(network)
    network.set_attn_implementation("sdpa")
    assert enable_packed_attention(network, ROWS) and network.config._attn_implementation == PACKED

    network.set_attn_implementation("sdpa")
    backbone = network.model.forward

    def without_blocks(*args: Any, blocks: Any = None, attention_mask: Any = None, **kwargs: Any) -> Any:
        return backbone(*args, **{**kwargs, "position_ids": None})  # plain causal attention: rows see each other

    network.model.forward = without_blocks
    assert not enable_packed_attention(network, ROWS) and network.config._attn_implementation == "sdpa"


@pytest.mark.parametrize("setting", [{"layer_types": ["sliding_attention"] * 2}, {"attention_dropout": 0.1}])
def test_a_model_that_looks_at_order_or_drops_attention_is_not_packed(network: Any, setting: dict[str, Any]) -> None:
    network.config.update(setting)
    assert not enable_packed_attention(network, ROWS)


def test_packs_are_small_and_divide_the_batch() -> None:
    short = [{"input_ids": [1] * 20, "labels": [IGNORED] * 19 + [1]}] * 16
    long = [{"input_ids": [number] * 900, "labels": [IGNORED] * 899 + [1]} for number in range(16)]

    assert rows_per_pack(short, 8) == 8
    assert rows_per_pack(long, 8) == 2
    assert rows_per_pack(short, 7) == 7


def test_prompt_labels_are_the_tokens_that_are_no_answer_but_the_first() -> None:
    assert prompt_loss_targets([5, 6, 7, 8], [IGNORED, IGNORED, 7, 8]) == [IGNORED, 6, IGNORED, IGNORED]


def test_packed_and_padded_batches_agree_on_which_prompt_tokens_count() -> None:
    """But for the shared beginning, which a pack holds once and leaves out."""
    rows = [
        {"input_ids": [1, 2, 3, 9], "labels": [IGNORED, IGNORED, IGNORED, 9]},
        {"input_ids": [1, 2, 4, 5, 8], "labels": [IGNORED, IGNORED, IGNORED, IGNORED, 8]},
    ]
    packed = PackingCollator()(rows)
    assert packed["input_ids"].tolist() == [[1, 2, 3, 9, 4, 5, 8]]
    assert packed["prompt_labels"].tolist() == [[IGNORED] * 5 + [5, IGNORED]]
    padded = PaddingCollator(0)(rows)
    assert padded["prompt_labels"].tolist() == [[IGNORED, 2, 3, IGNORED, IGNORED], [IGNORED, 2, 4, 5, IGNORED]]
