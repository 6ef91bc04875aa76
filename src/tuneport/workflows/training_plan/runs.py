"""Runs of tuneport's own trainer on a GPU: numbers and options of a job, as the estimates take them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from tuneport.errors import ConfigError
from tuneport.estimate.hyperparameters import Recommended
from tuneport.estimate.memory import ALL_LINEAR, TrainingShape
from tuneport.training_options import TrainingOptions, micro_batch_rows
from tuneport.types import Adapter, Method

_MODULES = {f"{name}_proj": name for name in ALL_LINEAR}


@dataclass(frozen=True)
class OptimizerStep:
    """One optimizer step: `run` is one micro-step of a GPU, and `accumulation` of them make a batch. `counts` are the
    numbers of GPUs that may train it together."""

    run: TrainingShape
    accumulation: int
    counts: tuple[int, ...]
    sharding: Literal["auto", "ddp", "fsdp"]


def plan_training_optimizer_step(
    method: Method,
    adapter: Adapter,
    numbers: Mapping[str, Recommended],
    options: TrainingOptions,
    *,
    params_b: float | None,
    longest: int | None,
) -> OptimizerStep:
    """Return the step. `longest` is the longest example in tokens, if it is known. Raises ConfigError for options that
    no estimate takes."""
    batch, most = int(numbers["batch_size"].value), int(numbers["max_length"].value)
    length = min(most, longest or most)
    written = 0
    traits = method.traits
    if traits.generations is not None:
        length += options.max_completion_length  # the data has questions only
        batch *= options.generations or traits.generations
        written = batch
    at_once = micro_batch_rows(method, batch, length)
    fp32 = options.precision == "fp32"
    run = TrainingShape(
        micro_batch=at_once,
        length=length,
        examples=traits.examples,
        generation_batch=written,
        checkpointing=options.checkpoints_activations(adapter, (params_b or 0) * 1e9),
        lora_rank=int(numbers["lora_rank"].value),
        lora_targets=planned_adapter_targets(options),
        lora_dropout=0.0 if method.writes_answers else float(numbers["lora_dropout"].value),
        dora=options.lora_variant == "dora",
        virtual_tokens=int(numbers["virtual_tokens"].value),
        autocast=not fp32,
        base_weights="fp32" if fp32 else "16 bit",
        optimizer="adamw_fused" if options.optimizer == "adamw" else options.optimizer,
    )
    return OptimizerStep(run, max(1, batch // at_once), _counts(method, options, batch), options.sharding)


def planned_adapter_targets(options: TrainingOptions) -> tuple[str, ...]:
    if options.lora_modules_to_save:
        raise ConfigError("a plan does not cover lora_modules_to_save: modules trained whole; leave the option out")
    given = options.lora_target_modules
    if given is None or given == "all-linear":
        return ALL_LINEAR
    if unknown := [name for name in given if name not in _MODULES]:
        raise ConfigError(f"a plan does not know the module {unknown[0]}; it counts {', '.join(_MODULES)}")
    return tuple(_MODULES[name] for name in given)


def _counts(method: Method, options: TrainingOptions, batch: int) -> tuple[int, ...]:
    """Return the numbers of GPUs: the option `workers`, else any that shares the batch out evenly; one if only one can
    train."""
    if method.writes_answers or options.executor == "slurm":
        return (1,)
    if options.workers == "auto" or "workers" not in options.model_fields_set:
        return tuple(count for count in (1, 2, 4, 8) if batch % count == 0)
    return (options.workers,)
