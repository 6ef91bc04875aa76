"""Adapters that put something before every input, a trained prefix or prompt, as the cache that the model would have.

So they need nothing of PEFT's when a model answers, and stand beside LoRA adapters of the same base.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import DynamicCache

from tuneport.errors import ConfigError

_KINDS = ("PREFIX_TUNING", "PROMPT_TUNING")


def has_virtual_tokens(folder: Path) -> bool:
    return _kind(folder) in _KINDS


def remembered(folder: Path, model: Any) -> DynamicCache:
    """One row's cache after the adapter's tokens. ConfigError where they do not fit the model."""
    try:
        weights = load_file(folder / "adapter_model.safetensors")["prompt_embeddings"]
    except (OSError, KeyError, SafetensorError) as error:
        reason = str(error).strip().split("\n", 1)[0]
        raise ConfigError(f"the adapter in {folder} cannot be read: {reason}; train it again") from error
    weights = weights.to(model.device, model.dtype)
    cache = DynamicCache(config=model.config)
    config = model.config.get_text_config()
    try:
        if _kind(folder) == "PROMPT_TUNING":
            model(inputs_embeds=weights[None], past_key_values=cache, use_cache=True, logits_to_keep=1)
            return cache
        # PEFT's order: of each token, layer by layer, the keys of all heads and then the values.
        shaped = weights.view(len(weights), config.num_hidden_layers, 2, config.num_key_value_heads, -1)
        for number, layer in enumerate(shaped.permute(1, 2, 3, 0, 4)):
            cache.update(layer[0][None], layer[1][None], number)
    except RuntimeError as error:
        reason = str(error).strip().split("\n", 1)[0]
        raise ConfigError(f"the adapter in {folder} does not fit this model: {reason}") from error
    return cache


def _kind(folder: Path) -> str:
    return str(json.loads((folder / "adapter_config.json").read_text(encoding="utf-8")).get("peft_type"))
