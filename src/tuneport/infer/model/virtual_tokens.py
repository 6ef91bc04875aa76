"""Adapters that put something before every input, a trained prefix or prompt, as the cache that the model would have.

So they need nothing of PEFT's when a model answers, and stand beside LoRA adapters of the same base.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import DynamicCache

from tuneport.errors import ConfigError
from tuneport.validation import read_json_object

_KINDS = ("PREFIX_TUNING", "PROMPT_TUNING")


def uses_virtual_tokens_cache(folder: Path) -> bool:
    return _kind(folder) in _KINDS


def cache_of_virtual_tokens(folder: Path, model: Any) -> DynamicCache:
    """Return one row's cache after the adapter's tokens. Raises ConfigError if they do not fit the model."""
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
        devices = [next(layer.parameters()).device for layer in model.get_decoder().layers]
        for number, layer in enumerate(shaped.permute(1, 2, 3, 0, 4)):
            cache.update(*layer[:, None].to(devices[number]), number)
    except RuntimeError as error:
        reason = str(error).strip().split("\n", 1)[0]
        raise ConfigError(f"the adapter in {folder} does not fit this model: {reason}") from error
    return cache


def _kind(folder: Path) -> str:
    from peft import PeftType

    path = folder / "adapter_config.json"
    try:
        config = read_json_object(path)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}; train or download the adapter again") from error
    kind = config.get("peft_type")
    if kind not in list(PeftType):
        raise ConfigError(f"{path} has the adapter type {kind!r}, which the installed peft does not know; update peft")
    return str(kind)
