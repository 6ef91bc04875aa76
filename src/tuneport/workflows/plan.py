"""What a training run would need, before anything is started: hyperparameters, memory, time, and the GPUs that hold it.

For one's own machine or a rented GPU. Of a model, its shape is enough: `models.toml`, or a `config.json` in a folder or
on the hub; no weights are fetched and nothing heavy is imported.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tuneport.backends import backend_names, manifest_of, open_backend
from tuneport.base_models import locate_config
from tuneport.data.prepare import format_for, method_of
from tuneport.errors import ConfigError, TuneportError
from tuneport.estimate.duration import Duration, answering_duration, cpu_duration, gpu_duration
from tuneport.estimate.hyperparameters import Recommended, recommend
from tuneport.estimate.memory import MemoryEstimate, Run, estimate_memory, trained_parameters
from tuneport.estimate.memory.sizing import Fit, fits
from tuneport.jobs.planning import dataset_facts, this_machine
from tuneport.manifests import GPU, Dimensions, Weights, load_gpus, load_models, resolve_model
from tuneport.router import Machine
from tuneport.settings import Settings
from tuneport.types import Adapter, Hyperparameters, Method, TuneSpec, validated

EXAMPLES = {Method.DPO: "pairs", Method.REWARD: "scored", Method.KTO: "labelled"}
"""What a micro-step holds for the methods that compare; rollouts for those that write, `single` for the others."""


@dataclass(frozen=True)
class GPUPlan:
    """One GPU: whether it holds the run, how long the run takes there and what the hours cost."""

    fit: Fit
    duration: Duration
    usd: float | None

    def as_dict(self) -> dict[str, Any]:
        return self.fit.as_dict() | {"seconds": self.duration.expected_seconds, "usd": self.usd}


@dataclass(frozen=True)
class AdapterPlan:
    """One adapter, for the table of methods. `trained` of `total` weights move; `memory` is for one example at once."""

    adapter: Adapter
    trained: int | None
    total: int | None
    memory: MemoryEstimate | None
    gpu: str | None
    duration: Duration
    quality: str
    reason: str

    def as_dict(self) -> dict[str, Any]:
        return {
            "adapter": self.adapter.value,
            "trained_parameters": self.trained,
            "share": None if not self.trained or not self.total else self.trained / self.total,
            "memory": None if self.memory is None else self.memory.as_dict(),
            "smallest_gpu": self.gpu,
            "seconds": self.duration.expected_seconds,
            "expected_quality": self.quality,
            "reason": self.reason,
        }


@dataclass(frozen=True)
class TrainingPlan:
    """`run` is one micro-step, `accumulation` of which make a batch. `here` is this machine's verdict and time."""

    dataset: Path
    model: str
    title: str
    licence: str | None
    method: Method
    adapter: Adapter
    rows: int
    tokens: int
    params_b: float | None
    shape_from: str
    hyperparameters: Mapping[str, Recommended]
    knobs: Mapping[str, Mapping[str, Any]]
    run: Run
    accumulation: int
    memory: MemoryEstimate | None
    gpus: Sequence[GPUPlan]
    machine: Machine
    here: Duration
    adapters: Sequence[AdapterPlan]
    choice: str | None

    @property
    def cheapest(self) -> GPUPlan | None:
        """The GPU on which the whole run costs least."""
        able = [plan for plan in self.gpus if plan.fit.verdict == "yes" and plan.usd is not None]
        return min(able, key=lambda plan: plan.usd or 0.0, default=None)

    def as_dict(self) -> dict[str, Any]:
        best = self.cheapest
        return {
            "dataset": str(self.dataset),
            "model": self.model,
            "licence": self.licence,
            "method": self.method.value,
            "adapter": self.adapter.value,
            "rows": self.rows,
            "tokens_per_epoch": self.tokens,
            "params_b": self.params_b,
            "shape_from": self.shape_from,
            "hyperparameters": {name: vars(row) for name, row in self.hyperparameters.items()},
            "knobs": {name: dict(values) for name, values in self.knobs.items()},
            "run": vars(self.run),
            "accumulation": self.accumulation,
            "memory": None if self.memory is None else self.memory.as_dict(),
            "gpus": [plan.as_dict() for plan in self.gpus],
            "cheapest_gpu": None if best is None else best.fit.gpu,
            "this_machine": {
                "gpu": self.machine.gpu or None,
                "memory_gib": self.machine.memory_gib,
                "fits": None
                if self.memory is None or self.machine.memory_gib is None
                else self.memory.fits(self.machine.memory_gib),
                "seconds": self.here.expected_seconds,
                "seconds_unavailable": self.here.unavailable,
            },
            "adapters": [plan.as_dict() for plan in self.adapters],
            "choice": self.choice,
        }


def plan(
    dataset: str | Path,
    *,
    model: str,
    method: str | None = None,
    adapter: str = "auto",
    hyperparameters: Hyperparameters | Mapping[str, Any] | None = None,
    columns: Mapping[str, str] | None = None,
    gpus: Sequence[str] = (),
    settings: Settings | None = None,
) -> TrainingPlan:
    """Plan a run of `model` on `dataset`. `gpus` names cards of `gpus.toml`; all of them by default.

    DatasetError where the dataset cannot be used; ConfigError and ModelNotOfferedError for names that there are not,
    and where neither the model's shape nor its size is known.
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
    manifest = manifest_of("local", settings)
    name = resolve_model(model, "local", manifest, load_models(), settings.aliases(model))
    weights = load_models().find(name)
    dimensions, params_b, shape_from = shape_of(name, weights, settings)

    facts = dataset_facts(path, None, columns, home=settings.home, format=format_for(path, how, columns))
    offered = manifest.offered(name)
    assert offered is not None  # the backend local takes every name
    counted = facts.tokens(manifest, offered)
    tokens, rows = counted.training or 0, max(1, facts.rows)
    context = weights.context if weights else None
    numbers = recommend(
        given,
        rows=rows,
        params_b=params_b,
        adapter=kind,
        method=how,
        longest_tokens=counted.longest,
        context=context,
    )
    batch, longest = int(numbers["batch_size"].value), int(numbers["max_length"].value)
    run = Run(
        micro_batch=_micro_batch(batch),
        length=min(longest, counted.longest or longest),
        examples=examples_of(how),
        checkpointing=kind is not Adapter.PREFIX and (params_b or 0) >= 1,
        lora_rank=int(numbers["lora_rank"].value),
        lora_dropout=float(numbers["lora_dropout"].value),
        virtual_tokens=int(numbers["virtual_tokens"].value),
    )
    memory = estimate_memory(kind, params_b=params_b, dimensions=dimensions, run=run)
    if memory is None:
        raise ConfigError(f"neither the shape nor the size of {name} is known: name a folder with its config.json")
    epochs = int(numbers["epochs"].value)
    total = tokens * epochs
    asked = [load_gpus().find(card) for card in gpus] or list(load_gpus().gpus)

    def on(card: GPU | None, adapter: Adapter = kind, step: Run = run) -> Duration:
        if how.writes_answers:
            return answering_duration(how)
        return _duration(total, rows, tokens, params_b, adapter, step, batch, dimensions, card)

    plans = []
    if dimensions is not None:
        for fit in fits(kind, dimensions, run, asked, context=context):
            seconds = on(load_gpus().find(fit.gpu))
            plans.append(GPUPlan(fit, seconds, _dollars(seconds, fit)))
    machine = this_machine()
    here = (
        on(load_gpus().find(machine.gpu) if machine.gpu else None)
        if machine.bf16_tflops or not machine.gpu
        else (Duration.unknown(f"the rate of {machine.gpu} is not known"))
    )
    adapters, choice = _adapters(numbers, how, dimensions, params_b, run, asked, on, facts.rows)
    return TrainingPlan(
        dataset=path,
        model=name,
        title=weights.title if weights else Path(name).name,
        licence=weights.licence if weights else None,
        method=how,
        adapter=kind,
        rows=facts.rows,
        tokens=tokens,
        params_b=params_b,
        shape_from=shape_from,
        hyperparameters=_that_matter(numbers, how, kind, settings),
        knobs=_knobs(numbers, how, chosen, settings),
        run=run,
        accumulation=max(1, batch // run.micro_batch),
        memory=memory,
        gpus=plans,
        machine=machine,
        here=here,
        adapters=adapters,
        choice=choice,
    )


def examples_of(method: Method) -> Any:
    return EXAMPLES.get(method, "rollouts" if method.writes_answers else "single")


def shape_of(name: str, weights: Weights | None, settings: Settings) -> tuple[Dimensions | None, float | None, str]:
    """Dimensions, billions of parameters, and where they are from: the catalogue, else the model's own config.json."""
    if weights is not None and weights.dimensions is not None:
        return weights.dimensions, weights.params_b, "models.toml"
    try:
        path = locate_config(weights.hub if weights and weights.hub else name, home=settings.home)
        dimensions = Dimensions.from_config(json.loads(path.read_text(encoding="utf-8")))
    except (ConfigError, OSError, ValueError):
        if weights is not None and weights.params_b is not None:
            return None, weights.params_b, "models.toml, its size only"
        raise
    return dimensions, weights.params_b if weights and weights.params_b else _billions(dimensions), str(path)


def _billions(dimensions: Dimensions) -> float:
    return trained_parameters(Adapter.FULL, dimensions, Run()) / 1e9


def _micro_batch(batch: int) -> int:
    """As the trainer splits a batch on a GPU, at the estimate's own four examples."""
    return max(count for count in (1, 2, 4) if batch % count == 0)


def _duration(
    total: int,
    rows: int,
    tokens: int,
    params_b: float | None,
    adapter: Adapter,
    run: Run,
    batch: int,
    dimensions: Dimensions | None,
    card: GPU | None,
) -> Duration:
    if params_b is None:
        return Duration.unknown("the model's size is not known")
    if card is None:
        return cpu_duration(total, params_b=params_b)
    if card.bf16_tflops is None:
        return Duration.unknown(f"the rate of {card.name} is not known")
    return gpu_duration(
        total,
        params_b=params_b,
        adapter=adapter,
        bf16_tflops=card.bf16_tflops,
        micro_batch=run.micro_batch,
        length=max(1, tokens // rows),
        accumulation=max(1, batch // run.micro_batch),
        checkpointing=run.checkpointing,
        dimensions=dimensions,
        gpu=card.name,
        bandwidth_gbps=card.bandwidth_gbps,
    )


def _dollars(duration: Duration, fit: Fit) -> float | None:
    if duration.expected_seconds is None or fit.offer is None:
        return None
    return duration.expected_seconds / 3600 * fit.offer.usd_per_gpu_hour


QUALITY = {
    Adapter.FULL: "highest",
    Adapter.LORA: "high",
    Adapter.QLORA: "high",
    Adapter.PREFIX: "medium",
    Adapter.PROMPT: "lower",
}
"""The reference card's words; LoRA and QLoRA reach 90 to 95 % of full fine-tuning."""


def _adapters(
    numbers: Mapping[str, Recommended],
    method: Method,
    dimensions: Dimensions | None,
    params_b: float | None,
    run: Run,
    gpus: Sequence[GPU],
    duration_on: Any,
    rows: int,
) -> tuple[list[AdapterPlan], str | None]:
    """Each adapter on the smallest GPU that holds it, and the one to take: the best quality that a single GPU of the
    list holds, but not full fine-tuning for few rows."""
    found = []
    one = replace(run, micro_batch=1)
    for adapter in Adapter:
        step = replace(one, checkpointing=one.checkpointing and adapter is not Adapter.PREFIX)
        memory = estimate_memory(adapter, params_b=params_b, dimensions=dimensions, run=step)
        cards = sorted(gpus, key=lambda card: (card.vram_gib, card.name))
        card = next((card for card in cards if memory is not None and memory.fits(card.vram_gib)), None)
        trained = None if dimensions is None else trained_parameters(adapter, dimensions, step)
        total = None if dimensions is None else trained_parameters(Adapter.FULL, dimensions, step)
        found.append(
            AdapterPlan(
                adapter=adapter,
                trained=trained,
                total=total,
                memory=memory,
                gpu=None if card is None else card.name,
                duration=Duration.unknown("no GPU of the list holds it")
                if card is None
                else duration_on(card, adapter, run),
                quality=QUALITY[adapter],
                reason=f"fits {card.name} ({card.vram_gib:g} GiB)" if card else "fits none of these GPUs by itself",
            )
        )
    order = [Adapter.FULL] if rows >= FULL_FROM_ROWS and method is Method.SFT else []
    able = {plan.adapter for plan in found if plan.gpu is not None}
    choice = next((adapter for adapter in [*order, Adapter.LORA, Adapter.QLORA] if adapter in able), None)
    if choice is None:
        return found, "none fits one of these GPUs: take a smaller model, shorter rows, or several GPUs"
    few = (
        f"{rows:,} rows are few for moving all weights; "
        if choice is not Adapter.FULL and rows < FULL_FROM_ROWS
        else ""
    )
    why = {
        Adapter.FULL: "all weights fit, and there is enough data for them",
        Adapter.LORA: f"{few}LoRA keeps 90 to 95 % of full fine-tuning's quality (card)",
        Adapter.QLORA: "LoRA over 4-bit weights, since those in 16 bits fit none of these GPUs",
    }[choice]
    return found, f"{choice}: {why}"


FULL_FROM_ROWS = 50_000
"""Rows from which full fine-tuning is worth its memory: the card's "excellent" for domain expertise."""


def _that_matter(
    numbers: Mapping[str, Recommended], method: Method, adapter: Adapter, settings: Settings
) -> dict[str, Recommended]:
    """Without the numbers that this method and adapter do not have."""
    try:
        words = open_backend("local", settings).words(method, adapter)
    except TuneportError:  # its packages are not installed here; the plan may be for another machine
        return dict(numbers)
    return {name: row for name, row in numbers.items() if name in words}


def _knobs(
    numbers: Mapping[str, Recommended], method: Method, adapter: Any, settings: Settings
) -> dict[str, dict[str, Any]]:
    """What each backend would be told, in its own words; a rate is told as a multiplier where that is its word."""
    found: dict[str, dict[str, Any]] = {}
    for name in backend_names(settings):
        try:
            words = open_backend(name, settings).words(method, adapter)
        except TuneportError:
            continue  # its package is not installed, or it is not configured: nothing to tell it yet
        told = {theirs: numbers[ours].value for ours, theirs in words.items() if ours in numbers}
        if "learning_rate_multiplier" in words and "learning_rate" not in words:
            multiplier = numbers.get("learning_rate_multiplier")
            told[words["learning_rate_multiplier"]] = 1.0 if multiplier is None else multiplier.value
        if told:
            found[name] = told
    return found
