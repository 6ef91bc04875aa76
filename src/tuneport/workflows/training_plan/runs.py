"""What tuneport's own trainer would put through a GPU: numbers and options of a job, as the estimates take them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from tuneport.errors import ConfigError
from tuneport.estimate.hyperparameters import Recommended
from tuneport.estimate.memory import ALL_LINEAR, Run, examples_of
from tuneport.training_options import GPU_TOKENS, TrainingOptions
from tuneport.types import Adapter, Method

FURTHER_PASSES = {Method.DPO: 1, Method.KTO: 3}
"""Forward passes without gradients over every example: of the reference, and kto's two of mismatched answers."""
GENERATIONS = {Method.GRPO: 8, Method.RFT: 8, Method.RLOO: 4}  # as the trainer, unless the option says otherwise
CHECKPOINTING_FROM_B = 1.0  # as the trainer
_MODULES = {f"{name}_proj": name for name in ALL_LINEAR}


@dataclass(frozen=True)
class Step:
    """One optimizer step: `run` is what goes through a GPU at once, of which `accumulation` make a batch. `counts` are
    the numbers of GPUs that may train it together."""

    run: Run
    accumulation: int
    counts: tuple[int, ...]
    sharding: Literal["auto", "ddp", "fsdp"]


def step_of(
    method: Method,
    adapter: Adapter,
    numbers: Mapping[str, Recommended],
    options: TrainingOptions,
    *,
    params_b: float | None,
    longest: int | None,
) -> Step:
    """`longest` is the longest example in tokens, where it is known. ConfigError for options that no estimate takes."""
    batch, most = int(numbers["batch_size"].value), int(numbers["max_length"].value)
    length = min(most, longest or most)
    written = 0
    if method.writes_answers:
        length += options.max_completion_length  # the data has questions only
        batch *= options.generations or GENERATIONS[method]
        written = batch
    at_once = micro_batch(batch, 2 * length if method is Method.DPO else length)
    if method is Method.KTO:
        at_once = max(2, at_once)  # a single example has no other to be mismatched with
    many = adapter is not Adapter.PREFIX and (params_b or 0) >= CHECKPOINTING_FROM_B
    fp32 = options.precision == "fp32"
    run = Run(
        micro_batch=at_once,
        length=length,
        examples=examples_of(method),
        written_at_once=written,
        checkpointing=many if options.gradient_checkpointing is None else options.gradient_checkpointing,
        lora_rank=int(numbers["lora_rank"].value),
        lora_targets=targets_of(options),
        lora_dropout=0.0 if method.writes_answers else float(numbers["lora_dropout"].value),
        dora=options.lora_variant == "dora",
        virtual_tokens=int(numbers["virtual_tokens"].value),
        autocast=not fp32,
        base_weights="fp32" if fp32 else "16 bit",
    )
    return Step(run, max(1, batch // at_once), _counts(method, options, batch), options.sharding)


def micro_batch(batch: int, length: int) -> int:
    """As the trainer splits a batch on a GPU: the largest divisor of it within `GPU_TOKENS`, at least 1."""
    fitting = max(1, GPU_TOKENS // length)
    return max(count for count in range(1, min(batch, fitting) + 1) if batch % count == 0)


def targets_of(options: TrainingOptions) -> tuple[str, ...]:
    if options.lora_modules_to_save:
        raise ConfigError("a plan does not cover lora_modules_to_save: modules trained whole; leave the option out")
    given = options.lora_target_modules
    if given is None or given == "all-linear":
        return ALL_LINEAR
    if unknown := [name for name in given if name not in _MODULES]:
        raise ConfigError(f"a plan does not know the module {unknown[0]}; it counts {', '.join(_MODULES)}")
    return tuple(_MODULES[name] for name in given)


def _counts(method: Method, options: TrainingOptions, batch: int) -> tuple[int, ...]:
    """Of GPUs: as the option `workers` says, else any that shares the batch out evenly; one for what trains on one."""
    if method.writes_answers or options.executor == "slurm":
        return (1,)
    if options.workers == "auto" or "workers" not in options.model_fields_set:
        return tuple(count for count in (1, 2, 4, 8) if batch % count == 0)
    return (options.workers,)
