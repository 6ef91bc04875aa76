"""Judges every candidate, and puts the best first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from functools import partial

from tuneport import formatting
from tuneport.errors import ModelNotOfferedError
from tuneport.estimate.batching import TrainedRows
from tuneport.estimate.cost import Traffic, base_inference_quote, inference_quote, training_quote
from tuneport.estimate.duration import Duration, answering_duration, cpu_duration, gpu_duration, hosted_duration
from tuneport.estimate.hyperparameters import planned_validation_passes
from tuneport.estimate.learning import DurationHistory, correct_estimated_duration, estimate_hosted_duration
from tuneport.estimate.memory import MemoryEstimate, TrainingShape, estimate_memory
from tuneport.estimate.settling import settle_training
from tuneport.estimate.training_settings import TrainingSettings
from tuneport.manifests import (
    BasePriceManifest,
    Confidence,
    Manifest,
    ModelCatalogue,
    OfferedModel,
    find_manifest_model,
    load_base_price_manifest,
    resolve_manifest_model,
)
from tuneport.router.choice import BackendChoice, BackendChoiceTokens, BackendRefusal, DatasetFacts, Machine, Readiness
from tuneport.router.refusals import (
    refuse_backend_for_dataset,
    refuse_backend_for_images,
    refuse_backend_for_spec,
    refuse_backend_of_retired_model,
    refuse_backend_over_budget,
    refuse_backend_short_of_memory,
    refuse_unready_backend,
    unverified_backend_remark,
)
from tuneport.training_options import optimizer_memory
from tuneport.types import Adapter, Hyperparameters, Quote, TuneSpec

NEAR_END = timedelta(days=90)
"""A model or service that ends within this is ranked behind those that do not: a team needs about a quarter to move."""
MICRO_BATCH = 4
"""Examples that go through a GPU at once, where durations are estimated; the batch is made of several such steps."""
SLOW_SECONDS = 24 * 3600.0
"""A run expected to take longer on one's own machine is ranked behind hosted ones, though it costs nothing."""


def rank_backends(
    spec: TuneSpec,
    candidates: Sequence[Manifest],
    *,
    today: date,
    models: ModelCatalogue,
    dataset: DatasetFacts,
    aliases: Mapping[str, str] | None = None,
    ready: Readiness | None = None,
    machine: Machine | None = None,
    traffic: Traffic | None = None,
    base_prices: BasePriceManifest | None = None,
    hours: float | None = None,
    history: DurationHistory | None = None,
    weigh: Callable[[str], float | None] | None = None,
) -> list[BackendChoice]:
    """Judge every candidate: allowed ones first, cheapest (training, and a month of `traffic`) first among them.

    Models that shut down soon or take days rank behind these, and then models without a known price. `aliases`
    is the project's table for `spec.model`. `ready` None: keys and extras are not checked (a comparison before any
    account exists). `base_prices`: the table for the same month of the base model, by default the installed one.
    `hours`: of training, if a provider bills them. `history`: finished jobs, by which durations are corrected. `weigh`
    gives the billions of parameters of weights that no list has, in a folder of this machine.
    """
    place, past = machine or Machine(), history or DurationHistory()
    choices = [
        _judge(spec, manifest, today, models, dataset, aliases, ready, place, traffic, base_prices, hours, past, weigh)
        for manifest in candidates
    ]
    return sorted(choices, key=backend_ranking_key)


def backend_ranking_key(choice: BackendChoice) -> tuple[bool, int, bool, float, str, str]:
    """Return the sorting key of `rank_backends`, for callers that join several rankings into one."""
    monthly = choice.inference.expected if choice.inference else None
    price = (choice.quote.expected or 0.0) + (monthly or 0.0)
    unknown = choice.quote.expected is None or (choice.inference is not None and monthly is None)
    return not choice.allowed, choice.demerits, unknown, price, choice.backend, choice.model or ""


def _judge(
    spec: TuneSpec,
    manifest: Manifest,
    today: date,
    models: ModelCatalogue,
    dataset: DatasetFacts,
    aliases: Mapping[str, str] | None,
    ready: Readiness | None,
    machine: Machine,
    traffic: Traffic | None,
    base_prices: BasePriceManifest | None,
    hours: float | None,
    history: DurationHistory,
    weigh: Callable[[str], float | None] | None,
) -> BackendChoice:
    try:
        model = find_manifest_model(
            manifest, resolve_manifest_model(spec.model, manifest.name, manifest, models, aliases)
        )
    except ModelNotOfferedError as error:
        refusal = BackendRefusal("not offered", str(error), tuple(error.nearest))
        if manifest.no_training is not None:
            refusal = BackendRefusal("unsupported", manifest.no_training.text)
        return BackendChoice(
            backend=manifest.name,
            title=manifest.title,
            model=None,
            quote=Quote.unknown(manifest.name, spec.model, "not offered"),
            refusals=(refusal,),
        )
    assert model is not None  # resolve_manifest_model promises a row
    own_machine = manifest.own_machine
    adapter = _adapter(spec, model)
    tokens = dataset.tokens(manifest, model)
    price = partial(_training_price, spec, manifest, model, adapter, dataset, tokens, machine, hours)
    settings = _settled(spec, manifest, model, adapter, dataset, tokens, weigh, price)
    epochs = settings.epochs
    duration, memory = _elsewhere(manifest, model, epochs, tokens, history), None
    if own_machine:
        duration, memory = _on_machine(spec, model, models, adapter, settings, dataset, tokens, machine)
        duration = _as_learned(duration, history, model, adapter, epochs, tokens, machine)
    quote = price(settings.hyperparameters, epochs, duration=duration)
    refusals = (
        *refuse_backend_of_retired_model(manifest, model, today),
        *refuse_backend_for_spec(spec, manifest, model),
        *refuse_backend_for_dataset(spec, manifest, model, dataset, tokens),
        *refuse_backend_for_images(spec.method, manifest, model, dataset, today),
        *refuse_unready_backend(manifest, ready),
        *refuse_backend_short_of_memory(spec, memory, machine, model),
        *refuse_backend_over_budget(spec, quote, manifest),
    )
    warnings, demerits = _warnings(manifest, model, quote, duration, today, own_machine)
    if tokens.approximate and not own_machine and quote.low != quote.high:
        warnings += (f"the training price is approximate: {tokens.reason}",)
    warnings += _about_data_and_weights(spec, manifest, model, dataset, ready)
    inference = base = None
    if traffic is not None:
        inference = inference_quote(manifest, model, traffic, own=machine.own)
        base = base_inference_quote(
            manifest, model, traffic, base_prices or load_base_price_manifest(), own=machine.own, today=today
        )
    return BackendChoice(
        backend=manifest.name,
        title=manifest.title,
        model=model.id,
        quote=quote,
        inference=inference,
        base=base,
        duration=duration,
        memory=memory,
        retires=model.retires,
        retires_source=manifest.sources[model.retires_source].url if model.retires_source else None,
        licence=_licence(manifest, model, models),
        adapter=adapter if model.adapters else None,
        settings=settings,
        refusals=refusals,
        warnings=warnings,
        dataset=str(spec.dataset),
        demerits=demerits,
    )


def _settled(
    spec: TuneSpec,
    manifest: Manifest,
    model: OfferedModel,
    adapter: Adapter,
    dataset: DatasetFacts,
    tokens: BackendChoiceTokens,
    weigh: Callable[[str], float | None] | None,
    price: Callable[[Hyperparameters, int], Quote],
) -> TrainingSettings:
    counted = TrainedRows(
        max(1, dataset.rows), tokens.training, tokens.longest, tokens.usual, low=tokens.low, high=tokens.high
    )
    size = weigh(model.id) if weigh is not None and manifest.own_machine and model.params_b is None else None
    return settle_training(spec, manifest, model, counted, adapter=adapter, params_b=size, price=price)


def _training_price(
    spec: TuneSpec,
    manifest: Manifest,
    model: OfferedModel,
    adapter: Adapter,
    dataset: DatasetFacts,
    tokens: BackendChoiceTokens,
    machine: Machine,
    hours: float | None,
    numbers: Hyperparameters,
    epochs: int,
    *,
    duration: Duration | None = None,
) -> Quote:
    """Quote the job if it trains with these numbers. `duration` counts where a machine is paid by the hour."""
    packing = spec.provider_options.get("packing") in (None, True) if numbers.packing == "auto" else numbers.packing
    return training_quote(
        manifest,
        model,
        tokens_per_epoch=tokens.training,
        epochs=epochs,
        validation_tokens=tokens.validation,
        evaluations=0 if spec.validation is None else planned_validation_passes(spec.provider_options, epochs),
        method=spec.method,
        adapter=adapter,
        rows=dataset.rows,
        validation_rows=tokens.validation_rows,
        packing=packing,
        max_length=None if numbers.max_length == "auto" else numbers.max_length,
        low=tokens.low,
        high=tokens.high,
        approximate_because=tokens.reason,
        duration=duration,
        own=machine.own,
        hours=hours,
    )


def _about_data_and_weights(
    spec: TuneSpec, manifest: Manifest, model: OfferedModel, dataset: DatasetFacts, ready: Readiness | None
) -> tuple[str, ...]:
    told = []
    if dataset.path_rows and not spec.inline_images:
        told.append(f"{dataset.path_rows:,} rows name pictures by a path; submit reads them in with --inline-images")
    if dataset.image_rows and model.takes_images is None:
        told.append(f"{dataset.image_rows:,} rows show images, and it is not known whether {model.id} takes any")
    if ready is not None and manifest.name in ready.downloads:
        told.append(ready.downloads[manifest.name])
    return tuple(told)


def _licence(manifest: Manifest, model: OfferedModel, models: ModelCatalogue) -> str | None:
    weights = models.find(models.name_of(manifest.name, model.id) or model.id)
    return weights.licence if weights else None


def _adapter(spec: TuneSpec, model: OfferedModel) -> Adapter:
    """Return what `auto` means: LoRA if the model takes it."""
    if spec.adapter != "auto":
        return spec.adapter
    return Adapter.LORA if not model.adapters or Adapter.LORA in model.adapters else model.adapters[0]


def _on_machine(
    spec: TuneSpec,
    model: OfferedModel,
    models: ModelCatalogue,
    adapter: Adapter,
    settings: TrainingSettings,
    dataset: DatasetFacts,
    tokens: BackendChoiceTokens,
    machine: Machine,
) -> tuple[Duration, MemoryEstimate | None]:
    weights = models.find(model.id)
    dimensions = weights.dimensions if weights else None
    chosen = settings.recommended
    assert chosen.batch_size != "auto" and chosen.max_length != "auto" and chosen.lora_rank != "auto"
    # The micro-batch can be one with accumulation, so the least that a run needs is asked of the machine.
    run = TrainingShape(
        micro_batch=spec.method.traits.least_rows,
        examples=spec.method.traits.examples,
        length=chosen.max_length,
        lora_rank=chosen.lora_rank,
        optimizer=optimizer_memory(spec.provider_options),
    )
    memory = estimate_memory(adapter, params_b=model.params_b, dimensions=dimensions, run=run)
    if spec.method.writes_answers:
        return answering_duration(spec.method), memory
    if tokens.training is None:
        return Duration.unknown("the tokens of the dataset were not counted"), memory
    if model.params_b is None:
        return Duration.unknown(f"the size of {model.id} is not known"), memory
    if machine.gpu and machine.bf16_tflops is None and machine.tokens_per_second is None:
        return Duration.unknown(f"the speed of the {machine.gpu} is not known"), memory
    total = tokens.training * settings.epochs
    if machine.bf16_tflops is None or machine.tokens_per_second is not None:
        measured = machine.tokens_per_second
        return (
            cpu_duration(total, params_b=model.params_b, tokens_per_second=measured, rate=machine.cpu_rate),
            memory,
        )
    return (
        gpu_duration(
            total,
            params_b=model.params_b,
            adapter=adapter,
            bf16_tflops=machine.bf16_tflops,
            micro_batch=min(MICRO_BATCH, chosen.batch_size),
            length=max(1, tokens.training // max(1, dataset.rows)),
            accumulation=max(1, chosen.batch_size // MICRO_BATCH),
            dimensions=dimensions,
            gpu=machine.gpu,
            bandwidth_gbps=machine.bandwidth_gbps,
        ),
        memory,
    )


def _as_learned(
    duration: Duration,
    history: DurationHistory,
    model: OfferedModel,
    adapter: Adapter,
    epochs: int,
    tokens: BackendChoiceTokens,
    machine: Machine,
) -> Duration:
    if model.params_b is None or tokens.training is None:
        return duration
    return correct_estimated_duration(
        duration,
        history.local,
        device=machine.device,
        params_b=model.params_b,
        adapter=adapter,
        tokens=tokens.training * epochs,
        proportional=machine.bf16_tflops is None,
    )


def _elsewhere(
    manifest: Manifest, model: OfferedModel, epochs: int, tokens: BackendChoiceTokens, history: DurationHistory
) -> Duration:
    runs = history.hosted.get(manifest.name, ())
    if not runs:
        return hosted_duration(manifest.title)
    total = None if tokens.training is None else tokens.training * epochs
    return estimate_hosted_duration(manifest.title, runs, model=model.id, tokens=total)


def _warnings(
    manifest: Manifest, model: OfferedModel, quote: Quote, duration: Duration, today: date, own_machine: bool
) -> tuple[tuple[str, ...], int]:
    """Return the notes, and how many of these rank the choice behind others."""
    told, demerits = [], 0
    for day, what in (
        (model.retires, f"{model.id} and all models tuned from it shut down on"),
        (manifest.no_new_jobs_from, f"{manifest.title} takes no new jobs from"),
    ):
        if day is not None and today < day:
            left = (day - today).days
            said_in = model.retires_source if day == model.retires else manifest.no_new_jobs_source
            near = f", in {left} days" if left <= NEAR_END.days else ""
            told.append(f"{what} {day}{near}{unverified_backend_remark(manifest, said_in)}")
            demerits = max(demerits, 1 if day - today <= NEAR_END else 0)
    told += [notice.text for notice in manifest.notices]
    if manifest.sources and manifest.sources[model.source].confidence is Confidence.UNVERIFIED and not own_machine:
        source = manifest.sources[model.source]
        told.append(f"not verified for {model.id}: {source.note or source.url}")
    if quote.as_of is not None and manifest.stale(quote.as_of, today):
        told.append(f"the price is of {quote.as_of}, older than {manifest.max_age_days} days; check {quote.source}")
    if own_machine and (duration.expected_seconds or 0) > SLOW_SECONDS:
        told.append(f"would take about {formatting.duration(duration.expected_seconds)} on this machine")
        demerits += 1
    return tuple(told), demerits
