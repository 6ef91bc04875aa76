"""Does a run fit into this machine? Asked before it starts, and by the trainer again before it loads anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tuneport.errors import UnsupportedError
from tuneport.estimate.hyperparameters import LENGTH_MIN
from tuneport.estimate.memory import (
    GIB,
    MemoryEstimate,
    TrainingShape,
    estimate_memory,
)
from tuneport.gpus import list_gpus
from tuneport.manifests import ModelDimensions, load_models
from tuneport.training_options import OptimizerMemory
from tuneport.types import Adapter, Method
from tuneport.validation import read_json_object

_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts")


@dataclass(frozen=True)
class LocalMemory:
    """Memory of the first GPU, else main memory, in GiB."""

    place: str
    total_gib: float
    free_gib: float


@dataclass(frozen=True)
class LocalModelSize:
    """The known size of a base model. `dimensions` None: the rule of thumb by `params_b` has to do."""

    params_b: float | None
    dimensions: ModelDimensions | None


def detect_local_memory() -> LocalMemory | None:
    """Return the memory of this machine, or None if it is unknown."""
    for gpu in list_gpus().gpus[:1]:
        if gpu.total_gib is not None and gpu.free_gib is not None:
            return LocalMemory(gpu.name, gpu.total_gib, gpu.free_gib)
    try:
        import psutil
    except ModuleNotFoundError:
        return None
    memory = psutil.virtual_memory()
    return LocalMemory("this machine", memory.total / GIB, memory.available / GIB)


def find_local_model_size(folder: Path, dimensions: ModelDimensions | None, params_b: float | None) -> LocalModelSize:
    """Return the model's size. `dimensions` come from the catalogue, else from the model's own config, if that
    describes a dense decoder."""
    return LocalModelSize(params_b, dimensions or _dimensions(folder))


def least_local_training_memory(
    size: LocalModelSize,
    adapter: Adapter,
    method: Method,
    numbers: Mapping[str, Any],
    optimizer: OptimizerMemory = "adamw_fused",
) -> MemoryEstimate | None:
    """Estimate the memory for one row at a time at its shortest."""
    length = numbers.get("max_length")
    run = TrainingShape(
        micro_batch=method.traits.least_rows,
        examples=method.traits.examples,
        length=length if isinstance(length, int) else LENGTH_MIN,
        lora_rank=numbers["lora_rank"] if isinstance(numbers.get("lora_rank"), int) else 16,
        optimizer=optimizer,
    )
    estimate = estimate_memory(adapter, params_b=size.params_b, dimensions=size.dimensions, run=run)
    if estimate is None or adapter is not Adapter.FULL or not run.reference or estimate.rule == "formula":
        return estimate
    # The formula has the second copy of the base, to be compared with; the rule of thumb does not.
    reference = 4 * (size.params_b or 0.0) * 1e9 / GIB
    return replace(
        estimate,
        low_gib=estimate.low_gib + reference,
        reserved_gib=estimate.reserved_gib + reference,
        expected_gib=estimate.expected_gib + reference,
        high_gib=estimate.high_gib + reference,
        components_gib=estimate.components_gib | {"reference": reference},
    )


def check_local_run_memory(
    model: str,
    size: LocalModelSize,
    adapter: Adapter,
    method: Method,
    numbers: Mapping[str, Any],
    *,
    busy: bool,
    force: bool,
    optimizer: OptimizerMemory = "adamw_fused",
) -> dict[str, Any] | None:
    """Return the need as the run's request keeps it, or None if it is unknown.

    Raises UnsupportedError if it exceeds this machine's memory: all of it while another run is `busy` here (which ends
    before this one's turn), else what is free. With `force` nothing is refused.
    """
    estimate, memory = least_local_training_memory(size, adapter, method, numbers, optimizer), detect_local_memory()
    if estimate is None or memory is None:
        return None
    room = memory.total_gib if busy else memory.free_gib
    need = partial(least_local_training_memory, method=method, numbers=numbers, optimizer=optimizer)
    advice = _advice(size, adapter, need, room)
    if estimate.expected_gib > room and not force:
        has = f"{memory.place} has {memory.total_gib:.1f} GiB" + ("" if busy else f", {memory.free_gib:.1f} of it free")
        raise UnsupportedError(
            f"{adapter} of {model} needs about {estimate.expected_gib:.1f} GiB ({estimate.rule}) and {has}; {advice}"
        )
    return {
        "low_gib": round(estimate.low_gib, 3),
        "expected_gib": round(estimate.expected_gib, 3),
        "high_gib": round(estimate.high_gib, 3),
        "rule": estimate.rule,
        "explanation": estimate.explanation,
        "advice": advice,
    }


def _advice(
    size: LocalModelSize,
    adapter: Adapter,
    need: Callable[[LocalModelSize, Adapter], MemoryEstimate | None],
    room: float,
) -> str:
    """Return what would fit, by the same estimate."""
    ways = []
    for other in (Adapter.LORA, Adapter.QLORA) if adapter is Adapter.FULL else (Adapter.QLORA,):
        estimate = need(size, other) if adapter is not other else None
        if estimate is not None and estimate.expected_gib <= room:
            ways.append(f"use the adapter {other} (about {estimate.expected_gib:.1f} GiB)")
            break
    smaller = [
        (row.params_b, name)
        for name, row in load_models().weights.items()
        if row.hub and row.params_b and (size.params_b is None or row.params_b < size.params_b)
        and (fits := need(LocalModelSize(row.params_b, row.dimensions), adapter)) is not None
        and fits.expected_gib <= room
    ]  # fmt: skip
    if smaller:
        ways.append(f"use a smaller model such as {max(smaller)[1]}")
    ways.append("free memory, lower max_length and batch_size, or try it with --option allow_oversize=true")
    return "; ".join(ways)


def _dimensions(folder: Path) -> ModelDimensions | None:
    try:
        config = read_json_object(folder / "config.json")
        config = config.get("text_config") or config
        if any(config.get(name) for name in _EXPERTS):
            return None
        heads = config["num_attention_heads"]
        return ModelDimensions(
            hidden_size=config["hidden_size"],
            layers=config["num_hidden_layers"],
            heads=heads,
            kv_heads=config.get("num_key_value_heads") or heads,
            head_dim=config.get("head_dim"),
            intermediate_size=config["intermediate_size"],
            vocab_size=config["vocab_size"],
            tied_embeddings=bool(config.get("tie_word_embeddings", False)),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ValidationError):
        return None
