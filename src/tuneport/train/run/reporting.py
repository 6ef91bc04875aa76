"""The trainer's reports while it runs: progress, metrics, events, checkpoints; and its stop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tuneport.train.run.checkpoints import CheckpointSchedule
from tuneport.train.run.gradient_watch import GradientWatch, LossNotFiniteError
from tuneport.train.run.process_group import TrainingRanks, gather_random_states
from tuneport.train.run.run_folder import TrainingRunFolder
from tuneport.types import JobStatus, MetricPoint, Progress, now

EVENTS_PER_RUN = 60  # a step event each, at most: thousands of steps would drown the others
STEPS_FOR_RATE = 20
OF_ANSWERS = {
    "reward": "reward",
    "reward_std": "reward_std",
    "kl": "kl",
    "entropy": "entropy",
    "completions/mean_length": "completion_length",
    "completions/clipped_ratio": "completions_cut",
}
"""What TRL calls the means over a step's own answers, and what we do; `completions_cut` is a share, 0 to 1."""


class TrainedTokenCounter:
    """Tokens that went through the model: of all rows, padding left out, a shared beginning counted for each row."""

    def __init__(self) -> None:
        self.tokens = 0  # of this rank
        self.total = 0  # of all ranks, as of the last `sum_over_ranks`

    def sum_over_ranks(self, ranks: TrainingRanks) -> None:
        self.total = int(ranks.sum_over_ranks(self.tokens)[0])


class TrainingReporter(TrainerCallback):
    """The last of the callbacks: it moves a checkpoint away when the others have put into it what is theirs.

    On every rank, each with a folder of its own kind; `stop` is what all ranks agree on.
    """

    def __init__(
        self,
        run: TrainingRunFolder,
        counter: TrainedTokenCounter,
        stop: Callable[[], bool],
        schedule: CheckpointSchedule,
        gradients: GradientWatch,
        ranks: TrainingRanks,
    ) -> None:
        self.run, self.counter, self.stop, self.schedule, self.gradients = run, counter, stop, schedule, gradients
        self.ranks = ranks
        self.stopped = False
        self._marks: list[tuple[float, int, int]] = []  # time, step, tokens

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **rest: Any
    ) -> None:
        self.run.update(
            status=JobStatus.RUNNING, progress=Progress(step=state.global_step, total_steps=state.max_steps)
        )
        self.run.report_phase("trains")
        resumed = f", going on from step {state.global_step}" if state.global_step else ""
        self.run.log_event(f"Fine-tuning job started{resumed}")
        self.counter.sum_over_ranks(self.ranks)
        self._mark(state.global_step)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **rest: Any) -> None:
        self.counter.sum_over_ranks(self.ranks)
        self._mark(state.global_step)
        if self.run.early_stop_requested and self.ranks.count == 1:
            control.should_training_stop = True
            control.should_save = control.should_evaluate = False
        if self.stop():
            self.stopped = True
            control.should_training_stop = True
            if self.ranks.sum_over_ranks(float(self.run.cancelled))[0]:
                control.should_save = control.should_evaluate = False
            else:  # to go on later, from this step; an evaluation that is due now would not be due then
                control.should_save = True

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: Any = None, **rest: Any
    ) -> None:
        logs = logs or {}
        if "loss" in logs:
            self._report_step(state, logs)
        elif "eval_loss" in logs:
            accuracy = logs.get("eval_mean_token_accuracy")
            answers = {f"valid_{new}": logs.get(f"eval_{old}") for old, new in OF_ANSWERS.items()}
            point = MetricPoint(
                step=state.global_step,
                epoch=state.epoch,
                valid_loss=logs["eval_loss"],
                valid_accuracy=accuracy,
                extra={name: float(value) for name, value in answers.items() if value is not None},
            )
            self.run.add_metric(point)
            reward = _reward(logs.get("eval_reward"))
            self.run.log_event(
                f"Step {state.global_step}/{state.max_steps}: validation loss={logs['eval_loss']:.2f}{reward}"
            )

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **rest: Any) -> None:
        written = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
        gather_random_states(self.ranks, written)
        best = self.schedule.loop.best_step
        folder = self.run.publish_checkpoint(written, state.global_step, best=best)
        self.schedule.record_checkpoint()
        if best != self.run.state.get("best_step"):
            self.run.update(best_step=best)
        self.run.log_event(f"Checkpoint created at step {state.global_step}", path=str(folder), step=state.global_step)

    def _report_step(self, state: TrainerState, logs: dict[str, Any]) -> None:
        loss = float(logs["loss"])
        if not math.isfinite(loss):
            raise LossNotFiniteError(
                f"the loss became {loss} at step {state.global_step}; lower the learning rate (now "
                f"{self.gradients.learning_rate:g}) or look for broken rows with `tuneport check`"
            )
        warning = (
            self.gradients.check_gradient(state.global_step, float(logs["grad_norm"])) if "grad_norm" in logs else None
        )
        if warning is not None:
            self.run.log_event(warning, level="warning", type="gradient", step=state.global_step)
        objective = {"objective": loss} if "answer_loss" in logs else {}
        loss = float(logs.get("answer_loss", loss))
        rate, seconds_left = self._rate(state.max_steps)
        accuracy = logs.get("mean_token_accuracy")
        names = {
            "grad_norm": "gradient_norm",
            "rewards/accuracies": "reward_accuracy",
            "rewards/margins": "reward_margin",
            **OF_ANSWERS,
        }
        self.run.add_metric(
            MetricPoint(
                step=state.global_step,
                epoch=state.epoch,
                train_loss=loss,
                train_accuracy=accuracy,
                learning_rate=logs.get("learning_rate"),
                tokens_per_second=rate,
                extra=objective | {new: float(logs[old]) for old, new in names.items() if logs.get(old) is not None},
            )
        )
        progress = Progress(
            step=state.global_step,
            total_steps=state.max_steps,
            epoch=state.epoch,
            train_loss=loss,
            tokens_per_second=rate,
            seconds_left=seconds_left,
        )
        self.run.update_progress(progress, self.counter.total)
        every = max(1, math.ceil(state.max_steps / EVENTS_PER_RUN))
        if state.global_step % every == 0 or state.global_step in (1, state.max_steps):
            self.run.log_event(
                f"Step {state.global_step}/{state.max_steps}: training loss={loss:.2f}{_reward(logs.get('reward'))}",
                type="metrics",
                step=state.global_step,
                train_loss=loss,
                total_steps=state.max_steps,
                **({} if accuracy is None else {"train_mean_token_accuracy": accuracy}),
            )

    def _mark(self, step: int) -> None:
        self._marks = [*self._marks[-STEPS_FOR_RATE:], (time.monotonic(), step, self.counter.total)]

    def _rate(self, total_steps: int) -> tuple[float | None, float | None]:
        """Return tokens a second over the last steps, and the seconds that the remaining ones will take at that
        rate."""
        (begun, first, tokens), (ended, last, more) = self._marks[0], self._marks[-1]
        if last <= first or ended <= begun:
            return None, None
        seconds = ended - begun
        return round((more - tokens) / seconds, 1), round((total_steps - last) * seconds / (last - first), 1)


def _reward(mean: float | None) -> str:
    return "" if mean is None else f", reward={mean:.3f}"


def record_training_start(run: TrainingRunFolder, numbers: dict[str, Any], device: Any, trainer: Any) -> None:
    """Record what is about to be trained: resolved numbers, sizes, device, and how batches are put together."""
    model, arguments = trainer.model, trainer.args
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    run.update(
        started_at=run.state.get("started_at") or now().isoformat(),
        hyperparameters=numbers,
        trainable_parameters=trainable,
        total_parameters=model.num_parameters() if hasattr(model, "num_parameters") else None,
        device=device.name,
        precision=device.precision,
        micro_batch=int(trainer.args.per_device_train_batch_size),
        trainer={
            "micro_batch": arguments.per_device_train_batch_size,
            "accumulation": arguments.gradient_accumulation_steps,
            "scheduler": str(getattr(arguments.lr_scheduler_type, "value", arguments.lr_scheduler_type)),
            "optimizer": str(getattr(arguments.optim, "value", arguments.optim)),
            "gradient_checkpointing": bool(arguments.gradient_checkpointing),
            **({"workers": arguments.world_size} if arguments.world_size > 1 else {}),
        },
    )
