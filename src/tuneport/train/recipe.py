"""The run from top to bottom: render the data, load the model, train, save the weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tuneport.base_models import Device, choose_device, locate, materialise
from tuneport.data.reading import read_records
from tuneport.data.rendering import Renderer
from tuneport.data.tokenizer import training_renderer
from tuneport.errors import DatasetError, DatasetProblem, UnsupportedError
from tuneport.train.arguments import Recipe
from tuneport.train.averaging import WeightAverage
from tuneport.train.checkpoints import CheckpointSchedule, LoopState
from tuneport.train.dpo import dpo_trainer
from tuneport.train.environment import environment, fingerprint
from tuneport.train.gradient_watch import GradientWatch
from tuneport.train.kto import kto_trainer
from tuneport.train.loading import resolved
from tuneport.train.memory_check import refuse_too_large
from tuneport.train.memory_retry import train_within_memory
from tuneport.train.model_card import write_card
from tuneport.train.ranks import Ranks, shared_batch
from tuneport.train.reporting import Counter, RunReporter, start_record
from tuneport.train.reward import reward_trainer
from tuneport.train.rewards import reward_of
from tuneport.train.rollouts import grpo_trainer, rloo_trainer
from tuneport.train.run_folder import RunFolder
from tuneport.train.sft import sft_trainer
from tuneport.train.sharding import Sharding, choose_sharding, memory_of_device, parameters_of
from tuneport.train.trackers import trackers
from tuneport.train.vocabulary import refuse_foreign_tokens
from tuneport.train.weights import WithoutReference, tidy
from tuneport.training_options import TrainingOptions
from tuneport.types import Adapter, DataFile, JobStatus, Method

TRAINERS: dict[Method, Callable[..., Any]] = {
    Method.SFT: sft_trainer,
    Method.DPO: dpo_trainer,
    Method.KTO: kto_trainer,
    Method.REWARD: reward_trainer,
    Method.GRPO: grpo_trainer,
    Method.RLOO: rloo_trainer,
    Method.RFT: grpo_trainer,
}


def train(run: RunFolder, stop: Callable[[], bool]) -> None:
    """Returns with the run succeeded, or stopped and still to be marked. Raises what went wrong.

    On each rank, where torch's process group has several: the first with the run's folder, others with a `Bystander`.
    """
    ranks = Ranks.here()
    stop = ranks.agreed(stop)
    run.update(status=JobStatus.VALIDATING)
    run.event(f"Validating training file: {run.training.path.name}")
    spec, numbers = run.spec, resolved(run.hyperparameters)
    options = TrainingOptions.of(spec.provider_options)
    batch_size = shared_batch(numbers["batch_size"], ranks.count, chosen=spec.hyperparameters.batch_size != "auto")
    if batch_size != numbers["batch_size"]:
        run.note(f"a batch of {numbers['batch_size']} became one of {batch_size}, which {ranks.count} workers share")
        numbers["batch_size"] = batch_size
    with ranks.first_alone():
        folder = base = materialise(locate(run.model_name_or_path, home=run.home), home=run.home)
    renderer = training_renderer(
        folder, numbers["max_length"], options.loss_on, trust_remote_code=options.trust_remote_code
    )
    renderer.file = "the training file"
    rows = _rendered(renderer, run.training, spec.method)
    renderer.file = "the validation file"
    valid = _rendered(renderer, run.validation, spec.method) if run.validation else []
    for note in renderer.notes:
        run.note(note)
        run.event(note, level="warning")
    refuse_foreign_tokens(folder, [*rows, *valid], trust_remote_code=options.trust_remote_code)
    device = choose_device(options.precision, on_cpu=run.on_cpu)
    adapter = Adapter.LORA if spec.adapter == "auto" else spec.adapter
    data = {"training": fingerprint(run.training, rows)}
    run.record("data.json", data | ({"validation": fingerprint(run.validation, valid)} if run.validation else {}))
    run.record("environment.json", environment(device))
    if numbers["max_length"] is None:
        numbers["max_length"] = data["training"]["longest_row_tokens"]
    sharding = _sharding(run, folder, device, adapter, options, ranks)
    if sharding != "fsdp":  # of which each device has a share
        refuse_too_large(run.memory, device, options, processes=ranks.here_count)
    run.event("Files validated, loading the model")
    if stop():
        return

    if adapter is Adapter.FULL and run.start is not None:
        folder = run.start
    recipe = Recipe(
        folder=folder,
        device=device,
        adapter=adapter,
        numbers=numbers,
        options=options,
        seed=42 if spec.seed is None else spec.seed,
        validates=bool(valid),
        micro_batch_limit=run.state.get("micro_batch_limit"),
        working=run.working,
        note=run.note,
        start=run.start,
        workers=ranks.count,
        sharding=sharding,
    )
    counter = Counter()
    judge = {"reward": reward_of(run, recipe, [*rows, *valid])} if spec.method.writes_answers else {}
    trainer = TRAINERS[spec.method](recipe, renderer, rows, valid, counter, **judge)
    if recipe.sharding == "fsdp" and not trainer.is_fsdp_enabled:
        raise UnsupportedError("accelerate has FSDP for GPUs only: leave sharding out, or set it to ddp")
    start_record(run, numbers, recipe.device, trainer)
    if stop():
        return

    checkpoint = run.newest_checkpoint()
    run.forget_after(run.newest_step())
    loop = LoopState.of(checkpoint)
    if ranks.index == 0:
        counter.tokens = loop.tokens
    average = WeightAverage(trainer.model, checkpoint) if options.average_weights else None
    schedule = CheckpointSchedule(run, options, loop, counter, validates=recipe.validates, average=average)
    gradients = GradientWatch(numbers["learning_rate"], scaled=bool(trainer.args.fp16))
    reporter = RunReporter(run, counter, stop, schedule, gradients, ranks)
    shown = trackers(run, run.newest_step(), numbers) if ranks.index == 0 else []
    for callback in (average, *shown, WithoutReference(), schedule, reporter):
        if callback is not None:
            trainer.add_callback(callback)
    if not (
        schedule.exhausted or run.stop_early_asked
    ):  # as it is where a run was killed between its early end and its last word
        fewest = 2 if spec.method is Method.KTO else 1
        train_within_memory(trainer, checkpoint, adapter=recipe.adapter, at_least=fewest)
    if reporter.stopped or stop():
        return
    ranks.wait()  # for the first one's last checkpoint to lie in its place
    _choose_weights(run, trainer, schedule, average, load=ranks.index == 0)
    counter.add_up(ranks)
    _save(run, trainer, recipe.adapter, base, counter, ranks)


def _choose_weights(
    run: RunFolder, trainer: Any, schedule: CheckpointSchedule, average: WeightAverage | None, *, load: bool
) -> None:
    """With early stopping, or asked to stop early, those of the best evaluation, else the last ones; of the average,
    where there is one.

    `load`: by this process, which then saves them.
    """
    best, loss = schedule.loop.best_step, schedule.loop.best_loss
    last = trainer.state.global_step
    asked = run.stop_early_asked and not schedule.exhausted
    if best is not None and (schedule.options.early_stopping is not None or asked):
        if load:
            trainer._load_from_checkpoint(str(run.checkpoint(best)))
            if average is not None:
                average.load(run.checkpoint(best))
        if schedule.exhausted:
            told = f"no better validation loss in {schedule.loop.evaluations_without_improvement} evaluations"
            run.event(f"Stopped early: {told} since step {best}")
        elif asked:
            run.event(f"Stopped early, as asked: the weights of step {best} are kept")
        run.note(f"the saved weights are those of step {best}, of the lowest validation loss, {loss:.4g}")
    elif best is not None and best != last:
        run.note(
            f"the validation loss was lowest at step {best} ({loss:.4g}); its checkpoint is kept, and the saved "
            "weights are the last ones (early_stopping saves the best)"
        )
    if average is not None:
        average.apply()
        run.note("the saved weights are the mean over about the last sixth of the steps")


def _sharding(
    run: RunFolder, folder: Path, device: Device, adapter: Adapter, options: TrainingOptions, ranks: Ranks
) -> Sharding:
    if ranks.count == 1:
        return "single"
    fitting: Sharding = choose_sharding(
        parameters_of(folder), adapter, memory_of_device(device.name, ranks.here_count), ranks.count
    )
    # Ranks may have devices of several sizes: the smallest decides.
    if ranks.total(float(fitting == "fsdp"))[0] and device.name != "cpu":
        fitting = "fsdp"
    chosen: Sharding = fitting if options.sharding == "auto" else options.sharding
    for name in ("average_weights", "early_stopping") if chosen == "fsdp" else ():
        if getattr(options, name):
            raise UnsupportedError(f"{name} needs the whole model on each device: leave it out, or set sharding=ddp")
    run.note(f"trained on {ranks.count} workers with {chosen.upper()}")
    return chosen


def _save(run: RunFolder, trainer: Any, adapter: Adapter, base: Path, counter: Counter, ranks: Ranks) -> None:
    run.update(status=JobStatus.FINALIZING, trained_tokens=counter.total)
    written = run.working / "weights"
    run.make_room(run.state.get("best_step"))
    trainer.save_model(str(written))
    ranks.wait()
    if ranks.index == 0:
        tidy(written, run.model_name_or_path)
        write_card(run, written, adapter, base)
    name = "model" if adapter is Adapter.FULL else "adapter"
    target = run.publish_weights(written, name)
    run.clear_working()
    run.event("New fine-tuned model created", path=str(target))
    run.event("The job has successfully completed")
    run.update(adapter=str(target))
    run.finish(JobStatus.SUCCEEDED)


def _rendered(renderer: Renderer, data: DataFile, method: Method) -> list[Any]:
    records = read_records(data.path, data.format)
    rows: list[Any] = list(renderer.render_for(method, records, path=str(data.path)))
    if not rows:
        raise DatasetError(DatasetProblem(str(data.path), None, "", "holds no record", "add some"))
    return rows
