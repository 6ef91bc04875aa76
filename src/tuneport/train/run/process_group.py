"""One run on several processes: which of them writes, what all agree on, and who gets which rows.

Rows are shared so that a step of several ranks sees exactly the rows that one process would have seen in it: each row
once an epoch, in the same order, and the loss over all of them. What is left over at the end of an epoch is filled up
with rows of one token, which nothing predicts and no sum counts.
"""

from __future__ import annotations

import contextlib
import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.utils.data import Sampler
from transformers.trainer_pt_utils import get_length_grouped_indices

from tuneport.data.templates.rendering import IGNORED
from tuneport.errors import ConfigError
from tuneport.train.run.run_folder import TrainingRunFolder
from tuneport.types import JobEvent, MetricPoint


@dataclass(frozen=True)
class TrainingRanks:
    """This process's place among those of the run. Each method is called by all of them, at the same point."""

    index: int = 0
    count: int = 1

    @classmethod
    def here(cls) -> TrainingRanks:
        """Return the ranks of torch's process group, or a single one without it."""
        if not (dist.is_available() and dist.is_initialized()):
            return cls()
        return cls(dist.get_rank(), dist.get_world_size())

    @property
    def ranks_on_this_machine(self) -> int:
        """Return how many of them share this machine."""
        return int(os.environ.get("LOCAL_WORLD_SIZE", self.count)) if self.count > 1 else 1

    def sum_over_ranks(self, *numbers: float) -> list[float]:
        """Return the sum of each number over the ranks."""
        if self.count == 1:
            return list(numbers)
        tensor = torch.tensor(numbers, dtype=torch.float64, device=_device())
        dist.all_reduce(tensor)
        return [float(number) for number in tensor]

    def agree_on_stop(self, stop: Callable[[], bool]) -> Callable[[], bool]:
        """Return `stop` as all ranks see it: true for all once it is true for one, so that none waits for another."""
        return stop if self.count == 1 else lambda: self.sum_over_ranks(float(stop()))[0] > 0

    @contextlib.contextmanager
    def first_rank_first(self) -> Iterator[None]:
        """Let the first rank do the block, then the others, which find it done."""
        if self.index:
            self.wait_for_all_ranks()
        yield
        if not self.index:
            self.wait_for_all_ranks()

    def wait_for_all_ranks(self) -> None:
        """Wait until all ranks get here."""
        self.sum_over_ranks(0.0)

    def gather_on_first_rank(self, payload: bytes) -> list[bytes]:
        """Return what each rank gave, on the first rank; an empty list elsewhere."""
        if self.count == 1:
            return [payload]
        found: list[Any] | None = [None] * self.count if self.index == 0 else None
        dist.gather_object(payload, found)
        return found or []


def _device() -> str:
    return "cpu" if "gloo" in dist.get_backend() else "cuda"


def batch_for_workers(batch_size: int, workers: int, *, chosen: bool) -> int:
    """Return a batch size that all workers can share evenly: the next multiple, or ConfigError if the user chose it."""
    if batch_size % workers == 0:
        return batch_size
    nearest = -(-batch_size // workers) * workers
    if chosen:
        raise ConfigError(
            f"a batch of {batch_size} cannot be shared evenly by {workers} workers; "
            f"set batch_size to {nearest} or another multiple of {workers}, or the option workers to a divisor"
        )
    return nearest


def pad_rows_to_multiple(rows: Sequence[dict[str, Any]], multiple: int, token: int) -> list[dict[str, Any]]:
    """Return `rows`, and at their end as many rows of one untrained token as make them a multiple."""
    missing = -len(rows) % multiple
    return [*rows, *({"input_ids": [token], "labels": [IGNORED]} for _ in range(missing))]


class EpochOrderSampler(Sampler[int]):
    """The same order on every rank, another one each epoch: that of accelerate's SeedableRandomSampler, so that one
    process and several see the same rows in the same step. `fillers` rows at the end of the data stay there.

    With `lengths`, rows of like lengths stand together in groups of `group`, as in transformers' LengthGroupedSampler.
    """

    def __init__(
        self, rows: int, seed: int, *, fillers: int = 0, lengths: Sequence[int] | None = None, group: int = 1
    ) -> None:
        self.rows, self.seed, self.fillers, self.lengths, self.group = rows, seed, fillers, lengths, group
        self.epoch = 0

    def __len__(self) -> int:
        return self.rows + self.fillers

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator()
        generator.manual_seed(self.seed + self.epoch)
        if self.lengths is None:
            yield from torch.randperm(self.rows, generator=generator).tolist()
        else:
            yield from get_length_grouped_indices(list(self.lengths), self.group, generator=generator)
        yield from range(self.rows, self.rows + self.fillers)


class DistributedRowOrder:
    """A mix-in for a trainer: the order of rows of several ranks."""

    args: Any
    fillers: int = 0

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        kind = self.args.train_sampling_strategy
        if self.args.world_size == 1 or kind == "sequential":
            return super()._get_train_sampler(train_dataset)  # type: ignore[misc]
        dataset = self.train_dataset if train_dataset is None else train_dataset  # type: ignore[attr-defined]
        rows = len(dataset) - self.fillers
        lengths = None
        if kind == "group_by_length":
            lengths = [len(ids) for ids in dataset["input_ids"][:rows]]
        group = self.args.train_batch_size * self.args.gradient_accumulation_steps * self.args.world_size
        return EpochOrderSampler(rows, self.args.seed, fillers=self.fillers, lengths=lengths, group=group)


class NonWritingTrainingRun(TrainingRunFolder):
    """The folder of a run for the ranks that are not the first: they read it, and what they would write the first
    one does."""

    def update(self, **fields: Any) -> None:
        self.state |= fields

    def update_progress(self, progress: Any, trained_tokens: int) -> None:
        self.state |= {"progress": progress, "trained_tokens": trained_tokens}

    def log_event(self, message: str, *, level: str = "info", type: str = "message", **data: Any) -> None: ...

    def add_metric(self, point: MetricPoint) -> None: ...

    def drop_metrics_after(self, step: int) -> None: ...

    def clear_partial_folder(self) -> None: ...

    def add_event(self, event: JobEvent) -> None: ...

    def write_record(self, name: str, content: dict[str, Any]) -> None: ...

    def delete_old_checkpoints(self, best: int | None) -> None: ...

    def keep_newest_checkpoint(self, best: int | None) -> None: ...

    def set_aside_checkpoint(self, step: int) -> None: ...

    def report_phase(self, name: str) -> None: ...

    def publish_checkpoint(self, written: Path, step: int, *, best: int | None = None) -> Path:
        return self.checkpoint(step)

    def publish_weights(self, written: Path, name: str) -> Path:
        return self.path / name


def gather_random_states(ranks: TrainingRanks, folder: Path) -> None:
    """Copy every rank's random state into the first one's checkpoint, also if they share no disk.

    Ends when all ranks have written what belongs into the checkpoint.
    """
    if ranks.count == 1:
        return
    own = folder / f"rng_state_{ranks.index}.pth"
    states = ranks.gather_on_first_rank(pickle.dumps((own.name, own.read_bytes())))
    for name, content in map(pickle.loads, states):
        if not (folder / name).exists():
            (folder / name).write_bytes(content)
    ranks.wait_for_all_ranks()
