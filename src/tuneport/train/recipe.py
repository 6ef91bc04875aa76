"""The run from top to bottom: render the data, load the model, train, save the weights."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tuneport.base_models import Device, choose_device, locate, materialise
from tuneport.data.reading import read_records
from tuneport.data.rendering import Rendered, RenderedAnswer, Renderer
from tuneport.data.tokenizer import training_renderer
from tuneport.errors import DatasetError, DatasetProblem, UnsupportedError
from tuneport.train.arguments import Recipe
from tuneport.train.averaging import WeightAverage
from tuneport.train.dpo import dpo_trainer
from tuneport.train.kto import kto_trainer
from tuneport.train.loading import resolved
from tuneport.train.ranks import Ranks, shared_batch
from tuneport.train.reporting import Counter, RunReporter, start_record
from tuneport.train.reward import reward_trainer
from tuneport.train.run_folder import RunFolder
from tuneport.train.sft import sft_trainer
from tuneport.train.sharding import Sharding, choose_sharding, memory_of_device, parameters_of
from tuneport.training_options import TrainingOptions
from tuneport.types import Adapter, DataFile, JobStatus, Method

TRAINERS: dict[Method, Callable[..., Any]] = {
    Method.SFT: sft_trainer,
    Method.DPO: dpo_trainer,
    Method.KTO: kto_trainer,
    Method.REWARD: reward_trainer,
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
        folder = materialise(locate(run.model_name_or_path, home=run.home), home=run.home)
    renderer = training_renderer(folder, numbers["max_length"])
    renderer.file = "the training file"
    rows = _rendered(renderer, run.training, spec.method)
    renderer.file = "the validation file"
    valid = _rendered(renderer, run.validation, spec.method) if run.validation else []
    for note in renderer.notes:
        run.note(note)
        run.event(note, level="warning")
    run.event("Files validated, loading the model")
    if stop():
        return

    device = choose_device(options.precision)
    adapter = Adapter.LORA if spec.adapter == "auto" else spec.adapter
    recipe = Recipe(
        folder=folder,
        device=device,
        adapter=adapter,
        numbers=numbers,
        options=options,
        seed=42 if spec.seed is None else spec.seed,
        validates=bool(valid),
        working=run.working,
        note=run.note,
        workers=ranks.count,
        sharding=_sharding(run, folder, device, adapter, options, ranks),
    )
    counter = Counter()
    trainer = TRAINERS[spec.method](recipe, renderer, rows, valid, counter)
    reporter = RunReporter(run, counter, stop, numbers["learning_rate"], ranks)
    if recipe.sharding == "fsdp" and not trainer.is_fsdp_enabled:
        raise UnsupportedError("accelerate has FSDP for GPUs only: leave sharding out, or set it to ddp")
    start_record(run, numbers, recipe.device, trainer.model)
    if stop():
        return

    checkpoint = run.newest_checkpoint()
    if checkpoint is not None:
        step = int(checkpoint.name.removeprefix("step-"))
        run.forget_after(step)
        # Checkpoints are made at the ends of epochs, and each epoch reads every row once.
        if ranks.index == 0:
            counter.tokens = round(_epochs(checkpoint)) * _tokens(rows)
    else:
        run.forget_after(0)
    average = WeightAverage(trainer.model, checkpoint) if options.average_weights else None
    if average is not None:
        trainer.add_callback(average)
    trainer.add_callback(reporter)  # the last one: it moves a checkpoint away when the others are done with it
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    if reporter.stopped or stop():
        return
    if average is not None:
        average.apply()
        run.note("the saved weights are the mean over about the last sixth of the steps")
    counter.add_up(ranks)
    _save(run, trainer, recipe.adapter, counter, ranks)


def _tokens(rows: list[Any]) -> int:
    """What the trainers count for one epoch over these rows."""
    total = 0
    for row in rows:
        if isinstance(row, Rendered):
            total += row.useful_length
        elif isinstance(row, RenderedAnswer):
            total += len(row.prompt_ids) + len(row.completion_ids)
        else:
            total += 2 * len(row.prompt_ids) + len(row.chosen_ids) + len(row.rejected_ids)
    return total


def _sharding(
    run: RunFolder, folder: Path, device: Device, adapter: Adapter, options: TrainingOptions, ranks: Ranks
) -> Sharding:
    if ranks.count == 1:
        return "single"
    here = int(os.environ.get("LOCAL_WORLD_SIZE", ranks.count))
    fitting: Sharding = choose_sharding(
        parameters_of(folder), adapter, memory_of_device(device.name, here), ranks.count
    )
    # Ranks may have devices of several sizes: the smallest decides.
    if ranks.total(float(fitting == "fsdp"))[0] and device.name != "cpu":
        fitting = "fsdp"
    chosen: Sharding = fitting if options.sharding == "auto" else options.sharding
    if chosen == "fsdp" and options.average_weights:
        raise UnsupportedError(
            "average_weights needs the whole model on each device: leave it out, or set sharding=ddp"
        )
    run.note(f"trained on {ranks.count} workers with {chosen.upper()}")
    return chosen


def _save(run: RunFolder, trainer: Any, adapter: Adapter, counter: Counter, ranks: Ranks) -> None:
    run.update(status=JobStatus.FINALIZING, trained_tokens=counter.total)
    written = run.working / "weights"
    trainer.save_model(str(written))
    ranks.wait()
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


def _epochs(checkpoint: Path) -> float:
    return float(json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))["epoch"])
