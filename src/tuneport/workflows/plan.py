"""The plan of a training run, before anything is started: hyperparameters, memory, time, and the GPUs that hold it.

It is for the user's own machine or rented GPUs. A model's shape is enough: `models.toml`, or a `config.json` in a
folder or on the hub; no weights are fetched, and nothing heavy is imported unless the model is to be traced (`exact`).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from tuneport.backends import training_backend_manifests
from tuneport.backends.routing import BackendCatalogue
from tuneport.data.conversion.unused_signals import refuse_unused_signals_of_first_rows
from tuneport.data.dataset import Dataset, DatasetLike
from tuneport.deprecation import renamed
from tuneport.errors import ConfigError, UnsupportedError
from tuneport.estimate.batching import TrainedRows
from tuneport.estimate.duration import Duration
from tuneport.estimate.hyperparameters import Recommended, RecommendedOption, recommend_hyperparameter_options
from tuneport.estimate.memory import MemoryEstimate, TrainingShape, estimate_memory
from tuneport.estimate.memory.traced import estimate_memory_by_tracing
from tuneport.estimate.settling import settle_training
from tuneport.estimate.training_settings import TrainingSettings
from tuneport.formatting import duration
from tuneport.lifecycle.planning.cpu_probe import run_cpu_probe
from tuneport.lifecycle.planning.past_jobs import read_past_jobs
from tuneport.lifecycle.planning.planning import find_job_gpu, plan_job_machine, read_job_dataset_facts
from tuneport.manifests import find_manifest_model, load_gpus
from tuneport.pages.notebook import render_notebook_view
from tuneport.router import DatasetFacts, Machine, refuse_backend_for_images
from tuneport.settings import Settings
from tuneport.training_options import TrainingOptions
from tuneport.types import Adapter, Hyperparameters, Method, TuneSpec
from tuneport.validation import parse_or_config_error
from tuneport.workflows.training_plan.backend_settings import (
    plan_settings_in_their_words,
    planned_numbers,
    settle_training_everywhere,
)
from tuneport.workflows.training_plan.comparison import (
    TrainingPlanOption,
    choose_training_option,
    compare_training_options,
)
from tuneport.workflows.training_plan.gpus import (
    TrainingPlanGPU,
    TrainingWork,
    cheapest_plan_gpus,
    plan_for_each_gpu,
    planned_training_duration_here,
)
from tuneport.workflows.training_plan.runs import OptimizerStep, plan_training_optimizer_step
from tuneport.workflows.training_plan.shapes import PlannedBaseModel, find_planned_model, read_planned_model_config


@dataclass(frozen=True)
class TrainingPlan:
    """A plan: `run` is one micro-step of a GPU, and `accumulation` of them make a batch. `here` is this machine's time.

    `training` is what each backend that offers the model would train with, with its steps, and `settings` the same
    under its own names. `traced` is the memory by the model's own code, if that was asked for (`exact`), or
    `not_traced` says why not.
    `ways` are set if they were asked for (`compare`); `chosen` is the one to take, and `choice` says why, or why none
    is.
    """

    dataset: Path
    model: PlannedBaseModel
    method: Method
    adapter: Adapter
    rows: int
    tokens: int
    hyperparameters: Mapping[str, Recommended]
    options: Mapping[str, RecommendedOption]
    training: Mapping[str, TrainingSettings]
    settings: Mapping[str, Mapping[str, Any]]
    run: TrainingShape
    accumulation: int
    memory: MemoryEstimate
    traced: MemoryEstimate | None
    not_traced: str | None
    gpus: Sequence[TrainingPlanGPU]
    machine: Machine
    here: Duration
    budget: float | None
    ways: Sequence[TrainingPlanOption]
    chosen: TrainingPlanOption | None
    choice: str | None

    def __repr__(self) -> str:
        return f"TrainingPlan({self.model.name!r}, {self.method.value}, {self.adapter.value}, {self.rows:,} rows)"

    def _repr_html_(self) -> str:
        facts = [
            ("method", self.method.value),
            ("adapter", self.adapter.value),
            ("rows", f"{self.rows:,}"),
            ("tokens an epoch", f"{self.tokens:,}"),
            ("memory", f"{self.memory.expected_gib:.1f} GiB"),
            ("here", duration(self.here.expected_seconds)),
        ]
        rows = [(name, each.value, each.because) for name, each in self.hyperparameters.items()]
        notes = [] if self.cheapest is None else [f"Cheapest GPUs: {self.cheapest.name}"]
        if self.choice is not None:
            notes.append(self.choice)
        return render_notebook_view(
            self.model.name, facts, head=("hyperparameter", "value", "because"), rows=rows, notes=notes
        )

    @property
    def cheapest(self) -> TrainingPlanGPU | None:
        """Return the GPUs with the lowest cost of the whole run."""
        return cheapest_plan_gpus(self.gpus)

    @property
    def offered_by(self) -> Sequence[str]:
        """Return the backends that offer the model."""
        return list(self.training)

    @property
    def knobs(self) -> Mapping[str, Mapping[str, Any]]:
        """Return `settings`, under its name of before."""
        warnings.warn(
            "TrainingPlan.knobs is now TrainingPlan.settings; the old name goes with the next release",
            DeprecationWarning,
            stacklevel=2,
        )
        return self.settings

    def as_dict(self) -> dict[str, Any]:
        best = self.cheapest
        machine = self.machine
        return {
            "dataset": str(self.dataset),
            "model": self.model.name,
            "licence": self.model.licence,
            "method": self.method.value,
            "adapter": self.adapter.value,
            "rows": self.rows,
            "tokens_per_epoch": self.tokens,
            "params_b": self.model.params_b,
            "shape_from": self.model.known_from,
            "hyperparameters": {name: vars(row) for name, row in self.hyperparameters.items()},
            "options": {name: vars(row) for name, row in self.options.items()},
            "settings": {name: dict(values) for name, values in self.settings.items()},
            "knobs": {name: dict(values) for name, values in self.settings.items()},  # until the next release
            "training": {
                name: row.as_dict() | {"steps": row.steps.model_dump(mode="json")}
                for name, row in self.training.items()
            },
            "offered_by": list(self.offered_by),
            "run": vars(self.run),
            "accumulation": self.accumulation,
            "memory": self.memory.as_dict(),
            "traced": None if self.traced is None else self.traced.as_dict(),
            "traced_unavailable": self.not_traced,
            "gpus": [plan.as_dict() for plan in self.gpus],
            "cheapest": None if best is None else best.name,
            "this_machine": {
                "gpu": machine.gpu or None,
                "memory_gib": machine.memory_gib,
                "fits": None if machine.memory_gib is None else self.memory.fits(machine.memory_gib),
                "seconds": self.here.expected_seconds,
                "seconds_low": self.here.low_seconds,
                "seconds_high": self.here.high_seconds,
                "seconds_because": self.here.explanation,
                "seconds_unavailable": self.here.unavailable,
            },
            "budget_usd": self.budget,
            "ways": [way.as_dict() for way in self.ways],
            "chosen": None if self.chosen is None else [self.chosen.name, self.chosen.adapter.value],
            "choice": self.choice,
        }


@renamed(gpus="gpu")
def plan(
    dataset: DatasetLike,
    *,
    model: str,
    validation: DatasetLike | None = None,
    method: str | None = None,
    adapter: str = "auto",
    hyperparameters: Hyperparameters | Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    columns: Mapping[str, str] | None = None,
    format: str | None = None,
    gpu: str | Sequence[str] = (),
    exact: bool = False,
    compare: bool = False,
    budget: float | None = None,
    probe: bool = False,
    settings: Settings | None = None,
) -> TrainingPlan:
    """Plan a run of `model` on `dataset`. `gpu` names GPUs of `gpus.toml`; the default is all of them. A run with a
    `validation` file keeps its best epoch, which allows a higher learning rate.

    `options` are those of the backend local (`workers`, `gradient_checkpointing`, `precision` ...). `exact` also traces
    the model's own code, if torch is installed. `compare` sets all methods and adapters side by side; `budget` (US
    dollars) excludes more expensive options. `probe` first measures this machine's processor, and keeps what it found
    for later estimates.

    Raises DatasetError if the dataset cannot be used, ConfigError and ModelNotOfferedError for unknown names and if
    neither the model's shape nor its size is known, and UnsupportedError for unknown options and for pictures.
    """
    settings = settings or Settings.load()
    data = Dataset.of(dataset, columns, format)
    how = Method(method or data.method)
    chosen = parse_or_config_error(TuneSpec, {"model": model, "dataset": data.path, "adapter": adapter}).adapter
    kind = Adapter.LORA if chosen == "auto" else chosen
    given = (
        hyperparameters
        if isinstance(hyperparameters, Hyperparameters)
        else parse_or_config_error(Hyperparameters, hyperparameters or {})
    )
    told = TrainingOptions.parse(options or {})
    name = BackendCatalogue(settings).resolve_model(model, "local")
    base = find_planned_model(name, settings)
    held_out = None if validation is None else data.validation_like(validation)
    spec = TuneSpec(
        model=name,
        dataset=data.path,
        validation=None if held_out is None else held_out.path,
        adapter=chosen,
        hyperparameters=given,
        provider_options=dict(options or {}),
    ).model_copy(update={"method": how})  # whose grader or reward a plan does not need
    facts = _read_facts(data, held_out, how, settings)
    manifests = {manifest.name: manifest for manifest in training_backend_manifests(settings)}
    offered = find_manifest_model(manifests["local"], name)
    assert offered is not None  # the backend local takes every name
    for refusal in refuse_backend_for_images(how, manifests["local"], offered, facts, date.today()):
        raise UnsupportedError(refusal.reason)
    rows, counted = max(1, facts.rows), facts.tokens(manifests["local"], offered)
    tokens = TrainedRows(rows, counted.training, counted.longest, counted.usual, counted.low, counted.high)

    def settle(method: Method, adapter: Adapter) -> TrainingSettings:
        asked = spec.model_copy(update={"method": method})
        return settle_training(asked, manifests["local"], offered, tokens, adapter=adapter, params_b=base.params_b)

    def step_for(method: Method, adapter: Adapter) -> OptimizerStep:
        numbers = planned_numbers(settle(method, adapter), spec, counted.longest)
        return plan_training_optimizer_step(
            method, adapter, numbers, told, params_b=base.params_b, longest=counted.longest
        )

    here, step = settle(how, kind), step_for(how, kind)
    numbers = planned_numbers(here, spec, counted.longest)
    batch = int(numbers["batch_size"].value)
    work = TrainingWork(how, rows, counted.training or 0, int(numbers["epochs"].value), batch)
    memory = estimate_memory(kind, params_b=base.params_b, dimensions=base.dimensions, run=step.run)
    if memory is None:
        raise ConfigError(f"neither the shape nor the size of {name} is known: name a folder with its config.json")
    cards = [load_gpus().find(name) for name in ((gpu,) if isinstance(gpu, str) else gpu)] or list(load_gpus().gpus)
    machine = plan_job_machine(settings)
    if probe:
        run_cpu_probe(settings, machine, name)
        machine = plan_job_machine(settings)
    own = find_job_gpu(machine.gpu)
    settled = recommend_hyperparameter_options(
        kind,
        batch=step.accumulation * step.run.micro_batch,
        micro_batch=step.run.micro_batch,
        scheduler=told.lr_scheduler_type if "lr_scheduler_type" in (options or {}) else None,
        targets=step.run.lora_targets if told.lora_target_modules is not None else None,
    )
    found = compare_training_options(base, how, work, step_for, cards, budget) if compare else []
    traced, not_traced = _trace(base, kind, step.run, settings) if exact else (None, None)
    take, why = choose_training_option(found, rows, budget) if found else (None, None)
    training = settle_training_everywhere(spec, model, facts, here, settings)
    return TrainingPlan(
        dataset=data.path,
        model=base,
        method=how,
        adapter=kind,
        rows=rows,
        tokens=work.tokens,
        hyperparameters={name: row for name, row in numbers.items() if name in here.names},
        options=settled,
        training=training,
        settings=plan_settings_in_their_words(training, settled, manifests),
        run=step.run,
        accumulation=step.accumulation,
        memory=memory,
        traced=traced,
        not_traced=not_traced,
        gpus=plan_for_each_gpu(base, kind, step, work, cards),
        machine=machine,
        here=planned_training_duration_here(own, base, kind, step.run, work, machine, read_past_jobs(settings))
        if own or not machine.gpu
        else Duration.unknown(f"the rate of {machine.gpu} is not known"),
        budget=budget,
        ways=found,
        chosen=take,
        choice=why,
    )


def _trace(
    model: PlannedBaseModel, adapter: Adapter, run: TrainingShape, settings: Settings
) -> tuple[MemoryEstimate | None, str | None]:
    """Return the traced memory, or why there is none."""
    if model.dimensions is None:
        return None, f"the shape of {model.name} is not known"
    try:
        return estimate_memory_by_tracing(
            read_planned_model_config(model.name, settings), adapter, model.dimensions, run
        ), None
    except (ConfigError, UnsupportedError) as error:
        return None, str(error)


def _read_facts(dataset: Dataset, held_out: Dataset | None, method: Method, settings: Settings) -> DatasetFacts:
    read = dataset.for_method(method)
    refuse_unused_signals_of_first_rows(read, method)
    return read_job_dataset_facts(read, held_out, home=settings.home)
