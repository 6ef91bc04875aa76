"""The base model and its adapter, on the device and in the precision that this machine does best."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, BitsAndBytesConfig, PreTrainedModel

from tuneport.base_models import BaseModelDevice
from tuneport.data.tokens.tokenizer import refuse_tokenizer_remote_code
from tuneport.errors import ConfigError
from tuneport.types import Adapter

# What a run uses where its request leaves `auto`. The parent resolves by model and data; these, the same rules for a
# usual model, are for runs without.
DEFAULTS: dict[str, int | float] = {
    "epochs": 3,
    "batch_size": 8,
    "learning_rate": 2e-4,
    "warmup_ratio": 0.05,
    "weight_decay": 0.01,
    "lora_rank": 16,
    "lora_alpha": 32,
    "lora_dropout": 0.05,
    "virtual_tokens": 20,
    "beta": 0.1,
}


def resolve_training_numbers(hyperparameters: dict[str, Any]) -> dict[str, Any]:
    """Return the hyperparameters as numbers; `max_length` may stay None: then the model's own limit holds."""
    given = {name: value for name, value in hyperparameters.items() if value not in (None, "auto")}
    return DEFAULTS | {"max_length": None} | given


def load_trainable_model(
    folder: Path,
    device: BaseModelDevice,
    adapter: Adapter,
    *,
    whole: bool = False,
    attention: str = "sdpa",
    scores: bool = False,
    trust_remote_code: bool = False,
    sharded: bool = False,
) -> PreTrainedModel:
    """Load the model. `whole`: weights of the base are trained, so they are fp32: updates are smaller than bf16 can
    represent.

    `scores`: with a new head of one number instead of the language model's. `trust_remote_code`: run the code that came
    with the weights, if transformers has none of its own for them. `sharded`: fit for FSDP, which needs one dtype for
    everything that it shards.
    """
    kind = AutoModelForSequenceClassification if scores else AutoModelForCausalLM
    arguments: dict[str, Any] = {
        "dtype": getattr(torch, device.dtype),
        "attn_implementation": attention,
        "trust_remote_code": trust_remote_code,
        "use_safetensors": True,
    }
    if whole:
        arguments["dtype"] = torch.float32
    if adapter is Adapter.QLORA:
        storage = getattr(torch, device.dtype) if sharded else None
        compute = torch.float32 if device.precision == "fp32" else getattr(torch, device.dtype)
        arguments["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=compute,
            # Four bits in numbers that FSDP can share out; the memory is the same.
            bnb_4bit_quant_storage=storage or torch.uint8,
            llm_int8_skip_modules=["score"] if scores else None,  # None: the head that writes, whatever its name
        )
        arguments["device_map"] = {"": torch.cuda.current_device() if device.name == "cuda" else device.name}
    try:
        model = kind.from_pretrained(folder, **arguments, **({"num_labels": 1} if scores else {}))
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError, SafetensorError) as error:
        refuse_tokenizer_remote_code(folder, error)
        raise ConfigError(f"the base model in {folder} cannot be loaded: {_first_line(error)}") from error
    if adapter is not Adapter.QLORA:
        return model.to(device.name)
    if device.name == "cpu":
        _keep_differentiable(model)
    return model


def _keep_differentiable(model: PreTrainedModel) -> None:
    """Keep bitsandbytes (0.50) from repacking 4-bit weights for inference.

    On CPUs with AVX512-BF16 the first forward pass in evaluation mode repacks them for a kernel without a backward
    pass, and stays with it: from then on no gradient gets through the layer, and training continues without an error.
    """
    from bitsandbytes.nn import Linear4bit

    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False


def build_lora_config(
    numbers: dict[str, Any], targets: str | list[str] | None = None, variant: str | None = None
) -> LoraConfig:
    """Build the LoRA config. `variant` rslora scales by alpha / sqrt(rank) (Kalajdzievski 2023); dora trains magnitudes
    apart from directions (Liu et al. 2024)."""
    return LoraConfig(
        use_rslora=variant == "rslora",
        use_dora=variant == "dora",
        r=int(numbers["lora_rank"]),
        lora_alpha=numbers["lora_alpha"],
        lora_dropout=numbers["lora_dropout"],
        target_modules=targets or "all-linear",
        bias="none",
        task_type="CAUSAL_LM",
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0]
