"""The arguments of every method's trainer: the run's numbers in TRL's terms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tuneport.base_models import BaseModelDevice
from tuneport.train.model.sharding import Sharding, fsdp_arguments
from tuneport.train.speed.acceleration import Acceleration, acceleration_here
from tuneport.training_options import GPU_TOKENS, TrainingOptions, micro_batch_rows
from tuneport.types import Adapter, Method

CPU_TOKENS = 640
"""Of a padded micro-batch: a row of that size keeps all cores busy by itself, and needs no padding."""


@dataclass(frozen=True)
class TrainingRecipe:
    """The settings of a trainer, beside its data.

    `micro_batch_limit`: rows at once that are known to fit into memory. `working` is a folder for its files; `start`
    has the adapter to continue from.
    """

    method: Method
    folder: Path
    device: BaseModelDevice
    adapter: Adapter
    numbers: dict[str, Any]
    options: TrainingOptions
    seed: int
    validates: bool
    working: Path
    note: Callable[[str], None]
    micro_batch_limit: int | None = None
    start: Path | None = None
    workers: int = 1
    sharding: Sharding = "single"

    @property
    def rows_per_worker(self) -> int:
        """Return how many rows of a step one worker sees."""
        return int(self.numbers["batch_size"]) // self.workers

    @property
    def fuses_lora_layers(self) -> bool:
        """Return whether LoRA layers may be fused into one operation: on CPUs, but not under FSDP, which has to see
        each called."""
        return self.device.name == "cpu" and self.sharding != "fsdp"

    @property
    def trains_base_weights(self) -> bool:
        """Return whether weights of the base itself are trained, all of them or those of some modules."""
        return self.adapter is Adapter.FULL or bool(self.options.lora_modules_to_save)

    @cached_property
    def acceleration(self) -> Acceleration:
        return acceleration_here(self.device)


OPTIMIZERS = {
    "adamw": "adamw_torch_fused",
    "adamw_8bit": "adamw_bnb_8bit",
    "paged_adamw_8bit": "paged_adamw_8bit",
}
"""transformers' names, by the option's."""


def training_arguments(recipe: TrainingRecipe, model: Any, micro_batch: int) -> dict[str, Any]:
    """Return the TrainingArguments that all methods share."""
    numbers = recipe.numbers
    return {
        "output_dir": str(recipe.working),
        "num_train_epochs": numbers["epochs"],
        "per_device_train_batch_size": micro_batch,
        "per_device_eval_batch_size": micro_batch,
        "gradient_accumulation_steps": recipe.rows_per_worker // micro_batch,
        "learning_rate": numbers["learning_rate"],
        "lr_scheduler_type": recipe.options.lr_scheduler_type,
        "warmup_steps": numbers["warmup_ratio"],  # below 1 it is a share of the steps
        "weight_decay": numbers["weight_decay"],
        "optim": OPTIMIZERS[recipe.options.optimizer],
        "max_grad_norm": 1.0,
        # Adapters stay in fp32 beside a bf16 base; PEFT casts, so that autocast (slow on CPUs) is for GPUs only.
        "bf16": recipe.device.precision == "bf16" and recipe.device.name == "cuda",
        "fp16": recipe.device.precision == "fp16" and recipe.device.name == "cuda",
        "use_cpu": recipe.device.name == "cpu",
        "ddp_backend": "gloo" if recipe.device.name == "cpu" and recipe.workers > 1 else None,
        "gradient_checkpointing": recipe.options.checkpoints_activations(recipe.adapter, model.num_parameters()),
        "train_sampling_strategy": "random" if recipe.device.name == "cpu" else "group_by_length",
        "use_liger_kernel": recipe.acceleration.liger,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "save_strategy": "no",  # CheckpointSchedule says when
        "eval_strategy": "no",
        **(fsdp_arguments() if recipe.sharding == "fsdp" else {}),
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": recipe.device.name == "cuda",
        "seed": recipe.seed,
    }


def choose_micro_batch(recipe: TrainingRecipe, longest: int) -> int:
    """Return how many rows of texts of up to `longest` tokens go through the model at once: a divisor of a worker's
    batch."""
    tokens = CPU_TOKENS if recipe.device.name == "cpu" else GPU_TOKENS
    return micro_batch_rows(
        recipe.method, recipe.rows_per_worker, longest, tokens=tokens, most=recipe.micro_batch_limit
    )
