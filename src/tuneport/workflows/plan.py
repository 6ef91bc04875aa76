"""What a training run would need, before anything is started: hyperparameters, memory, time, and the GPUs that hold it.

For one's own machine or rented GPUs. Of a model, its shape is enough: `models.toml`, or a `config.json` in a folder or
on the hub; no weights are fetched, and nothing heavy is imported unless the model is to be traced (`exact`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuneport.backends import manifest_of
from tuneport.data.prepare import format_for, method_of
from tuneport.errors import ConfigError, UnsupportedError
from tuneport.estimate.duration import Duration
from tuneport.estimate.hyperparameters import Recommended, RecommendedOption, recommend, recommend_options
from tuneport.estimate.memory import MemoryEstimate, Run, estimate_memory
from tuneport.estimate.memory.traced import traced_memory
from tuneport.jobs.cpu_probe import measure_cpu
from tuneport.jobs.history import history
from tuneport.jobs.planning import card_of, dataset_facts, machine_of
from tuneport.manifests import load_gpus, load_models, resolve_model
from tuneport.router import Machine, TokenCount
from tuneport.settings import Settings
from tuneport.training_options import TrainingOptions
from tuneport.types import Adapter, Hyperparameters, Method, TuneSpec, validated
from tuneport.workflows.training_plan.comparison import Way, choice, ways
from tuneport.workflows.training_plan.gpus import GPUPlan, Work, cheapest, duration_here, gpu_plans
from tuneport.workflows.training_plan.knobs import knobs, that_matter
from tuneport.workflows.training_plan.runs import Step, step_of
from tuneport.workflows.training_plan.shapes import BaseModel, base_model, config_of


@dataclass(frozen=True)
class TrainingPlan:
    """`run` is one micro-step of a GPU, `accumulation` of which make a batch. `here` is this machine's time.

    `traced` is the memory by the model's own code, where that was asked for (`exact`), or `not_traced` says why not.
    `ways` are there where they were asked for (`compare`); `chosen` is the one to take, and `choice` says why, or why
    none is.
    """

    dataset: Path
    model: BaseModel
    method: Method
    adapter: Adapter
    rows: int
    tokens: int
    hyperparameters: Mapping[str, Recommended]
    options: Mapping[str, RecommendedOption]
    knobs: Mapping[str, Mapping[str, Any]]
    run: Run
    accumulation: int
    memory: MemoryEstimate
    traced: MemoryEstimate | None
    not_traced: str | None
    gpus: Sequence[GPUPlan]
    machine: Machine
    here: Duration
    budget: float | None
    ways: Sequence[Way]
    chosen: Way | None
    choice: str | None

    @property
    def cheapest(self) -> GPUPlan | None:
        """The GPUs on which the whole run costs least."""
        return cheapest(self.gpus)

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
            "knobs": {name: dict(values) for name, values in self.knobs.items()},
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


def plan(
    dataset: str | Path,
    *,
    model: str,
    method: str | None = None,
    adapter: str = "auto",
    hyperparameters: Hyperparameters | Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    columns: Mapping[str, str] | None = None,
    gpus: Sequence[str] = (),
    exact: bool = False,
    compare: bool = False,
    budget: float | None = None,
    probe: bool = False,
    settings: Settings | None = None,
) -> TrainingPlan:
    """Plan a run of `model` on `dataset`. `gpus` names cards of `gpus.toml`; all of them by default.

    `options` are those of the backend local (`workers`, `gradient_checkpointing`, `precision` ...). `exact` traces
    the model's own code besides, where torch is installed. `compare` sets all methods and adapters side by side;
    `budget` (US dollars) leaves out of the choice what costs more. `probe` first measures this machine's processor, and
    keeps what it found for later estimates.

    DatasetError where the dataset cannot be used; ConfigError and ModelNotOfferedError for names that there are not,
    and where neither the model's shape nor its size is known; UnsupportedError for options that there are not.
    """
    settings = settings or Settings.load()
    path = Path(dataset)
    how = Method(method or method_of(path, columns=columns))
    chosen = validated(TuneSpec, {"model": model, "dataset": path, "adapter": adapter}).adapter
    kind = Adapter.LORA if chosen == "auto" else chosen
    given = (
        hyperparameters
        if isinstance(hyperparameters, Hyperparameters)
        else validated(Hyperparameters, hyperparameters or {})
    )
    told = TrainingOptions.of(options or {})
    name = resolve_model(model, "local", manifest_of("local", settings), load_models(), settings.aliases(model))
    base = base_model(name, settings)
    rows, counted = _counted(path, how, name, columns, settings)

    def numbers_for(method: Method, adapter: Adapter) -> Mapping[str, Recommended]:
        return recommend(
            given,
            rows=rows,
            params_b=base.params_b,
            adapter=adapter,
            method=method,
            longest_tokens=counted.longest,
            usual_tokens=counted.usual,
            context=base.context,
        )

    def step_for(method: Method, adapter: Adapter) -> Step:
        numbers = numbers_for(method, adapter)
        return step_of(method, adapter, numbers, told, params_b=base.params_b, longest=counted.longest)

    numbers, step = numbers_for(how, kind), step_for(how, kind)
    batch = int(numbers["batch_size"].value)
    work = Work(how, rows, counted.training or 0, int(numbers["epochs"].value), batch)
    memory = estimate_memory(kind, params_b=base.params_b, dimensions=base.dimensions, run=step.run)
    if memory is None:
        raise ConfigError(f"neither the shape nor the size of {name} is known: name a folder with its config.json")
    cards = [load_gpus().find(card) for card in gpus] or list(load_gpus().gpus)
    machine = machine_of(settings)
    if probe:
        measure_cpu(settings, machine, name)
        machine = machine_of(settings)
    own = card_of(machine.gpu)
    settled = recommend_options(
        kind,
        batch=step.accumulation * step.run.micro_batch,
        micro_batch=step.run.micro_batch,
        scheduler=told.lr_scheduler_type if "lr_scheduler_type" in (options or {}) else None,
        targets=step.run.lora_targets if told.lora_target_modules is not None else None,
    )
    found = ways(base, how, work, step_for, cards, budget) if compare else []
    traced, not_traced = _trace(base, kind, step.run, settings) if exact else (None, None)
    take, why = choice(found, rows, budget) if found else (None, None)
    return TrainingPlan(
        dataset=path,
        model=base,
        method=how,
        adapter=kind,
        rows=rows,
        tokens=work.tokens,
        hyperparameters=that_matter(numbers, how, kind, settings),
        options=settled,
        knobs=knobs(numbers, settled, how, chosen, settings),
        run=step.run,
        accumulation=step.accumulation,
        memory=memory,
        traced=traced,
        not_traced=not_traced,
        gpus=gpu_plans(base, kind, step, work, cards),
        machine=machine,
        here=duration_here(own, base, kind, step.run, work, machine, history(settings))
        if own or not machine.gpu
        else Duration.unknown(f"the rate of {machine.gpu} is not known"),
        budget=budget,
        ways=found,
        chosen=take,
        choice=why,
    )


def _trace(
    model: BaseModel, adapter: Adapter, run: Run, settings: Settings
) -> tuple[MemoryEstimate | None, str | None]:
    """The traced memory, or why there is none."""
    if model.dimensions is None:
        return None, f"the shape of {model.name} is not known"
    try:
        return traced_memory(config_of(model.name, settings), adapter, model.dimensions, run), None
    except (ConfigError, UnsupportedError) as error:
        return None, str(error)


def _counted(
    path: Path, method: Method, model: str, columns: Mapping[str, str] | None, settings: Settings
) -> tuple[int, TokenCount]:
    """Rows, and their tokens as the model counts them."""
    facts = dataset_facts(path, None, columns, home=settings.home, format=format_for(path, method, columns))
    manifest = manifest_of("local", settings)
    offered = manifest.offered(model)
    assert offered is not None  # the backend local takes every name
    return max(1, facts.rows), facts.tokens(manifest, offered)
