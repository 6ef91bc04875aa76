"""Plans for a spec: where it can run and what it would cost there. The module gathers what `router` needs, and asks
it."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cache
from pathlib import Path

from tuneport.backends import backend_manifest, training_backend_manifests
from tuneport.backends.routing import BackendCatalogue, backend_has_address, backend_has_key, is_backend_installed
from tuneport.data.dataset import Dataset
from tuneport.data.rows.reading_options import ReadingOptions
from tuneport.data.tokens.token_cache import TokenCache
from tuneport.data.tokens.tokens import OTHER_VOCABULARY, TokenCounts
from tuneport.errors import ConfigError
from tuneport.estimate.cost import OwnGPUCost, training_price
from tuneport.estimate.learning import DurationHistory
from tuneport.gpus import list_gpus
from tuneport.lifecycle.planning.base_weights import find_absent_base_models
from tuneport.lifecycle.planning.cpu_probe import read_stored_cpu_probe
from tuneport.lifecycle.schema.estimates import JobEstimate
from tuneport.manifests import CatalogueGPU, Manifest, OfferedModel, find_manifest_model, load_gpus, load_models
from tuneport.router import (
    BackendChoice,
    BackendChoiceTokens,
    DatasetFacts,
    Machine,
    Readiness,
    choose_backend,
    rank_backends,
)
from tuneport.settings import Settings
from tuneport.types import Adapter, TuneSpec

DEFAULT_ENCODING = "o200k_base"
"""Counts tokens for models whose own tokenizer is not at hand."""


@dataclass(frozen=True)
class RankedJob:
    """A spec judged for every backend: `choices`, best first, of the data `dataset` and `validation`."""

    spec: TuneSpec
    settings: Settings
    choices: list[BackendChoice]
    dataset: Dataset
    validation: Dataset | None
    facts: DatasetFacts
    machine: Machine

    def third_party(self, backend: str) -> bool:
        return backend_manifest(backend, self.settings).third_party

    def choose(self, explicit: str | None, *, named_by: str = "your choice") -> Plan:
        """Return the plan for the named backend, else for that of the settings, else for the best. Raises the error
        that makes it impossible."""
        environment, project = self.settings.get("TUNEPORT_BACKEND"), self.settings.project.backend
        chosen = choose_backend(
            self.choices,
            explicit=explicit,
            environment=environment,
            project=project,
            names=self.settings.project.models,
        )
        manifest = backend_manifest(chosen.backend, self.settings)
        settings = "TUNEPORT_BACKEND" if environment else "tuneport.toml" if project else None
        estimate = expected_job_estimate(self.spec, chosen, manifest, self.facts, self.machine)
        return Plan(self, chosen, manifest, named_by if explicit else settings, estimate)


@dataclass(frozen=True)
class Plan:
    """`chosen` is the backend that `named_by` names ("your choice", "TUNEPORT_BACKEND", "tuneport.toml"; None: it is
    the best of those that can), and `estimate` what is expected of the job there."""

    ranked: RankedJob
    chosen: BackendChoice
    manifest: Manifest
    named_by: str | None = None
    estimate: JobEstimate = JobEstimate()

    @property
    def choices(self) -> list[BackendChoice]:
        return self.ranked.choices

    @property
    def dataset(self) -> Dataset:
        return self.ranked.dataset

    @property
    def validation(self) -> Dataset | None:
        return self.ranked.validation

    @property
    def third_party(self) -> bool:
        return self.manifest.third_party


def choose_job_backend(
    spec: TuneSpec,
    settings: Settings,
    *,
    backend: str | None = None,
    history: DurationHistory | None = None,
    dataset: Dataset | None = None,
) -> Plan:
    """Rank all backends for `spec` and choose one: the one that the user named, if any (`BACKEND/MODEL` too).

    `dataset` is the spec's, if the caller has opened it already. Raises the error that makes the chosen backend
    impossible.
    """
    if backend is None:
        backend, spec = split_job_backend_name(spec, settings)
    ranked = _ranked(spec, settings, dataset, also=backend or settings.backend, history=history, ask_hub=True)
    return ranked.choose(backend)


def split_job_backend_name(spec: TuneSpec, settings: Settings) -> tuple[str | None, TuneSpec]:
    """Return the backend of `BACKEND/MODEL`, or None, and the spec with the plain name of the model."""
    backend, model = BackendCatalogue(settings).split_backend_name(spec.model)
    if model == spec.model:
        return None, spec
    return backend, spec.model_copy(update={"model": model})


def plan_job_on_backends(
    spec: TuneSpec,
    settings: Settings,
    *,
    backends: Sequence[str] = (),
    history: DurationHistory | None = None,
    dataset: Dataset | None = None,
) -> tuple[list[BackendChoice], int]:
    """Return each backend's choice for `spec` (or those of the named ones), best first, and the rows of the dataset.

    `dataset` is as in `plan`.
    """
    ranked = _ranked(spec, settings, dataset, only=backends, history=history)
    return ranked.choices, ranked.facts.rows


def _ranked(
    spec: TuneSpec,
    settings: Settings,
    dataset: Dataset | None,
    *,
    also: str | None = None,
    only: Sequence[str] = (),
    history: DurationHistory | None,
    ask_hub: bool = False,
) -> RankedJob:
    manifests = [backend_manifest(name, settings) for name in only] or training_backend_manifests(settings, spec.model)
    if also is not None and also not in [manifest.name for manifest in manifests]:
        manifests.append(backend_manifest(also, settings))  # one that `choose_backend` will refuse by name, or hidden
    if dataset is None or (dataset.path, dataset.reading) != (spec.dataset, ReadingOptions.of_spec(spec)):
        dataset = Dataset.of_spec(spec)
    as_read = dataset.for_method(spec.method)
    validation = None if spec.validation is None else dataset.validation_like(spec.validation)
    facts = read_job_dataset_facts(as_read, validation, home=settings.home)
    machine = plan_job_machine(settings)
    absent = find_absent_base_models(spec, settings, manifests, ask_hub=ask_hub)
    choices = rank_backends(
        spec,
        manifests,
        today=date.today(),
        models=load_models(),
        dataset=facts,
        aliases=settings.aliases(spec.model),
        ready=replace(
            find_job_backend_readiness(settings, manifests), without_weights=absent.refusals, downloads=absent.downloads
        ),
        machine=machine,
        history=history,
        weigh=_billion_parameters,
    )
    return RankedJob(spec, settings, choices, dataset, validation, facts, machine)


def _billion_parameters(model: str) -> float | None:
    """Return the size of weights in a folder, as the run will count it; None if they are not there or not readable."""
    from tuneport.backends.local.request import local_billion_parameters

    try:
        return local_billion_parameters(Path(model).expanduser())
    except ConfigError:  # the run says what is wrong with it
        return None


def expected_job_estimate(
    spec: TuneSpec, choice: BackendChoice, manifest: Manifest, facts: DatasetFacts, machine: Machine
) -> JobEstimate:
    """Return the expected time and cost of the job, and the terms by which its cost will be computed when it has
    ended."""
    model = find_manifest_model(manifest, choice.model or spec.model)
    billing = manifest.billing
    if model is None:
        return JobEstimate()
    adapter = choice.adapter or Adapter.LORA
    price = training_price(manifest, model, spec.method, adapter)
    minimum = model.minimum or (billing.minimum if billing else None)
    per_epoch = facts.tokens(manifest, model).training
    own = manifest.own_machine
    here = own and spec.provider_options.get("executor") in (None, "process")
    took = choice.duration
    return JobEstimate(
        seconds=took.expected_seconds,
        seconds_low=took.low_seconds,
        seconds_high=took.high_seconds,
        seconds_unavailable=took.unavailable,
        seconds_because=took.explanation,
        uncorrected_seconds=took.uncorrected_seconds or took.expected_seconds,
        # Remedies are for who decides; what is kept is what was sent.
        training=None if choice.settings is None else choice.settings.model_copy(update={"remedies": ()}),
        epochs=choice.epochs,
        tokens=None if per_epoch is None or choice.epochs is None else per_epoch * choice.epochs,
        params_b=model.params_b,
        adapter=adapter.value,
        device=machine.device if here else None,
        billing=None if billing is None else billing.unit,
        usd_per_mtok=None if price is None else price.usd_per_mtok,
        minimum_usd=None if minimum is None else minimum.usd,
        price_source=None if price is None else manifest.sources[price.source].url,
        price_as_of=None if price is None else price.as_of,
        failed_pays="unknown" if billing is None else billing.failed_pays,
        cancelled_pays="unknown" if billing is None else billing.cancelled_pays,
        usd_per_hour=machine.own.usd_hourly if own and machine.own else None,  # whatever executor: as the quote has it
    )


def read_job_dataset_facts(dataset: Dataset, validation: Dataset | None, *, home: Path) -> DatasetFacts:
    """Read the dataset once for each encoding that a candidate counts with, and each context that cuts examples; counts
    are kept under `home`. A format given for the dataset applies to the validation file, too. Raises DatasetError,
    which lists the problems."""
    kept = TokenCache(home / "cache" / "tokens")
    if validation is not None and dataset.given_format is not None and validation.given_format is None:
        validation = validation.read_as(dataset.given_format)

    @cache
    def counts(data: Dataset, encoding: str, context: int | None = None) -> TokenCounts:
        return kept.counts(data, encoding, context=context)

    own = counts(dataset, DEFAULT_ENCODING)

    def tokens(manifest: Manifest, model: OfferedModel) -> BackendChoiceTokens:
        encoding = model.encoding or DEFAULT_ENCODING
        training = counts(dataset, encoding)
        if model.encoding is not None and model.context is not None and training.longest > model.context:
            training = counts(dataset, encoding, model.context)  # longer examples are cut before they are billed
        held_out = None if validation is None else counts(validation, encoding)
        both = [training] if held_out is None else [training, held_out]
        low, high = min(row.low / row.total for row in both), max(row.high / row.total for row in both)
        reasons = [row.reason for row in both if row.approximate][:1]
        if model.encoding is None:
            low, high = low * OTHER_VOCABULARY[0], high * OTHER_VOCABULARY[1]
            reasons.append(f"tokens are counted with {DEFAULT_ENCODING}, not with the model's own vocabulary")
        return BackendChoiceTokens(
            training.total,
            held_out.total if held_out else 0,
            training.longest,
            validation_rows=held_out.rows if held_out else 0,
            low=low,
            high=high,
            reason="; ".join(reasons),
            usual=training.usual,
        )

    every = [own] if validation is None else [own, counts(validation, DEFAULT_ENCODING)]
    return DatasetFacts(
        rows=own.rows,
        bytes=dataset.bytes,
        image_rows=sum(each.image_rows for each in every),
        path_rows=sum(each.path_rows for each in every),
        tokens=tokens,
    )


def find_job_backend_readiness(settings: Settings, manifests: Sequence[Manifest]) -> Readiness:
    """Return which backends have a key, and which have their packages. Imports none of them."""
    with_key = frozenset(row.name for row in manifests if backend_has_key(row, settings))
    installed = frozenset(row.name for row in manifests if is_backend_installed(row))
    lost = frozenset(row.name for row in manifests if not backend_has_address(row, settings))
    return Readiness(with_key, installed, lost)


def plan_job_machine(settings: Settings) -> Machine:
    """Return this machine, with its hourly cost if the user states it: a rented GPU is not free."""
    machine, hourly = detect_job_machine(), settings.local_usd_per_hour
    machine = replace(machine, device=job_device_name(machine))
    if not machine.gpu and (probe := read_stored_cpu_probe(settings.home, machine.device)) is not None:
        machine = replace(machine, cpu_rate=probe.rate)
    if hourly is None:
        return machine
    return replace(machine, own=OwnGPUCost(find_job_gpu(machine.gpu), hourly, whole_machine=True))


def find_job_gpu(name: str) -> CatalogueGPU | None:
    """Return the known facts of the GPU that its driver names so, or None if there is none or it is unknown."""
    try:
        return load_gpus().find(name) if name else None
    except ConfigError:
        return None


def job_device_name(machine: Machine) -> str:
    """Return the device that trains here (the GPU, else the processor and its cores), to compare only runs of one
    device."""
    return machine.gpu or f"{_processor()}, {os.cpu_count()} cores"


@cache
def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.machine()


def detect_job_machine() -> Machine:
    """Return the first NVIDIA GPU, else this machine's main memory and processor."""
    gpu = _nvidia_gpu()
    if gpu is not None:
        name, memory_gib = gpu
        card = find_job_gpu(name)
        if card is None:
            return Machine(memory_gib=memory_gib, gpu=name)
        return Machine(
            memory_gib=memory_gib, bf16_tflops=card.bf16_tflops, gpu=card.name, bandwidth_gbps=card.bandwidth_gbps
        )
    return Machine(memory_gib=_main_memory_gib())


@cache
def _nvidia_gpu() -> tuple[str, float] | None:
    """Return name and memory (GiB) of the first GPU, or None if there is none or its memory is unknown."""
    for gpu in list_gpus().gpus[:1]:
        if gpu.total_gib is not None:
            return gpu.name.replace("NVIDIA", "").strip(), gpu.total_gib
    return None


def _main_memory_gib() -> float | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    except (ValueError, OSError):
        return None
