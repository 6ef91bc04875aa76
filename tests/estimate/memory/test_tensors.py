"""The coefficients of the memory formula, read again off the installed transformers, peft and torch.

What autograd keeps of a forward pass is counted by its own hooks, on a small model whose dimensions tell terms apart;
the difference between three layers and two, at two lengths, is what one layer keeps of one token.
"""

from __future__ import annotations

import importlib.util
import weakref
from dataclasses import replace
from typing import Any

import pytest

from tuneport.estimate.memory import ALL_LINEAR, TrainingShape
from tuneport.estimate.memory.tensors import saved_per_layer_token
from tuneport.manifests import ModelDimensions
from tuneport.types import Adapter

# Looked for and not imported: each process that collects the tests would spend 3 s on it.
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("peft") is None, reason="local training is an extra: pip install 'tuneport[local]'"
)

SHAPE = ModelDimensions(
    hidden_size=256,
    layers=3,
    heads=8,
    kv_heads=2,
    intermediate_size=704,
    vocab_size=500,
    tied_embeddings=True,
)
LENGTHS = (128, 512)


class Kept:
    """A tensor that autograd holds; gone when autograd lets go of it."""

    def __init__(self, tensor: Any) -> None:
        self.tensor = tensor


def kept_bytes(model: Any, length: int, *, autocast: bool) -> int:
    import torch

    own = {p.untyped_storage()._cdata for p in [*model.parameters(), *model.buffers()]}
    live: weakref.WeakSet[Kept] = weakref.WeakSet()

    def pack(tensor: Any) -> Kept:
        kept = Kept(tensor)
        live.add(kept)
        return kept

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda kept: kept.tensor):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            output = model(input_ids=torch.zeros(1, length, dtype=torch.long), use_cache=False, logits_to_keep=1)
    storages = {kept.tensor.untyped_storage()._cdata: kept.tensor.untyped_storage().nbytes() for kept in live}
    del output
    return sum(size for storage, size in storages.items() if storage not in own)


def model_of(layers: int, adapter: Adapter, run: TrainingShape) -> Any:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        hidden_size=SHAPE.hidden_size,
        intermediate_size=SHAPE.intermediate_size,
        num_hidden_layers=layers,
        num_attention_heads=SHAPE.heads,
        num_key_value_heads=SHAPE.kv_heads,
        vocab_size=SHAPE.vocab_size,
        tie_word_embeddings=True,
    )
    model = LlamaForCausalLM(config).to(torch.float32 if run.full_weights == "fp32" else torch.bfloat16)
    if adapter is Adapter.LORA:
        targets = [f"{name}_proj" for name in run.lora_targets]
        model = get_peft_model(
            model.to(torch.float32 if run.base_weights == "fp32" else torch.bfloat16),
            LoraConfig(r=run.lora_rank, target_modules=targets, use_dora=run.dora, task_type="CAUSAL_LM"),
        )
    return model.train()


BASE = TrainingShape(lora_rank=8, full_weights="bf16", autocast=False)
CASES = {
    "full, bf16": (Adapter.FULL, BASE),
    "full, mixed precision": (Adapter.FULL, replace(BASE, full_weights="fp32", autocast=True)),
    "full, fp32": (Adapter.FULL, replace(BASE, full_weights="fp32")),
    "lora on all linear, fp32": (Adapter.LORA, replace(BASE, base_weights="fp32")),
    "lora on q and v, autocast": (Adapter.LORA, replace(BASE, autocast=True, lora_targets=("q", "v"))),
    "lora on all linear, autocast": (Adapter.LORA, replace(BASE, autocast=True)),
    "lora on q and v": (Adapter.LORA, replace(BASE, lora_targets=("q", "v"))),
    "lora on all linear": (Adapter.LORA, BASE),
    "dora on q and v": (Adapter.LORA, replace(BASE, dora=True, lora_targets=("q", "v"))),
    "dora on all linear, autocast": (Adapter.LORA, replace(BASE, dora=True, autocast=True)),
}


@pytest.mark.parametrize("case", CASES)
def test_what_a_layer_keeps_of_a_token(case: str) -> None:
    adapter, run = CASES[case]
    assert run.lora_targets in (ALL_LINEAR, ("q", "v"))
    kept = {}
    for layers in (3, 2):
        model = model_of(layers, adapter, run)
        for length in LENGTHS:
            kept[layers, length] = kept_bytes(model, length, autocast=run.autocast)
    short, long = LENGTHS
    slope = (kept[3, long] - kept[2, long] - kept[3, short] + kept[2, short]) / (long - short)
    assert slope == pytest.approx(saved_per_layer_token(adapter, SHAPE, run), rel=0.01)
