"""Limits of concurrent work, by the memory of the device."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from tuneport.infer.engine import InferenceEngine

SHARE_FOR_CACHE = {"cpu": 0.4, "mps": 0.4}  # of what is free: other programs live there too
DEFAULT_SHARE_FOR_CACHE = 0.7
ROWS = {"cpu": 32, "mps": 32}
DEFAULT_ROWS = 128
TOKENS_READ_TOGETHER = {"cpu": 2_048}
DEFAULT_TOKENS_READ_TOGETHER = 16_384


@dataclass(frozen=True)
class BatchLimits:
    """`rows` are decoded together at most; `tokens` counts their cache at its longest, padding included;
    `tokens_read_together` bounds the prompts that are read in one pass. A single prompt is always taken."""

    rows: int
    tokens: int
    tokens_read_together: int


def choose_batch_limits(engine: InferenceEngine) -> BatchLimits:
    kind = engine.input_device.type
    share = SHARE_FOR_CACHE.get(kind, DEFAULT_SHARE_FOR_CACHE)
    return BatchLimits(
        rows=ROWS.get(kind, DEFAULT_ROWS),
        tokens=max(1, int(_free_bytes(engine) * share) // inference_cache_bytes_per_token(engine)),
        tokens_read_together=TOKENS_READ_TOGETHER.get(kind, DEFAULT_TOKENS_READ_TOGETHER),
    )


def inference_cache_bytes_per_token(engine: InferenceEngine) -> int:
    """Return the bytes of keys and values of all layers: 2 x layers x heads x width x bytes; twice that, since a step
    makes new ones before the old ones are freed."""
    config = engine.model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    size = getattr(torch, engine.device.dtype).itemsize
    return int(2 * 2 * config.num_hidden_layers * heads * width * size)


def _free_bytes(engine: InferenceEngine) -> int:
    kind = engine.input_device.type
    if kind == "cuda":
        # The layers, and so their caches, are spread evenly over the GPUs in use: the fullest one decides.
        used = {parameter.device for parameter in engine.model.parameters() if parameter.device.type == "cuda"}
        return min(torch.cuda.mem_get_info(device)[0] for device in used) * len(used)
    if kind == "mps":
        return max(0, torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())
    import psutil

    return int(psutil.virtual_memory().available)
