"""The same dataset on every backend and model: training cost, a month of inference, time, last day, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any

from tuneport.backends import backend_names, manifest_of
from tuneport.data.prepare import format_for, method_of
from tuneport.errors import ConfigError
from tuneport.estimate.cost import InferenceQuote, OwnGPU, Traffic, oldest
from tuneport.jobs.history import history
from tuneport.jobs.planning import card_of, dataset_facts, machine_of
from tuneport.manifests import Manifest, load_base_prices, load_gpus, load_models
from tuneport.router import Choice, Machine, order, rank
from tuneport.settings import Settings
from tuneport.types import Hyperparameters, Method, TuneSpec, validated
from tuneport.workflows.comparison.break_even import BreakEven, bill_of_today, break_even

DEFAULT_TRAFFIC = Traffic.stated()
"""A month of 25,000 requests of 400 tokens in and 80 out."""


@dataclass(frozen=True)
class Comparison:
    """`choices` best first. `priced_on` gives the day of the oldest price in a choice, by its place in the list.

    `instead_of`: what is done today, at the same traffic. `day`: when all this was computed. `machine`: what stands
    for one's own in it.
    """

    dataset: Path
    rows: int
    method: Method
    traffic: Traffic
    choices: list[Choice]
    priced_on: list[date | None]
    stale: list[bool]
    day: date
    instead_of: InferenceQuote | None = None
    machine: Machine = Machine()

    @cached_property
    def break_even(self) -> BreakEven:
        """What the prices mean over time and traffic."""
        return break_even(self.choices, self.priced_on, self.stale, self.traffic, day=self.day, today=self.instead_of)

    def write_html(self, path: str | Path) -> None:
        """The report with charts, as one file. StorageError where it cannot be written."""
        from tuneport.workflows.comparison.page import write_html

        write_html(self, Path(path))

    def write_csv(self, path: str | Path) -> None:
        """One line for each choice. StorageError where it cannot be written."""
        from tuneport.workflows.comparison.csv_file import write_csv

        write_csv(self, Path(path))

    def as_dict(self) -> dict[str, Any]:
        rows = []
        for choice, day, stale, row in zip(self.choices, self.priced_on, self.stale, self.break_even.rows, strict=True):
            priced = {"priced_on": day and day.isoformat(), "stale": stale}
            rows.append(choice.as_dict() | priced | {"break_even": row.as_dict()})
        return {
            "dataset": str(self.dataset),
            "rows": self.rows,
            "method": self.method.value,
            "traffic_per_month": vars(self.traffic),
            "own_machine": {
                "gpu": self.machine.gpu or None,
                "memory_gib": self.machine.memory_gib,
                "usd_per_hour": self.machine.own.hourly if self.machine.own else None,
                "tokens_per_second": self.machine.own.tokens_per_second if self.machine.own else None,
            },
            "instead_of": self.instead_of.model_dump(mode="json") if self.instead_of else None,
            "choices": rows,
            "break_even": self.break_even.as_dict(),
        }


def compare(
    dataset: str | Path,
    *,
    models: Sequence[str] = (),
    backends: Sequence[str] = (),
    validation: str | Path | None = None,
    columns: Mapping[str, str] | None = None,
    method: str | None = None,
    adapter: str = "auto",
    epochs: int | None = None,
    traffic: Traffic = DEFAULT_TRAFFIC,
    instead_of: str | None = None,
    own_gpu: str | None = None,
    own_usd_per_hour: float | None = None,
    own_tokens_per_second: float | None = None,
    hours: float | None = None,
    settings: Settings | None = None,
    today: date | None = None,
) -> Comparison:
    """Compare backends and models on one dataset. Needs no key and makes no network call.

    `models` are aliases, weights names or providers' ids, asked of every backend; where none are given, each backend
    shows all that it offers. `backends` limits the table; `columns` maps names of columns (`--map`). `instead_of` is
    what answers today, for the break-even: a model that litellm's table prices, or US dollars a month ("$2000");
    without it each tuned model is held against its own base model. `own_gpu`, `own_usd_per_hour` and
    `own_tokens_per_second` are `own_machine`'s; `hours` of training, where a provider bills those. DatasetError where
    the dataset cannot be used, ConfigError for a method, adapter or number that cannot be.
    """
    now = None if instead_of is None else bill_of_today(instead_of, traffic, load_base_prices())
    settings = settings or Settings.load()
    today = today or date.today()
    path, held_out = Path(dataset), None if validation is None else Path(validation)
    machine = own_machine(own_gpu, own_usd_per_hour, own_tokens_per_second, settings)
    names = list(backends) or backend_names(settings)
    manifests = [manifest_of(name, settings) for name in names]
    how = method or method_of(path, columns=columns)
    asked = validated(
        TuneSpec,
        {
            "model": "",  # filled in for each row of the table
            "dataset": path,
            "validation": held_out,
            "columns": dict(columns or {}),
            "method": how,
            "grader": {} if how == Method.RFT else None,  # which one makes no difference to what it costs
            "reward": "any:one" if how in (Method.GRPO, Method.RLOO) else None,
            "adapter": adapter,
            "hyperparameters": validated(Hyperparameters, {} if epochs is None else {"epochs": epochs}),
        },
    )
    facts = dataset_facts(path, held_out, columns, home=settings.home, format=format_for(path, asked.method, columns))

    past = history(settings)
    choices: dict[tuple[str, str | None], Choice] = {}
    for manifest in manifests:
        for model in models or _offered(manifest, today):
            ranked = rank(
                asked.model_copy(update={"model": model}),
                [manifest],
                today=today,
                models=load_models(),
                dataset=facts,
                aliases=settings.aliases(model),
                machine=machine,
                history=past,
                traffic=traffic,
                base_prices=load_base_prices(),
                hours=hours,
            )
            choices.setdefault((manifest.name, ranked[0].model or model), ranked[0])
    # A model that one backend lacks is no row, as long as another has it.
    rows = [choice for choice in choices.values() if choice.model is not None]
    if not rows:
        raise ConfigError("; ".join(reason for choice in choices.values() for reason in choice.reasons[:1]))
    rows.sort(key=order)
    days = [oldest(*(quote for quote in (row.quote, row.inference) if quote is not None)) for row in rows]
    by_name = {manifest.name: manifest for manifest in manifests}
    stale = [day is not None and by_name[row.backend].stale(day, today) for row, day in zip(rows, days, strict=True)]
    return Comparison(path, facts.rows, asked.method, traffic, rows, days, stale, today, now, machine)


def own_machine(
    gpu: str | None, usd_per_hour: float | None, tokens_per_second: float | None, settings: Settings
) -> Machine:
    """What trains and serves where the backend is one's own machine: the card `gpu` of `gpus.toml`, each owned at
    `usd_per_hour` or else rented at its cheapest offer; without `gpu` this machine, the whole of it at `usd_per_hour`
    or else at what the settings say that an hour of it costs. ConfigError for an unknown card and where a price is
    missing."""
    if gpu is None:
        here = machine_of(settings)
        if usd_per_hour is None and here.own is not None:
            usd_per_hour = here.own.hourly
        if usd_per_hour is None and tokens_per_second is None:
            return here
        if usd_per_hour is None:
            raise ConfigError(
                "a speed alone prices nothing: say what an hour of the machine costs, or name a GPU to rent"
            )
        own = OwnGPU(card_of(here.gpu), usd_per_hour, tokens_per_second=tokens_per_second, whole_machine=True)
        return replace(here, own=own)
    card = load_gpus().find(gpu)
    own = OwnGPU(card, usd_per_hour, card.cheapest(), tokens_per_second)
    if own.hourly is None:
        raise ConfigError(f"no offer of the {card.name} is known; say what an hour of it costs")
    return Machine(
        memory_gib=card.vram_gib,
        bf16_tflops=card.bf16_tflops,
        gpu=card.name,
        bandwidth_gbps=card.bandwidth_gbps,
        own=own,
    )


def _offered(manifest: Manifest, today: date) -> list[str]:
    """What a backend shows unasked: all its models that are not gone; for open weights, those with known sizes."""
    if manifest.models:
        return [model.id for model in manifest.models if not model.retired(today)]
    return [name for name, weights in load_models().weights.items() if weights.hub and weights.params_b]
