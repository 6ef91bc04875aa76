"""Trackers that show a run's curves: TensorBoard always, Weights & Biases and MLflow where asked for."""

from __future__ import annotations

import importlib.util
import os
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tuneport.errors import ConfigError, one_line
from tuneport.installation import install_extra
from tuneport.train.run.run_folder import TrainingRunFolder

MLFLOW_RUN = "mlflow_run_id"


def tracker_callbacks(run: TrainingRunFolder, after: int, recorded: dict[str, Any]) -> list[TrainerCallback]:
    """Return callbacks for the trainer; `after` is the step that the run continues from, `recorded` the facts about the
    run.

    Raises ConfigError if W&B was asked for and cannot be reached when the run begins. A run that continues after a
    break does without, as for MLflow, which is optional, and reports it.
    """
    found: list[TrainerCallback] = []
    if importlib.util.find_spec("tensorboardX") is not None:
        from tuneport.train.run.tensorboard import tensorboard_callback

        found.append(tensorboard_callback(run.path / "tensorboard", after))
    if run.spec.wandb is not None:
        try:
            found.append(_wandb(run, recorded))
        except Exception as error:  # the library's own kinds change between its versions
            reason = one_line(str(error).strip().split("\n", 1)[0])
            message = f"W&B could not be started ({reason})"
            if not after:
                raise ConfigError(
                    f"{message}; set WANDB_API_KEY or WANDB_MODE=offline, or submit without wandb"
                ) from error
            run.log_event(f"{message}; the run goes on without it", level="warning")
    if os.environ.get("MLFLOW_TRACKING_URI"):
        try:
            found.append(_mlflow(run))
        except Exception as error:
            reason = one_line(str(error).strip().split("\n", 1)[0])
            told = f"MLflow could not be started ({reason}); the run goes on without it"
            run.note(told)
            run.log_event(told, level="warning")
    return found


def _wandb(run: TrainingRunFolder, recorded: dict[str, Any]) -> TrainerCallback:
    """Return W&B's callback under the run's own id, so that a restarted run continues in the same place."""
    import wandb
    from transformers.integrations import WandbCallback

    asked = run.spec.wandb
    assert asked is not None
    wandb.init(
        project=asked.project,
        entity=asked.entity,
        name=asked.name or run.tuned_name,
        tags=list(asked.tags),
        id=run.run_id,
        resume="allow",
        dir=str(run.path),
        config=recorded,
    )
    return _ClosingTracker(WandbCallback(), wandb.finish)


def _mlflow(run: TrainingRunFolder) -> TrainerCallback:
    try:
        import mlflow
    except ModuleNotFoundError as error:
        raise ConfigError(f"MLFLOW_TRACKING_URI is set and mlflow is not here: {install_extra('trackers')}") from error
    from transformers.integrations import MLflowCallback

    kept = run.path / MLFLOW_RUN
    before = kept.read_text(encoding="utf-8") if kept.is_file() else None
    if name := os.environ.get("MLFLOW_EXPERIMENT_NAME"):
        mlflow.set_experiment(name)
    started = mlflow.start_run(run_id=before, run_name=None if before else run.tuned_name)
    kept.write_text(started.info.run_id, encoding="utf-8")
    return _ClosingTracker(MLflowCallback(), mlflow.end_run)


class _ClosingTracker(TrainerCallback):
    """A library's callback, and what tells the library at the end that no more will come."""

    def __init__(self, callback: Any, close: Any) -> None:
        self.callback, self.close = callback, close

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        self.callback.on_train_begin(*args, **kwargs)

    def on_log(self, *args: Any, **kwargs: Any) -> None:
        self.callback.on_log(*args, **kwargs)

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **rest: Any) -> None:
        self.callback.on_train_end(args, state, control, **rest)
        self.close()
