"""What every method's trainer is given: the run's numbers, and how they are said to TRL."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuneport.base_models import Device
from tuneport.train.loading import CHECKPOINTING_FROM_PARAMETERS
from tuneport.train.packing import MAX_TOKENS
from tuneport.train.sharding import Sharding, fsdp_arguments
from tuneport.training_options import TrainingOptions
from tuneport.types import Adapter

GPU_TOKENS = 8192
"""Of a micro-batch, padding counted: enough to keep a GPU busy, little enough to fit beside a model."""


@dataclass(frozen=True)
class Recipe:
    """What a trainer needs beside its data. `working` is where it may write."""

    folder: Path
    device: Device
    adapter: Adapter
    numbers: dict[str, Any]
    options: TrainingOptions
    seed: int
    validates: bool
    working: Path
    note: Callable[[str], None]
    workers: int = 1
    sharding: Sharding = "single"

    @property
    def batch_of_worker(self) -> int:
        """Rows of a step that one of the workers sees."""
        return int(self.numbers["batch_size"]) // self.workers


def training_arguments(recipe: Recipe, model: Any, micro_batch: int) -> dict[str, Any]:
    """What all methods have in common, as TrainingArguments."""
    numbers = recipe.numbers
    large = model.num_parameters() >= CHECKPOINTING_FROM_PARAMETERS
    return {
        "output_dir": str(recipe.working),
        "num_train_epochs": numbers["epochs"],
        "per_device_train_batch_size": micro_batch,
        "per_device_eval_batch_size": micro_batch,
        "gradient_accumulation_steps": recipe.batch_of_worker // micro_batch,
        "learning_rate": numbers["learning_rate"],
        "lr_scheduler_type": "cosine",
        "warmup_steps": numbers["warmup_ratio"],  # below 1 it is a share of the steps
        "weight_decay": numbers["weight_decay"],
        "max_grad_norm": 1.0,
        # Adapters stay in fp32 beside a bf16 base; PEFT casts, so that autocast (slow on CPUs) is for GPUs only.
        "bf16": recipe.device.precision == "bf16" and recipe.device.name == "cuda",
        "fp16": recipe.device.precision == "fp16" and recipe.device.name == "cuda",
        "use_cpu": recipe.device.name == "cpu",
        "ddp_backend": "gloo" if recipe.device.name == "cpu" and recipe.workers > 1 else None,
        "gradient_checkpointing": _checkpoints_activations(recipe, large),
        "train_sampling_strategy": "random" if recipe.device.name == "cpu" else "group_by_length",
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "save_strategy": "epoch",
        "eval_strategy": "epoch" if recipe.validates else "no",
        **(fsdp_arguments() if recipe.sharding == "fsdp" else {}),
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": recipe.device.name == "cuda",
        "seed": recipe.seed,
    }


def _checkpoints_activations(recipe: Recipe, large: bool) -> bool:
    chosen = recipe.options.gradient_checkpointing
    return (large and recipe.adapter is not Adapter.PREFIX) if chosen is None else chosen


def micro_batch_of(recipe: Recipe, longest: int, *, at_least: int = 1) -> int:
    """How many rows of up to `longest` tokens go through the model at once: a divisor of a worker's batch.

    On CPUs a row of packing size keeps all cores busy by itself, and needs no padding.
    """
    batch_size = recipe.batch_of_worker
    fitting = max(at_least, (MAX_TOKENS if recipe.device.name == "cpu" else GPU_TOKENS) // longest)
    return max(count for count in range(1, batch_size + 1) if batch_size % count == 0 and count <= fitting)
