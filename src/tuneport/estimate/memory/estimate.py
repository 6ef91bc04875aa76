"""The accelerator memory that a training run needs: a point, a safe figure, and the parts that add up to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from tuneport.estimate.memory.tensors import (
    MemoryParts,
    estimate_activation_memory,
    estimate_generation_memory,
    estimate_static_memory,
)
from tuneport.estimate.memory.training_shape import TrainingShape
from tuneport.manifests import ModelDimensions
from tuneport.types import Adapter

GIB = 2**30

# What PyTorch's allocator holds beyond the tensors: reserved = 1.03 x allocated + 0.25 GiB, and in nine of ten rows at
# most 1.08 x + 0.60 GiB. Fitted on the published rows that `benchmarks/memory.py` calls "fitted on" and that tell both
# figures, reported there on the others.
RESERVED_SLOPE, RESERVED_GIB = 1.03, 0.25
RESERVED_SLOPE_HIGH, RESERVED_GIB_HIGH = 1.08, 0.60
CONTEXT_GIB, CONTEXT_GIB_HIGH = 0.35, 0.50
"""A CUDA context: 0.14 GiB on a T4 (fitcheck), 0.3 to 0.5 elsewhere."""
TENSORS_HIGH = 1.06
"""The tensors' own error: nine of ten rows with the current libraries need no more than this times the estimate."""

# The usual table, GB by billions of parameters.
_THUMB: dict[Adapter, tuple[tuple[float, float], ...]] = {
    Adapter.FULL: ((1, 8), (7, 56), (13, 104), (70, 560)),
    Adapter.LORA: ((1, 5), (7, 18), (13, 32), (70, 160)),
    Adapter.QLORA: ((1, 3), (7, 8), (13, 14), (70, 48)),
}
# The table has no row for trained prefixes and prompts ("very low", "minimal"): the base in 16 bits stays, so as LoRA.
_THUMB[Adapter.PREFIX] = _THUMB[Adapter.PROMPT] = _THUMB[Adapter.LORA]
SHARDED_PARTS = {
    "ddp": frozenset[str](),
    "zero1": frozenset({"optimizer"}),
    "zero2": frozenset({"optimizer", "gradients", "optimizer temporaries"}),
    "fsdp": frozenset({"weights", "adapter", "optimizer", "gradients", "optimizer temporaries", "reference model"}),
}
"""The static parts that are shared out over the GPUs (Rajbhandari et al. 2020, ZeRO; FSDP is its third stage)."""
THUMB_SPREAD = 0.35
"""The table says nothing about length, batch or vocabulary, which move the need by about a third at usual settings."""


@dataclass(frozen=True)
class MemoryEstimate:
    """GiB of each accelerator. `expected_gib` is what its process holds; buy for `high_gib`, about the 90th percentile.

    `components_gib` are the tensors, part by part; they add up to `low_gib`, the peak that PyTorch calls allocated.
    `reserved_gib` is what its allocator takes for them.
    """

    low_gib: float
    reserved_gib: float
    expected_gib: float
    high_gib: float
    components_gib: dict[str, float]
    rule: Literal["formula", "traced", "rule of thumb"]
    explanation: str

    def fits(self, memory_gib: float) -> bool:
        """Return whether even the high estimate fits."""
        return self.high_gib <= memory_gib

    def as_dict(self) -> dict[str, Any]:
        return {**vars(self), "components_gib": dict(self.components_gib)}


def estimate_memory(
    adapter: Adapter, *, params_b: float | None, dimensions: ModelDimensions | None, run: TrainingShape | None = None
) -> MemoryEstimate | None:
    """Estimate the memory of one training run on each of its accelerators, or None if neither size nor dimensions are
    known."""
    if dimensions is not None:
        return estimate_memory_by_formula(adapter, dimensions, run or TrainingShape())
    return None if params_b is None else memory_rule_of_thumb(adapter, params_b)


def estimate_memory_by_formula(adapter: Adapter, dimensions: ModelDimensions, run: TrainingShape) -> MemoryEstimate:
    parts = estimate_sharded_memory(estimate_static_memory(adapter, dimensions, run), dimensions, run)
    if adapter is Adapter.QLORA:
        parts["dequantisation"] = 2.0 * dimensions.hidden_size * dimensions.intermediate_size
    parts |= estimate_peak_memory(adapter, parts, estimate_activation_memory(adapter, dimensions, run), dimensions, run)
    components = {name: value / GIB for name, value in parts.items() if value}
    return memory_of_allocated(sum(components.values()), components, "formula", _explanation(adapter, run))


def estimate_peak_memory(
    adapter: Adapter, parts: MemoryParts, working: MemoryParts, dimensions: ModelDimensions, run: TrainingShape
) -> MemoryParts:
    """Return what is in memory beside `parts` at the peak: the end of the forward pass, the optimizer's step, or the
    generation of answers. Removes from `parts` what is not in memory all the time."""
    gradients, temporaries = parts.pop("gradients", 0.0), parts.pop("optimizer temporaries", 0.0)
    moments: list[MemoryParts] = []
    if adapter is Adapter.FULL:
        # Gradients are freed after each step, so they are not there at the end of the forward pass. Mixed precision
        # keeps a bf16 copy of the weights during it.
        copies = parts["weights"] / 2 if run.full_weights == "fp32" and run.autocast else 0.0
        moments += [working | {"bf16 copies": copies}, {"gradients and temporaries": gradients + temporaries}]
    else:
        parts["gradients"] = gradients
        moments.append(working)
    if run.examples == "rollouts":
        moments.append({"generation cache": estimate_generation_memory(dimensions, run)})
    return max(moments, key=lambda moment: sum(moment.values()))


def memory_of_allocated(
    allocated: float, components: dict[str, float], rule: Literal["formula", "traced"], explanation: str
) -> MemoryEstimate:
    """Build the estimate whose tensors take `allocated` GiB at the peak."""
    reserved = RESERVED_SLOPE * allocated + RESERVED_GIB
    return MemoryEstimate(
        low_gib=allocated,
        reserved_gib=reserved,
        expected_gib=reserved + CONTEXT_GIB,
        high_gib=high_reserved_gib(allocated) + CONTEXT_GIB_HIGH,
        components_gib=components,
        rule=rule,
        explanation=f"{explanation}; tensors x {RESERVED_SLOPE} + {RESERVED_GIB + CONTEXT_GIB:g} GiB",
    )


def high_reserved_gib(allocated: float) -> float:
    """Return what PyTorch reserves at most in nine of ten runs."""
    return RESERVED_SLOPE_HIGH * TENSORS_HIGH * allocated + RESERVED_GIB_HIGH


def estimate_sharded_memory(parts: MemoryParts, dimensions: ModelDimensions, run: TrainingShape) -> MemoryParts:
    """Return what each GPU holds of the static parts. FSDP gathers two layers in full at a time; the others keep
    gradients in transit a second time. An order of magnitude: no measured row has several GPUs and current libraries.
    """
    if run.sharding == "none":
        return parts
    everywhere = set(parts) - SHARDED_PARTS[run.sharding]
    shared = {name: value if name in everywhere else value / run.gpus for name, value in parts.items()}
    if run.sharding == "fsdp":
        return shared | {"unsharded layers": 2 * parts["weights"] / dimensions.layers}
    return shared | {"gradient buckets": parts.get("gradients", 0.0)}


def _explanation(adapter: Adapter, run: TrainingShape) -> str:
    what = {"single": "", "pairs": " pairs", "labelled": " labelled", "ranked": " pairs", "rollouts": " rollouts"}
    cards = f" on each of {run.gpus} GPUs, {run.sharding}" if run.gpus > 1 else ""
    return (
        f"{adapter}, {run.micro_batch}{what[run.examples]} x {run.length} tokens{cards}, "
        f"{'with' if run.checkpointing else 'without'} gradient checkpointing, "
        f"{'fused' if run.fused_loss else 'plain'} loss"
    )


def memory_rule_of_thumb(adapter: Adapter, params_b: float) -> MemoryEstimate:
    """Estimate by the table of usual sizes: linear between its rows, in proportion beyond its ends."""
    gigabytes = _interpolate(_THUMB[adapter], params_b)
    expected = gigabytes * 1e9 / GIB
    return MemoryEstimate(
        low_gib=expected * (1 - THUMB_SPREAD),
        reserved_gib=expected,
        expected_gib=expected,
        high_gib=expected * (1 + THUMB_SPREAD),
        components_gib={},
        rule="rule of thumb",
        explanation=f"{adapter} of {params_b:g} B parameters by the table of usual sizes: about {gigabytes:.0f} GB",
    )


def _interpolate(table: tuple[tuple[float, float], ...], x: float) -> float:
    if x <= table[0][0]:
        return table[0][1] * x / table[0][0]
    for (x0, y0), (x1, y1) in zip(table, table[1:], strict=False):
        if x <= x1:
            return y0 + (y1 - y0) * (x - x0) / (x1 - x0)
    return table[-1][1] * x / table[-1][0]
