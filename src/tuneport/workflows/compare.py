"""The same dataset on every backend and model: training cost, a month of inference, time and shutdown, side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date
from functools import partial
from pathlib import Path

from tuneport.backends import backend_manifest, training_backend_manifests
from tuneport.backends.routing import BackendCatalogue
from tuneport.data.conversion.unused_signals import refuse_unused_signals_of_first_rows
from tuneport.data.dataset import Dataset, DatasetLike
from tuneport.deprecation import renamed
from tuneport.errors import ConfigError, ModelNotOfferedError
from tuneport.estimate.cost import InferenceQuote, OwnGPUCost, Traffic, oldest_price_date
from tuneport.formatting import duration, money
from tuneport.lifecycle.planning.past_jobs import read_past_jobs
from tuneport.lifecycle.planning.planning import find_job_gpu, plan_job_machine, read_job_dataset_facts
from tuneport.manifests import Manifest, load_base_price_manifest, load_gpus, load_models, model_not_offered_error
from tuneport.methods import methods_where
from tuneport.pages.notebook import Verdict, render_notebook_view
from tuneport.router import BackendChoice, Machine, backend_ranking_key, rank_backends
from tuneport.settings import Settings
from tuneport.types import Hyperparameters, Quote, TuneSpec
from tuneport.validation import parse_or_config_error
from tuneport.workflows.comparison.break_even import compared_cost_of_today, compared_model_name, served_at
from tuneport.workflows.comparison.result import ComparisonResult
from tuneport.workflows.comparison.serving_forms import machine_of_card, serving_forms
from tuneport.workflows.comparison.words import compared_steps

DEFAULT_TRAFFIC = Traffic.stated()
"""A month of 25,000 requests of 400 tokens in and 80 out."""


class Comparison(ComparisonResult):
    """A comparison that can be written as a report."""

    def __repr__(self) -> str:
        return f"Comparison({self.rows:,} rows, {self.method.value}, {len(self.choices)} choices)"

    def _repr_html_(self) -> str:
        rows = []
        for choice in self.choices:
            prices = [_price(each) for each in (choice.quote, choice.inference, choice.base)]
            ends = choice.retires.isoformat() if choice.retires else "-"
            time = duration(choice.duration.expected_seconds)
            epochs = "-" if choice.epochs is None else str(choice.epochs)
            trained = (epochs, compared_steps(choice))
            rows.append((compared_model_name(choice), served_at(choice), *trained, *prices, time, ends))
        head = ("model", "backend", "epochs", "steps", "training", "a month", "base model", "time", "shuts down")
        marks: list[Verdict] = ["note" if choice.allowed else "fail" for choice in self.choices]
        facts = [
            ("answer", self.answer),
            ("rows", f"{self.rows:,}"),
            ("method", self.method.value),
            ("on", self.day.isoformat()),
        ]
        return render_notebook_view(f"Training on {self.dataset.name}", facts, head=head, rows=rows, marks=marks)

    def write_html(self, path: str | Path) -> None:
        """Write the report with charts as one file. Raises StorageError if it cannot be written."""
        from tuneport.workflows.comparison.page import write_comparison_html

        write_comparison_html(self, Path(path))

    def write_csv(self, path: str | Path) -> None:
        """Write one line for each choice. Raises StorageError if it cannot be written."""
        from tuneport.workflows.comparison.csv_file import write_comparison_csv

        write_comparison_csv(self, Path(path))


@renamed(models="model", backends="backend", own_usd_per_hour="own_hour", own_tokens_per_second="own_speed")
def compare(
    dataset: DatasetLike,
    *,
    model: str | Sequence[str] = (),
    backend: str | Sequence[str] = (),
    validation: DatasetLike | None = None,
    columns: Mapping[str, str] | None = None,
    format: str | None = None,
    method: str | None = None,
    adapter: str = "auto",
    epochs: int | None = None,
    provider_defaults: bool = False,
    requests: int | None = None,
    tokens_per_request: tuple[float, float] | None = None,
    traffic_in: int | None = None,
    traffic_out: int | None = None,
    cached: float = 0.0,
    batch: float = 0.0,
    prompt_saved: int = 0,
    traffic: Traffic | None = None,
    instead_of: str | None = None,
    own_gpu: str | None = None,
    own_hour: float | None = None,
    own_speed: float | None = None,
    hours: float | None = None,
    settings: Settings | None = None,
    today: date | None = None,
) -> Comparison:
    """Compare backends and models on one dataset. Needs no key and makes no network call.

    `model` is one or several of aliases, weights names and providers' ids, looked up at every backend; by default all
    that each offers. All train by the same recommendation, or by each provider's own with `provider_defaults`.
    `backend` limits the table; `columns` and `format` are `--map` and `--format`. `requests` to `prompt_saved` are a
    month's traffic, as the command line's flags say it (by default 25,000 requests of 400 tokens in and 80 out);
    `traffic` is the same in one object. `instead_of` is today's model or bill, for the break-even: a model by its name
    in the table of prices, or US dollars a month ("$2000"); without it each tuned model is compared with its own base
    model. `own_gpu`, `own_hour` and `own_speed` are `compared_own_machine`'s; `hours` of training, if a provider bills
    those. Raises DatasetError, ConfigError or ModelNotOfferedError.
    """
    traffic = traffic or Traffic.stated(
        requests=requests,
        per_request=tokens_per_request,
        input_tokens=traffic_in,
        output_tokens=traffic_out,
        cached_share=cached,
        batch_share=batch,
        saved_per_request=prompt_saved,
    )
    now = None if instead_of is None else compared_cost_of_today(instead_of, traffic, load_base_price_manifest())
    settings, today = settings or Settings.load(), today or date.today()
    manifests = [backend_manifest(name, settings) for name in _several(backend)] or training_backend_manifests(settings)
    pairs = list(_asked_models(manifests, _several(model), settings, today))
    _refuse_models_of_none(pairs, settings, _several(backend))
    data = Dataset.of(dataset, columns, format)
    held_out = None if validation is None else data.validation_like(validation)
    machine = compared_own_machine(own_gpu, own_hour, own_speed, settings)
    asked = _spec(data, held_out, method or data.method, adapter, epochs, provider_defaults)
    read = data.for_method(asked.method)
    refuse_unused_signals_of_first_rows(read, asked.method)
    facts = read_job_dataset_facts(read, held_out, home=settings.home)
    judge = partial(
        rank_backends,
        today=today,
        models=load_models(),
        dataset=facts,
        history=read_past_jobs(settings),
        traffic=traffic,
        base_prices=load_base_price_manifest(),
        hours=hours,
    )
    choices: dict[tuple[str, str, str], BackendChoice] = {}
    for manifest, name in pairs:
        named = partial(judge, asked.model_copy(update={"model": name}), [manifest], aliases=settings.aliases(name))
        for each in serving_forms(manifest, partial(_best, named), machine, traffic, rents=own_gpu is None):
            serving = "" if each.inference is None else each.inference.serving
            choices.setdefault((manifest.name, each.model or name, serving), each)
    rows = sorted((choice for choice in choices.values() if choice.model is not None), key=backend_ranking_key)
    days = [oldest_price_date(*(quote for quote in (row.quote, row.inference) if quote is not None)) for row in rows]
    stale = [_is_stale(row, day, settings, today) for row, day in zip(rows, days, strict=True)]
    return Comparison(data.path, facts.rows, asked.method, traffic, rows, days, stale, today, now, machine)


def _refuse_models_of_none(asked: Sequence[tuple[Manifest, str]], settings: Settings, named: Sequence[str]) -> None:
    """Raise ModelNotOfferedError for a model that no backend has, or none of the named ones. One that a backend lacks
    is no row, as long as another has it."""
    catalogue, had = BackendCatalogue(settings), set()
    refused: dict[str, list[ModelNotOfferedError]] = {}
    for manifest, name in asked:
        try:
            catalogue.resolve_model(name, manifest.name)
            had.add(name)
        except ModelNotOfferedError as error:
            refused.setdefault(name, []).append(error)
    for name, errors in refused.items():
        if name in had:
            continue
        if len(errors) == 1:
            raise errors[0]
        nearest = [(near, error.backend) for error in errors for near in error.nearest]
        who = f"none of {', '.join(named)}" if named else "no backend"
        raise model_not_offered_error(name, nearest, settings.project.models, who=who)


def _best(judge: Callable[..., list[BackendChoice]], machine: Machine) -> BackendChoice:
    return judge(machine=machine)[0]


def _asked_models(
    manifests: Sequence[Manifest], models: Sequence[str], settings: Settings, today: date
) -> Iterator[tuple[Manifest, str]]:
    """Yield each backend's manifest with each model to compare there: those named, or else all that it offers."""
    names = [manifest.name for manifest in manifests]
    for manifest in manifests:
        for name in _models_of_backend(manifest.name, models, names, settings) if models else _offered(manifest, today):
            yield manifest, name


def _is_stale(row: BackendChoice, priced: date | None, settings: Settings, today: date) -> bool:
    """Return whether the row's oldest price was read too long ago."""
    return priced is not None and backend_manifest(row.backend, settings).stale(priced, today)


def _several(given: str | Sequence[str]) -> list[str]:
    return [given] if isinstance(given, str) else list(given)


def _spec(
    data: Dataset, held_out: Dataset | None, method: str, adapter: str, epochs: int | None, provider_defaults: bool
) -> TuneSpec:
    """Return what is to be trained, without a model: that is filled in for each row of the table."""
    return parse_or_config_error(
        TuneSpec,
        {
            "model": "",
            "dataset": data.path,
            "validation": None if held_out is None else held_out.path,
            **vars(data.reading),
            "method": method,
            # Which grader or reward it is makes no difference to what it costs.
            "grader": {} if method in methods_where(lambda each: each.takes_grader) else None,
            "reward": "any:one" if method in methods_where(lambda each: each.takes_reward) else None,
            "adapter": adapter,
            "provider_defaults": provider_defaults,
            "hyperparameters": parse_or_config_error(Hyperparameters, {} if epochs is None else {"epochs": epochs}),
        },
    )


def _price(quote: Quote | InferenceQuote | None) -> str:
    if quote is None or quote.expected is None:
        return "-"
    if quote.vague:
        return "unclear"
    return ("" if quote.low == quote.high else "~") + money(quote.expected, short=True)


def _models_of_backend(backend: str, models: Sequence[str], backends: Sequence[str], settings: Settings) -> list[str]:
    """Return the names that this backend is asked for: `BACKEND/MODEL` only if it is the one; whatever the default."""
    found = []
    for model in models:
        named, name = BackendCatalogue(settings).split_backend_name(model)
        if name != model and named not in backends:
            raise ConfigError(f"{model} is on {named}, which is not compared here; add --backend {named}")
        if name == model or named == backend:
            found.append(name)
    return found


def compared_own_machine(
    gpu: str | None, usd_per_hour: float | None, tokens_per_second: float | None, settings: Settings
) -> Machine:
    """Return the user's own machine, which trains and serves: the GPU `gpu` of `gpus.toml`, each owned at
    `usd_per_hour` or else rented at its cheapest offer; without `gpu` this machine, the whole of it at `usd_per_hour`
    or else at the hourly cost in the settings. Raises ConfigError for an unknown GPU and if a price is missing."""
    if gpu is None:
        here = plan_job_machine(settings)
        if usd_per_hour is None and here.own is not None:
            usd_per_hour = here.own.usd_hourly
        if usd_per_hour is None and tokens_per_second is None:
            return here
        if usd_per_hour is None:
            raise ConfigError("a speed alone gives no price: give the machine's cost an hour, or name a GPU to rent")
        own = OwnGPUCost(find_job_gpu(here.gpu), usd_per_hour, tokens_per_second=tokens_per_second, whole_machine=True)
        return replace(here, own=own)
    card = load_gpus().find(gpu)
    own = OwnGPUCost(card, usd_per_hour, card.cheapest(), tokens_per_second)
    if own.usd_hourly is None:
        raise ConfigError(f"no rental offer of the {card.name} is known; give its cost an hour with --own-hour")
    return machine_of_card(card, own)


def _offered(manifest: Manifest, today: date) -> list[str]:
    """Return the models that a backend shows by default: all that are still available; for open weights, those with
    known sizes."""
    if manifest.models:
        return [model.id for model in manifest.models if not model.retired(today)]
    return [name for name, weights in load_models().weights.items() if weights.hub and weights.params_b]
