"""The estimate turned round: which GPU holds a run, and the largest batch and length that one holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from tuneport.estimate.memory.estimate import MemoryEstimate, estimate_memory
from tuneport.estimate.memory.training_shape import TrainingShape
from tuneport.manifests import CatalogueGPU, ModelDimensions, Offer
from tuneport.types import Adapter

LARGEST_BATCH = 256
LARGEST_LENGTH = 131_072
LENGTH_STEP = 64  # matrix products go by multiples of it


COUNTS = (1, 2, 4, 8)
"""GPUs that are rented together, in one machine."""


@dataclass(frozen=True)
class GPUFit:
    """One kind of GPU's verdict: `yes` if even the high estimate fits `count` of them, `tight` if only the expected one
    does.

    `run` is what goes through each of them at once: the planned one, with as many examples as fit, shared out if one
    GPU does not hold it. `largest_batch` at the run's length, `largest_length` at its batch, by the high estimate; 0
    where not even one fits. `offer` is the cheapest known hour of one.
    """

    gpu: str
    memory_gib: float
    count: int
    run: TrainingShape
    verdict: str
    largest_batch: int
    largest_length: int
    offer: Offer | None

    @property
    def usd_per_hour(self) -> float | None:
        """Return US dollars an hour of all `count` together, or None if the price is unknown."""
        return None if self.offer is None else self.offer.usd_per_gpu_hour * self.count

    def as_dict(self) -> dict[str, Any]:
        offer = None if self.offer is None else self.offer.model_dump(mode="json")
        return {**vars(self), "run": vars(self.run), "offer": offer, "usd_per_hour": self.usd_per_hour}


def estimate_gpu_fits(
    adapter: Adapter,
    dimensions: ModelDimensions,
    run: TrainingShape,
    gpus: Sequence[CatalogueGPU],
    *,
    context: int | None = None,
    counts: Sequence[int] = COUNTS,
    sharding: Literal["auto", "ddp", "fsdp"] = "auto",
) -> list[GPUFit]:
    """Return the verdict on each GPU, smallest memory first, with the fewest of `counts` that hold the run; if none do,
    with the fewest.

    `context` bounds the lengths. `sharding` auto: DDP if each GPU holds the whole model, since it sends less; else
    FSDP.
    """
    found = []
    for gpu in sorted(gpus, key=lambda gpu: (gpu.vram_gib, gpu.name)):
        tried = []
        for count in counts:
            tried.append(_fit(adapter, dimensions, run, gpu, context, count, sharding))
            if tried[-1].verdict == "yes":
                break
        found.append(tried[-1] if tried[-1].verdict == "yes" else tried[0])
    return found


def _fit(
    adapter: Adapter,
    dimensions: ModelDimensions,
    run: TrainingShape,
    gpu: CatalogueGPU,
    context: int | None,
    count: int,
    sharding: Literal["auto", "ddp", "fsdp"],
) -> GPUFit:
    ways = (
        [run] if count == 1 else [replace(run, gpus=count, sharding="ddp"), replace(run, gpus=count, sharding="fsdp")]
    )
    for shared in (way for way in ways if sharding == "auto" or way.sharding in ("none", sharding)):
        most = largest_fitting_batch(adapter, dimensions, shared, gpu.vram_gib)
        at_once = next((n for n in range(min(most, run.micro_batch), 0, -1) if run.micro_batch % n == 0), 0)
        if at_once:
            break
    planned = replace(shared, micro_batch=at_once or 1)
    expected = _estimate(adapter, dimensions, planned).expected_gib
    return GPUFit(
        gpu=gpu.name,
        memory_gib=gpu.vram_gib,
        count=count,
        run=planned,
        verdict="yes" if at_once else "tight" if expected <= gpu.vram_gib else "no",
        largest_batch=most,
        largest_length=largest_fitting_length(adapter, dimensions, planned, gpu.vram_gib, context=context),
        offer=gpu.cheapest(),
    )


def largest_fitting_batch(adapter: Adapter, dimensions: ModelDimensions, run: TrainingShape, memory_gib: float) -> int:
    """Return the most examples of a micro-batch whose high estimate fits, up to `LARGEST_BATCH`; 0 if none does."""
    return _largest(
        lambda batch: _estimate(adapter, dimensions, replace(run, micro_batch=batch)).fits(memory_gib), LARGEST_BATCH
    )


def largest_fitting_length(
    adapter: Adapter, dimensions: ModelDimensions, run: TrainingShape, memory_gib: float, *, context: int | None = None
) -> int:
    """Return the most tokens of an example, in steps of 64, whose high estimate fits, up to the model's context."""
    steps = min(context or LARGEST_LENGTH, LARGEST_LENGTH) // LENGTH_STEP
    found = _largest(
        lambda step: _estimate(adapter, dimensions, replace(run, length=step * LENGTH_STEP)).fits(memory_gib), steps
    )
    return found * LENGTH_STEP


def _estimate(adapter: Adapter, dimensions: ModelDimensions, run: TrainingShape) -> MemoryEstimate:
    estimate = estimate_memory(adapter, params_b=None, dimensions=dimensions, run=run)
    assert estimate is not None  # the dimensions are known
    return estimate


def _largest(fits_at: Any, most: int) -> int:
    """Return the largest number from 1 to `most` that fits, by bisection."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits_at(middle) else (low, middle - 1)
    return low
