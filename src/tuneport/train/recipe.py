"""The run from top to bottom: render the data, load the model, train, save the weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tuneport import digests
from tuneport.base_models import BaseModelDevice, choose_base_model_device, locate_base_model, materialise_base_model
from tuneport.data.reading import read_records
from tuneport.data.templates.limits import bound_template_memory
from tuneport.data.templates.rendering import TemplateRenderer
from tuneport.data.tokens.tokenizer import training_template_renderer
from tuneport.digests import DamagedError
from tuneport.errors import DatasetError, DatasetProblem, UnsupportedError
from tuneport.heavy_imports import heavy_imports
from tuneport.run_protocol import DATA, ENVIRONMENT
from tuneport.train.methods.rewards import build_reward
from tuneport.train.model.arguments import TrainingRecipe
from tuneport.train.model.loading import resolve_training_numbers
from tuneport.train.model.sharding import Sharding, choose_sharding, count_safetensors_weights, training_device_memory
from tuneport.train.model.vocabulary import refuse_foreign_tokens
from tuneport.train.output.model_card import write_model_card
from tuneport.train.output.weights import DropReferenceAdapter, tidy_trained_weights
from tuneport.train.run.averaging import WeightAverage
from tuneport.train.run.checkpoint_integrity import (
    check_training_files,
    guard_checkpoint_loading,
    loading_training_checkpoint,
    newest_whole_checkpoint,
    verify_training_checkpoint,
)
from tuneport.train.run.checkpoints import CheckpointSchedule, TrainingLoopState
from tuneport.train.run.environment import training_data_fingerprint, training_environment
from tuneport.train.run.gradient_watch import GradientWatch
from tuneport.train.run.process_group import TrainingRanks, batch_for_workers
from tuneport.train.run.reporting import TrainedTokenCounter, TrainingReporter, record_training_start
from tuneport.train.run.run_folder import TrainingRunFolder
from tuneport.train.run.trackers import tracker_callbacks
from tuneport.train.speed.memory_check import refuse_too_large_training
from tuneport.train.speed.memory_retry import train_within_memory
from tuneport.training_options import TrainingOptions
from tuneport.types import Adapter, DataFile, JobStatus, Method


def _trainer_of(method: Method) -> Callable[..., Any]:
    """Import what trains by the method, and no more: TRL's trainers that write answers take 0.8 s to load."""
    trainer: Callable[..., Any]
    with heavy_imports():
        match method:
            case Method.SFT:
                from tuneport.train.methods.sft import sft_trainer as trainer
            case Method.DPO:
                from tuneport.train.methods.dpo import dpo_trainer as trainer
            case Method.KTO:
                from tuneport.train.methods.kto import kto_trainer as trainer
            case Method.REWARD:
                from tuneport.train.methods.reward import reward_trainer as trainer
            case Method.GRPO | Method.RFT:
                from tuneport.train.methods.rollouts import grpo_trainer as trainer
            case Method.RLOO:
                from tuneport.train.methods.rollouts import rloo_trainer as trainer
    return trainer


def train(run: TrainingRunFolder, stop: Callable[[], bool]) -> None:
    """Train the run. Returns once it has succeeded, or stopped and is still to be marked. Raises its errors.

    Runs on each rank if torch's process group has several: the first with the run's folder, others with a
    `NonWritingTrainingRun`.
    """
    ranks = TrainingRanks.here()
    stop = ranks.agree_on_stop(stop)
    run.report_phase("reads the dataset")
    run.update(status=JobStatus.VALIDATING)
    run.log_event(f"Validating training file: {run.training.path.name}")
    spec, numbers = run.spec, resolve_training_numbers(run.hyperparameters)
    options = TrainingOptions.parse(spec.provider_options)
    batch_size = batch_for_workers(numbers["batch_size"], ranks.count, chosen=spec.hyperparameters.batch_size != "auto")
    if batch_size != numbers["batch_size"]:
        run.note(f"a batch of {numbers['batch_size']} became one of {batch_size}, which {ranks.count} workers share")
        numbers["batch_size"] = batch_size
    with ranks.first_rank_first():
        if ranks.index == 0:
            check_training_files(run)
            if run.starting_weights is not None:
                digests.check_digests(run.starting_weights)
        folder = base = materialise_base_model(locate_base_model(run.model_name_or_path, home=run.home), home=run.home)
    bound_template_memory()
    renderer = training_template_renderer(
        folder, numbers["max_length"], options.loss_on, trust_remote_code=options.trust_remote_code
    )
    renderer.file = "the training file"
    rows = _rendered(renderer, run.training, spec.method)
    renderer.file = "the validation file"
    valid = _rendered(renderer, run.validation, spec.method) if run.validation else []
    for note in renderer.notes:
        run.note(note)
        run.log_event(note, level="warning")
    refuse_foreign_tokens(folder, [*rows, *valid], trust_remote_code=options.trust_remote_code)
    device = choose_base_model_device(options.precision, on_cpu=run.on_cpu)
    adapter = Adapter.LORA if spec.adapter == "auto" else spec.adapter
    data = {"training": training_data_fingerprint(run.training, rows)}
    run.write_record(
        DATA, data | ({"validation": training_data_fingerprint(run.validation, valid)} if run.validation else {})
    )
    run.write_record(ENVIRONMENT, training_environment(device))
    if numbers["max_length"] is None:
        numbers["max_length"] = data["training"]["longest_row_tokens"]
    sharding = _sharding(run, folder, device, adapter, options, ranks)
    if sharding != "fsdp":  # which is shared out over the devices
        refuse_too_large_training(run.memory, device, options, processes=ranks.ranks_on_this_machine)
    run.log_event("Files validated, loading the model")
    run.report_phase("loads the model")
    if stop():
        return

    if adapter is Adapter.FULL and run.starting_weights is not None:
        folder = run.starting_weights
    recipe = TrainingRecipe(
        method=spec.method,
        folder=folder,
        device=device,
        adapter=adapter,
        numbers=numbers,
        options=options,
        seed=42 if spec.seed is None else spec.seed,
        validates=bool(valid),
        micro_batch_limit=run.state.get("micro_batch_limit"),
        working=run.partial_folder,
        note=run.note,
        start=run.starting_weights,
        workers=ranks.count,
        sharding=sharding,
    )
    counter = TrainedTokenCounter()
    judge = {"reward": build_reward(run, recipe, [*rows, *valid])} if spec.method.writes_answers else {}
    trainer = _trainer_of(spec.method)(recipe, renderer, rows, valid, counter, **judge)
    if recipe.sharding == "fsdp" and not trainer.is_fsdp_enabled:
        raise UnsupportedError("accelerate has FSDP for GPUs only: leave sharding out, or set it to ddp")
    record_training_start(run, numbers, recipe.device, trainer)
    if stop():
        return

    step, listed = _whole_checkpoint(run, ranks)
    checkpoint = run.checkpoint(step) if step else None
    run.drop_metrics_after(step)
    with loading_training_checkpoint(checkpoint, listed=listed):
        loop = TrainingLoopState.of(checkpoint)
        average = WeightAverage(trainer.model, checkpoint) if options.average_weights else None
    if checkpoint is not None:
        guard_checkpoint_loading(trainer, checkpoint, listed=listed)
    if ranks.index == 0:
        counter.tokens = loop.tokens
    schedule = CheckpointSchedule(run, options, loop, counter, validates=recipe.validates, average=average)
    gradients = GradientWatch(numbers["learning_rate"], scaled=bool(trainer.args.fp16))
    reporter = TrainingReporter(run, counter, stop, schedule, gradients, ranks)
    shown = tracker_callbacks(run, step, numbers) if ranks.index == 0 else []
    for callback in (average, *shown, DropReferenceAdapter(), schedule, reporter):
        if callback is not None:
            trainer.add_callback(callback)
    if schedule.out_of_patience or run.early_stop_requested:
        # As it is where a run was killed between its early end and its last word.
        if checkpoint is not None:
            trainer._load_from_checkpoint(str(checkpoint))
    else:
        fewest = spec.method.traits.least_rows
        train_within_memory(trainer, checkpoint, adapter=recipe.adapter, at_least=fewest)
    if reporter.stopped or stop():
        return
    run.report_phase("trains")
    ranks.wait_for_all_ranks()  # for the first one's last checkpoint to lie in its place
    _choose_weights(run, trainer, schedule, average, load=ranks.index == 0)
    counter.sum_over_ranks(ranks)
    _save(run, trainer, recipe.adapter, base, counter, ranks)


def _whole_checkpoint(run: TrainingRunFolder, ranks: TrainingRanks) -> tuple[int, bool]:
    """Return `newest_whole_checkpoint` as the first rank finds it: all continue from the same step."""
    found = newest_whole_checkpoint(run) if ranks.index == 0 else (0, False)
    step, listed = ranks.sum_over_ranks(*found)
    if ranks.index == 0 and run.state.get("start_anew"):
        run.update(start_anew=None)
    return int(step), bool(listed)


def _choose_weights(
    run: TrainingRunFolder, trainer: Any, schedule: CheckpointSchedule, average: WeightAverage | None, *, load: bool
) -> None:
    """Choose the weights of the best evaluation, with early stopping or after a request to stop early, else the last
    ones; of the average, if there is one.

    `load`: by this process, which then saves them.
    """
    best, loss = schedule.loop.best_step, schedule.loop.best_loss
    last = trainer.state.global_step or run.newest_checkpoint_step()
    asked = run.early_stop_requested and not schedule.out_of_patience
    wanted = best is not None and (schedule.options.early_stopping is not None or asked)
    if best is not None and wanted and load:
        best, loss = _whole_best(run, best, loss, last)
    if best is not None and wanted:
        if load:
            trainer._load_from_checkpoint(str(run.checkpoint(best)))
            if average is not None:
                average.load_average(run.checkpoint(best))
        if schedule.out_of_patience:
            told = f"no better validation loss in {schedule.loop.evaluations_without_improvement} evaluations"
            run.log_event(f"Stopped early: {told} since step {best}")
        elif asked:
            run.log_event(f"Stopped early, as asked: the weights of step {best} are kept")
        run.note(f"the saved weights are those of step {best}, of the lowest validation loss, {loss:.4g}")
    elif best is not None and best != last and not wanted:
        run.note(
            f"the validation loss was lowest at step {best} ({loss:.4g}); its checkpoint is kept, and the saved "
            "weights are the last ones (early_stopping saves the best)"
        )
    if average is not None:
        average.apply_average()
        run.note("the saved weights are the mean over about the last sixth of the steps")


def _whole_best(run: TrainingRunFolder, best: int, loss: float | None, last: int) -> tuple[int | None, float | None]:
    """Return the step and the loss of the lowest validation loss among the whole checkpoints.

    Usually it is `best`. Returns None if no checkpoint with a validation loss is whole: the last weights are kept then,
    and that is reported.
    """
    losses = run.validation_losses() | ({} if loss is None else {best: loss})
    for step in sorted(run.checkpoint_steps(), key=lambda step: (step != best, losses.get(step, float("inf")))):
        if step not in losses:
            continue
        try:
            verify_training_checkpoint(run.checkpoint(step))
        except DamagedError as error:
            message = f"The checkpoint of step {step} is damaged, and its weights are not used: {error}"
            print(message, flush=True)
            run.log_event(message, level="warning", type="damaged", step=step, file=error.name)
            continue
        if step != best:
            message = f"Of the whole checkpoints, that of step {step} has the lowest validation loss: it is saved"
            run.log_event(message, level="warning", type="damaged", step=step)
        return step, losses[step]
    message = f"No checkpoint with a validation loss is whole: the last weights, of step {last}, are saved"
    run.note(message)
    run.log_event(message, level="warning", type="damaged", step=last)
    return None, None


def _sharding(
    run: TrainingRunFolder,
    folder: Path,
    device: BaseModelDevice,
    adapter: Adapter,
    options: TrainingOptions,
    ranks: TrainingRanks,
) -> Sharding:
    if ranks.count == 1:
        return "single"
    fitting: Sharding = choose_sharding(
        count_safetensors_weights(folder),
        adapter,
        training_device_memory(device.name, ranks.ranks_on_this_machine),
        ranks.count,
    )
    # Ranks may have devices of several sizes: the smallest decides.
    if ranks.sum_over_ranks(float(fitting == "fsdp"))[0] and device.name != "cpu":
        fitting = "fsdp"
    chosen: Sharding = fitting if options.sharding == "auto" else options.sharding
    for name in ("average_weights", "early_stopping") if chosen == "fsdp" else ():
        if getattr(options, name):
            raise UnsupportedError(f"{name} needs the whole model on each device: leave it out, or set sharding=ddp")
    run.note(f"trained on {ranks.count} workers with {chosen.upper()}")
    return chosen


def _save(
    run: TrainingRunFolder,
    trainer: Any,
    adapter: Adapter,
    base: Path,
    counter: TrainedTokenCounter,
    ranks: TrainingRanks,
) -> None:
    run.update(status=JobStatus.FINALIZING, trained_tokens=counter.total)
    written = run.partial_folder / "weights"
    run.delete_old_checkpoints(run.state.get("best_step"))
    trainer.save_model(str(written))
    ranks.wait_for_all_ranks()
    if ranks.index == 0:
        tidy_trained_weights(written, run.model_name_or_path)
        write_model_card(run, written, adapter, base)
    name = "model" if adapter is Adapter.FULL else "adapter"
    target = run.publish_weights(written, name)
    run.clear_partial_folder()
    run.log_event("New fine-tuned model created", path=str(target))
    run.log_event("The job has successfully completed")
    run.update(adapter=str(target))
    run.finish(JobStatus.SUCCEEDED)


def _rendered(renderer: TemplateRenderer, data: DataFile, method: Method) -> list[Any]:
    records = read_records(data.path, data.format)
    rows: list[Any] = list(renderer.render_for(method, records, path=str(data.path)))
    if not rows:
        raise DatasetError(DatasetProblem(str(data.path), None, "", "holds no record", "add some"))
    return rows
