"""Out of memory: the same batch in smaller parts, and what to tell where parts of one row do not fit either."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from tuneport.errors import TrainingError
from tuneport.training_options import largest_divisor

_NO_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory", "not enough memory", "alloc_failed")
_OTHERS_FILL_IT = 0.1
"""Of a GPU's memory: what is held by none of this process's tensors is then worth telling."""
_GIB = 2**30


class SmallerBatchNeededError(TrainingError):
    """A step ran out of memory: the run is to restart from its newest checkpoint, with `smaller` rows at once."""

    def __init__(self, rows: int, smaller: int, accumulation: int) -> None:
        super().__init__(
            f"out of memory with {rows} rows at once; going on with {smaller}, {accumulation} times a step, "
            "so that a step stays the same"
        )
        self.smaller = smaller


class OneRowDoesNotFitError(TrainingError):
    """Memory ran out with the fewest rows that can be taken at once."""


def is_training_out_of_memory(error: BaseException) -> bool:
    """Return whether a GPU (CUDA, MPS) or the machine ran out of memory: torch raises a plain RuntimeError for the
    latter."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(part in str(error).lower() for part in _NO_MEMORY)


def smaller_micro_batch(batch_size: int, rows: int, *, at_least: int = 1) -> int | None:
    """Return half of `rows`, or the next divisor of the batch below that. Returns None if there is no smaller one."""
    smaller = largest_divisor(batch_size, max(rows // 2, at_least), at_least=at_least)
    return smaller if smaller < rows else None


def memory_saving_settings(adapter: str, checkpoints_activations: bool) -> str:
    """Return the settings that would make a run need less memory and are not in use yet, the most helpful first."""
    ways = [
        *(["the adapter qlora"] if adapter != "qlora" else []),
        *([] if checkpoints_activations else ["the option gradient_checkpointing = true"]),
        "a smaller max_length",
        "a smaller model",
    ]
    return f"{', '.join(ways[:-1])} or {ways[-1]}"


def explain_full_gpu(free: int, total: int, own: int) -> str | None:
    """Return the free memory, and what to do, if other processes hold much of the GPU. Returns None if they do not.

    All in bytes: `free` and `total` of the device, `own` what this process has taken from it.
    """
    others = total - free - own
    if others < total * _OTHERS_FILL_IT:
        return None
    return (
        f"the GPU has {free / _GIB:.1f} of {total / _GIB:.1f} GiB free, and other processes hold {others / _GIB:.1f} "
        "GiB: end them (nvidia-smi lists them) or wait for them, then resume the job"
    )


def training_gpu_memory() -> tuple[int, int, int] | None:
    """Return `free`, `total` and `own` for `explain_full_gpu`, or None if there is no CUDA device, or it does not
    answer."""
    if not torch.cuda.is_available():
        return None
    try:
        free, total = torch.cuda.mem_get_info()
        return free, total, torch.cuda.memory_reserved()
    except RuntimeError:
        return None


def train_within_memory(trainer: Any, checkpoint: Path | None, *, adapter: str, at_least: int = 1) -> None:
    """Call `trainer.train`. Raises SmallerBatchNeededError or OneRowDoesNotFitError if memory runs out.

    The next try is a new process's: what a failed step leaves on a device (cached blocks, tensors that a traceback
    holds) is gone for certain only with the process. `at_least`: rows that the method needs together.
    """
    try:
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    except Exception as error:
        if not is_training_out_of_memory(error):
            raise
        rows = int(trainer.args.per_device_train_batch_size)
        batch_size = rows * int(trainer.args.gradient_accumulation_steps)
        smaller = smaller_micro_batch(batch_size, rows, at_least=at_least) if trainer.args.world_size == 1 else None
        if smaller is not None:
            raise SmallerBatchNeededError(rows, smaller, batch_size // smaller) from error
        said = " ".join(str(error).split())[:200]
        smaller_batch = "a smaller batch_size, " if trainer.args.world_size > 1 and rows > 1 else ""
        if trainer.args.world_size > 1:  # one of several cannot begin again alone
            what = f"{rows} rows at once on each of {trainer.args.world_size} workers do"
        elif rows == 1:
            what = "even one row at once does"
        else:
            what = f"even {rows} rows, the fewest that this method takes, at once do"
        raise OneRowDoesNotFitError(
            f"{what} not fit in memory; use {smaller_batch}"
            f"{memory_saving_settings(adapter, bool(trainer.args.gradient_checkpointing))} ({said})"
        ) from error
