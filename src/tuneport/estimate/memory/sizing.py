"""The estimate turned round: which GPU holds a run, and the largest batch and length that one holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from tuneport.estimate.memory.estimate import MemoryEstimate, estimate_memory
from tuneport.estimate.memory.run import Run
from tuneport.manifests import GPU, Dimensions, Offer
from tuneport.types import Adapter

LARGEST_BATCH = 256
LARGEST_LENGTH = 131_072
LENGTH_STEP = 64  # matrix products go by multiples of it


@dataclass(frozen=True)
class Fit:
    """One GPU's verdict: `yes` where even the high estimate fits, `tight` where only the expected one does.

    `largest_batch` at the run's length, `largest_length` at its batch, by the high estimate; 0 where not even one
    fits. `offer` is the cheapest known hour of it.
    """

    gpu: str
    memory_gib: float
    verdict: str
    largest_batch: int
    largest_length: int
    offer: Offer | None

    def as_dict(self) -> dict[str, Any]:
        offer = None if self.offer is None else self.offer.model_dump(mode="json")
        return {**vars(self), "offer": offer}


def fits(
    adapter: Adapter, dimensions: Dimensions, run: Run, gpus: Sequence[GPU], *, context: int | None = None
) -> list[Fit]:
    """The verdict of each GPU, smallest memory first. `context` bounds the lengths."""
    estimate = _estimate(adapter, dimensions, run)
    found = []
    for gpu in sorted(gpus, key=lambda gpu: (gpu.vram_gib, gpu.name)):
        verdict = "yes" if estimate.fits(gpu.vram_gib) else "tight" if estimate.expected_gib <= gpu.vram_gib else "no"
        found.append(
            Fit(
                gpu=gpu.name,
                memory_gib=gpu.vram_gib,
                verdict=verdict,
                largest_batch=largest_batch(adapter, dimensions, run, gpu.vram_gib),
                largest_length=largest_length(adapter, dimensions, run, gpu.vram_gib, context=context),
                offer=gpu.cheapest(),
            )
        )
    return found


def cheapest(found: Sequence[Fit]) -> Fit | None:
    """The GPU that holds the run at the lowest hourly price; None where none does, or none has a price."""
    able = [fit for fit in found if fit.verdict == "yes" and fit.offer is not None]
    return min(able, key=lambda fit: fit.offer.usd_per_gpu_hour if fit.offer else 0.0, default=None)


def largest_batch(adapter: Adapter, dimensions: Dimensions, run: Run, memory_gib: float) -> int:
    """The most examples of a micro-batch whose high estimate fits, up to `LARGEST_BATCH`; 0 where none does."""
    return _largest(
        lambda batch: _estimate(adapter, dimensions, replace(run, micro_batch=batch)).fits(memory_gib), LARGEST_BATCH
    )


def largest_length(
    adapter: Adapter, dimensions: Dimensions, run: Run, memory_gib: float, *, context: int | None = None
) -> int:
    """The most tokens of an example, in steps of 64, whose high estimate fits, up to the model's context."""
    steps = min(context or LARGEST_LENGTH, LARGEST_LENGTH) // LENGTH_STEP
    found = _largest(
        lambda step: _estimate(adapter, dimensions, replace(run, length=step * LENGTH_STEP)).fits(memory_gib), steps
    )
    return found * LENGTH_STEP


def _estimate(adapter: Adapter, dimensions: Dimensions, run: Run) -> MemoryEstimate:
    estimate = estimate_memory(adapter, params_b=None, dimensions=dimensions, run=run)
    assert estimate is not None  # the dimensions are known
    return estimate


def _largest(fits_at: Any, most: int) -> int:
    """The largest number from 1 to `most` that fits, by halving: what fits at some number fits below it, too."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits_at(middle) else (low, middle - 1)
    return low
