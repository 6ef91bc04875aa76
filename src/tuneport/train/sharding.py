"""Whether each device holds the whole model (DDP) or a share of it (FSDP): what fits."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, Literal

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
    """DDP where each of the `workers` devices can hold the whole model with its gradients and moments, since it sends
    less; FSDP where only a share fits, or not even that: it is then the one that comes closest. Memory in bytes."""
    if workers == 1:
        return "single"
    needed = parameters * BYTES_PER_PARAMETER[adapter]
    return "ddp" if needed <= memory_of_device * SHARE_FOR_WEIGHTS else "fsdp"


def parameters_of(folder: Path) -> int:
    """Counted in the headers of a model folder's safetensors files."""
    total = 0
    for path in folder.glob("*.safetensors"):
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        total += sum(math.prod(row["shape"]) for name, row in header.items() if name != "__metadata__")
    return total


def memory_of_device(kind: str, workers_here: int) -> int:
    """In bytes: of this process's GPU, or its share of the machine's memory."""
    import psutil
    import torch

    if kind == "cuda":
        return int(torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory)
    return int(psutil.virtual_memory().total) // workers_here


def fsdp_arguments() -> dict[str, Any]:
    """As TrainingArguments: FSDP2, a unit for each layer of the model, whole weights in what is saved."""
    return {
        "fsdp": True,
        "fsdp_config": {
            "version": 2,
            "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
            "state_dict_type": "FULL_STATE_DICT",
            "reshard_after_forward": True,
        },
    }
