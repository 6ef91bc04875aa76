"""The schedule of a run: its evaluations, its checkpoints, the best of them, and early stopping.

All of it happens at the ends of steps, an evaluation before the checkpoint of the same step. So a checkpoint has
everything up to its step behind it, and what follows is the same after a restart as without one.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_pt_utils import LengthGroupedSampler, get_length_grouped_indices

from tuneport.train.run.averaging import WeightAverage
from tuneport.train.run.checkpoint_integrity import LOOP_FILE
from tuneport.train.run.run_folder import TrainingRunFolder
from tuneport.training_options import TrainingOptions

SECONDS_BETWEEN_CHECKPOINTS = 300.0
SAVINGS_SHARE_OF_TIME = 0.05
"""Within an epoch a checkpoint is due after five minutes, or after twenty times what the last one took to write."""


class TrainingLoopState(BaseModel):
    """The state of a checkpoint beside what the Trainer saves. Losses are mean nats per trained token."""

    tokens: int = 0
    best_step: int | None = None
    best_loss: float | None = None
    evaluations_without_improvement: int = 0
    digests: bool = False
    """Whether a list of digests is written beside it: if that is gone, something happened to the checkpoint."""

    @classmethod
    def of(cls, checkpoint: Path | None) -> TrainingLoopState:
        return cls() if checkpoint is None else cls.model_validate_json((checkpoint / LOOP_FILE).read_bytes())


class CheckpointSchedule(TrainerCallback):
    """Asks the Trainer to evaluate and to save. With early stopping it ends the run, too.

    `average`, if there is one, is evaluated, because it is published.
    """

    def __init__(
        self,
        run: TrainingRunFolder,
        options: TrainingOptions,
        state: TrainingLoopState,
        counter: Any,
        *,
        validates: bool,
        average: WeightAverage | None,
    ) -> None:
        self.run, self.options, self.loop, self.counter = run, options, state, counter
        self.validates, self.average = validates, average
        self._steps_per_epoch = 1
        self._saved_at = self._began_saving = time.monotonic()
        self._save_seconds = 0.0

    @property
    def out_of_patience(self) -> bool:
        """Return whether as many evaluations as early stopping allows brought no improvement."""
        patience = self.options.early_stopping
        return patience is not None and self.loop.evaluations_without_improvement >= patience

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **rest: Any
    ) -> None:
        batches = len(rest["train_dataloader"])
        self._steps_per_epoch = -(-batches // args.gradient_accumulation_steps)
        self._saved_at = time.monotonic()

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **rest: Any
    ) -> None:
        # accelerate (1.15) does not reach the sampler through all of its wrappers when batches are skipped.
        set_training_epoch(rest["train_dataloader"], int(state.epoch or 0))

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **rest: Any) -> None:
        step = state.global_step
        natural = step % self._steps_per_epoch == 0 or step >= state.max_steps
        every = self.options.evaluate_every
        control.should_evaluate = self.validates and (
            step >= state.max_steps or (natural if every is None else step % every == 0)
        )
        every = self.options.save_every
        control.should_save = step >= state.max_steps or (
            (natural or self._overdue(args)) if every is None else step % every == 0
        )
        if control.should_evaluate and self.average is not None:
            self.average.swap_with_weights()
        self._begin_saving(state, control)

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, metrics: Any = None, **rest: Any
    ) -> None:
        if self.average is not None:
            self.average.swap_with_weights()
        loss = float((metrics or {})["eval_loss"])
        if loss < (float("inf") if self.loop.best_loss is None else self.loop.best_loss):
            self.loop.best_step, self.loop.best_loss = state.global_step, loss
            self.loop.evaluations_without_improvement = 0
            control.should_save = True
        else:
            self.loop.evaluations_without_improvement += 1
        if self.out_of_patience and state.global_step < state.max_steps:
            control.should_training_stop = control.should_save = True
        self._begin_saving(state, control)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **rest: Any) -> None:
        if not state.is_world_process_zero:
            return
        self.loop.tokens, self.loop.digests = self.counter.total, True
        folder = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
        (folder / LOOP_FILE).write_text(self.loop.model_dump_json(), encoding="utf-8")

    def record_checkpoint(self) -> None:
        """Record a checkpoint. Call it when the checkpoint is in its place."""
        self._saved_at = time.monotonic()
        self._save_seconds = self._saved_at - self._began_saving

    def _begin_saving(self, state: TrainerState, control: TrainerControl) -> None:
        self._began_saving = time.monotonic()
        if control.should_save and state.is_world_process_zero:
            self.run.delete_old_checkpoints(self.loop.best_step)

    def _overdue(self, args: TrainingArguments) -> bool:
        wait = max(SECONDS_BETWEEN_CHECKPOINTS, self._save_seconds / SAVINGS_SHARE_OF_TIME)
        overdue = time.monotonic() - self._saved_at >= wait
        if args.world_size > 1:  # clocks differ, and to save is a matter of all processes or none
            first = torch.tensor(int(overdue), device=args.device)
            torch.distributed.broadcast(first, src=0)
            overdue = bool(first)
        return overdue


class SeededLengthGroupedSampler(LengthGroupedSampler):
    """Rows of similar length together, in an order that follows from the seed and the epoch alone.

    The Trainer's draws the order from the global generator, whose state after a restart is that of the checkpoint's
    step: other rows would follow than without the restart.
    """

    def __init__(self, *args: Any, seed: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.seed, self.epoch = seed, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Any:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        return iter(get_length_grouped_indices(self.lengths, self.batch_size, generator=generator))


def set_training_epoch(loader: Any, epoch: int) -> None:
    """Tell the sampler inside a data loader, under however many wrappers, which epoch begins."""
    inner = getattr(loader, "batch_sampler", None)
    while inner is not None:
        sampler: Any = getattr(inner, "sampler", None)
        if hasattr(sampler, "set_epoch"):
            sampler.set_epoch(epoch)
        inner = getattr(inner, "batch_sampler", None)
