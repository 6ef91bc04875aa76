"""Chooses between the whole model on each device (DDP) and a share of it (FSDP)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from tuneport.data.rows.json_files import count_safetensors_numbers
from tuneport.errors import ConfigError
from tuneport.types import Adapter

Sharding = Literal["single", "ddp", "fsdp"]

SHARE_FOR_WEIGHTS = 0.7
"""Of a device's memory; activations, the buckets of gradients in flight and the allocator's slack take the rest."""

BYTES_PER_PARAMETER = {
    # fp32 weights, their gradients, Adam's two moments, and DDP's second copy of the gradients
    Adapter.FULL: 4 + 4 + 8 + 4,
    # bf16 weights without gradients; what is trained beside them is a few percent
    Adapter.LORA: 2.1,
    Adapter.PREFIX: 2.1,
    Adapter.PROMPT: 2.1,
    # 4 bits and the scales of NF4 (Dettmers et al. 2023: 4.127 bits); embeddings and head, not quantised, add to it
    Adapter.QLORA: 0.7,
}


def choose_sharding(parameters: int, adapter: Adapter, memory_of_device: int, workers: int) -> Sharding:
    """Choose DDP if each of the `workers` devices can hold the whole model with its gradients and moments, since it
    sends less; else FSDP, also if not even a share fits, as it comes closest. Memory in bytes."""
    if workers == 1:
        return "single"
    needed = parameters * BYTES_PER_PARAMETER[adapter]
    return "ddp" if needed <= memory_of_device * SHARE_FOR_WEIGHTS else "fsdp"


def count_safetensors_weights(folder: Path) -> int:
    """Count the parameters in the headers of a model folder's safetensors files."""
    total = 0
    for path in folder.glob("*.safetensors"):
        try:
            total += count_safetensors_numbers(path)
        except (OSError, ValueError) as error:
            raise ConfigError(f"{path} cannot be read: {error}; fetch the model again") from error
    return total


def training_device_memory(kind: str, workers_here: int) -> int:
    """Return the bytes of this process's GPU, or of its share of the machine's memory."""
    import psutil
    import torch

    if kind == "cuda":
        return int(torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory)
    return int(psutil.virtual_memory().total) // workers_here


def fsdp_arguments() -> dict[str, Any]:
    """Return FSDP2's TrainingArguments: a unit for each layer of the model, whole weights in what is saved."""
    return {
        "fsdp": True,
        "fsdp_config": {
            "version": 2,
            "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
            "state_dict_type": "FULL_STATE_DICT",
            "reshard_after_forward": True,
        },
    }
