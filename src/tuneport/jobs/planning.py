"""Where a spec can run and what it would cost there: gathers what `router` needs to know, and asks it."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from tuneport.backends import EXTRAS, backend_names, manifest_of
from tuneport.data.containers.source import Source
from tuneport.data.prepare import format_for
from tuneport.data.reading import columns_there
from tuneport.data.token_cache import TokenCache
from tuneport.data.tokens import OTHER_VOCABULARY, TokenCounts
from tuneport.errors import ConfigError
from tuneport.estimate.cost import OwnGPU, training_price
from tuneport.estimate.learning import History
from tuneport.jobs.cpu_probe import kept_probe
from tuneport.jobs.estimates import JobEstimate
from tuneport.manifests import GPU, Manifest, OfferedModel, load_gpus, load_models
from tuneport.router import Choice, Dataset, Machine, Readiness, TokenCount, choose, rank
from tuneport.settings import Settings
from tuneport.types import Adapter, TuneSpec

DEFAULT_ENCODING = "o200k_base"
"""Counts tokens for models whose own tokenizer is not at hand."""


@dataclass(frozen=True)
class Plan:
    """`choices` is every backend, best first; `chosen` is the one that the user named, or the best, and `estimate` what
    is expected of the job there."""

    choices: list[Choice]
    chosen: Choice
    third_party: bool
    estimate: JobEstimate = JobEstimate()


def plan(spec: TuneSpec, settings: Settings, *, backend: str | None = None, history: History | None = None) -> Plan:
    """Rank all backends for `spec` and choose one. Raises what makes the chosen backend impossible."""
    choices, facts, machine = _ranked(spec, settings, also=backend or settings.backend, history=history)
    chosen = choose(
        choices,
        explicit=backend,
        environment=settings.get("TUNEPORT_BACKEND"),
        project=settings.project.backend,
    )
    manifest = manifest_of(chosen.backend, settings)
    return Plan(
        choices,
        chosen,
        third_party=manifest.third_party,
        estimate=expected(spec, chosen, manifest, facts, machine),
    )


def quotes(
    spec: TuneSpec, settings: Settings, *, backends: Sequence[str] = (), history: History | None = None
) -> tuple[list[Choice], int]:
    """Each backend's answer to `spec` (or that of the named ones), best first, and the rows of the dataset."""
    choices, facts, _ = _ranked(spec, settings, only=backends, history=history)
    return choices, facts.rows


def _ranked(
    spec: TuneSpec,
    settings: Settings,
    *,
    also: str | None = None,
    only: Sequence[str] = (),
    history: History | None,
) -> tuple[list[Choice], Dataset, Machine]:
    names = list(only) or backend_names(settings)
    if also is not None and also not in names:
        names.append(also)  # a hidden one, or one that `choose` will refuse by name
    manifests = [manifest_of(name, settings) for name in names]
    facts = dataset_facts(
        spec.dataset,
        spec.validation,
        spec.columns,
        home=settings.home,
        format=format_for(spec.dataset, spec.method, spec.columns),
    )
    machine = machine_of(settings)
    choices = rank(
        spec,
        manifests,
        today=date.today(),
        models=load_models(),
        dataset=facts,
        aliases=settings.aliases(spec.model),
        ready=readiness(settings, manifests),
        machine=machine,
        history=history,
    )
    return choices, facts, machine


def expected(spec: TuneSpec, choice: Choice, manifest: Manifest, facts: Dataset, machine: Machine) -> JobEstimate:
    """What the job is expected to take, and the terms by which what it cost will be reckoned when it has ended."""
    model = manifest.offered(choice.model or spec.model)
    billing = manifest.billing
    if model is None:
        return JobEstimate()
    adapter = choice.adapter or Adapter.LORA
    price = training_price(manifest, model, spec.method, adapter)
    minimum = model.minimum or (billing.minimum if billing else None)
    per_epoch = facts.tokens(manifest, model).training
    own = billing is not None and billing.unit == "machine_hours"
    here = own and spec.provider_options.get("executor") in (None, "process")
    took = choice.duration
    return JobEstimate(
        seconds=took.expected_seconds,
        seconds_low=took.low_seconds,
        seconds_high=took.high_seconds,
        seconds_unavailable=took.unavailable,
        seconds_because=took.explanation,
        uncorrected_seconds=took.uncorrected_seconds or took.expected_seconds,
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
        usd_per_hour=machine.own.hourly if own and machine.own else None,  # whatever executor: as the quote has it
    )


def dataset_facts(
    path: Path,
    validation: Path | None,
    columns: Mapping[str, str] | None = None,
    *,
    home: Path,
    format: str | None = None,
) -> Dataset:
    """Read the dataset once for each encoding that a candidate counts with, and each context that cuts examples; counts
    are kept under `home`. DatasetError lists what is wrong."""
    kept = TokenCache(home / "cache" / "tokens")
    names = {path: columns}
    if validation is not None:
        names.setdefault(validation, columns_there(validation, columns))

    @cache
    def counts(file: Path, encoding: str, context: int | None = None) -> TokenCounts:
        return kept.counts(file, encoding, format=format, columns=names[file], context=context)

    own = counts(path, DEFAULT_ENCODING)

    def tokens(manifest: Manifest, model: OfferedModel) -> TokenCount:
        encoding = model.encoding or DEFAULT_ENCODING
        training = counts(path, encoding)
        if model.encoding is not None and model.context is not None and training.longest > model.context:
            training = counts(path, encoding, model.context)  # longer examples are cut before they are billed
        held_out = None if validation is None else counts(validation, encoding)
        both = [training] if held_out is None else [training, held_out]
        low, high = min(row.low / row.total for row in both), max(row.high / row.total for row in both)
        reasons = [row.reason for row in both if row.approximate][:1]
        if model.encoding is None:
            low, high = low * OTHER_VOCABULARY[0], high * OTHER_VOCABULARY[1]
            reasons.append(f"tokens are counted with {DEFAULT_ENCODING}, not with the model's own vocabulary")
        return TokenCount(
            training.total,
            held_out.total if held_out else 0,
            training.longest,
            validation_rows=held_out.rows if held_out else 0,
            low=low,
            high=high,
            reason="; ".join(reasons),
            usual=training.usual,
        )

    return Dataset(rows=own.rows, bytes=sum(file.stat().st_size for file in Source(path).files), tokens=tokens)


def readiness(settings: Settings, manifests: Sequence[Manifest]) -> Readiness:
    """Which backends have a key, and which have their packages. Imports none of them."""
    with_key = {row.name for row in manifests if row.api_key_env and settings.secret(row.api_key_env)}
    installed = {row.name for row in manifests if all(find_spec(name) for name in EXTRAS.get(row.extra or "", ()))}
    lost = {row.name for row in manifests if row.api_key_env and settings.base_url(row.name, row.base_url) is None}
    return Readiness(frozenset(with_key), frozenset(installed), frozenset(lost))


def machine_of(settings: Settings) -> Machine:
    """This machine, and what an hour of it costs where the user says so: a rented GPU is not free."""
    machine, hourly = this_machine(), settings.local_usd_per_hour
    machine = replace(machine, device=device_name(machine))
    if not machine.gpu and (probe := kept_probe(settings.home, machine.device)) is not None:
        machine = replace(machine, cpu_rate=probe.rate)
    if hourly is None:
        return machine
    return replace(machine, own=OwnGPU(card_of(machine.gpu), hourly, whole_machine=True))


def card_of(name: str) -> GPU | None:
    """What is known of the GPU that `nvidia-smi` calls so; None where there is none, or nothing is known of it."""
    try:
        return load_gpus().find(name) if name else None
    except ConfigError:
        return None


def device_name(machine: Machine) -> str:
    """What trains here, as runs on it are told apart: the GPU, else the processor and its cores."""
    return machine.gpu or f"{_processor()}, {os.cpu_count()} cores"


@cache
def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.machine()


def this_machine(memory: Callable[[], float | None] | None = None) -> Machine:
    """The first NVIDIA GPU, else this machine's main memory and processor."""
    gpu = _nvidia_gpu()
    if gpu is not None:
        name, memory_gib = gpu
        card = card_of(name)
        if card is None:
            return Machine(memory_gib=memory_gib, gpu=name)
        return Machine(
            memory_gib=memory_gib, bf16_tflops=card.bf16_tflops, gpu=card.name, bandwidth_gbps=card.bandwidth_gbps
        )
    return Machine(memory_gib=_main_memory_gib() if memory is None else memory())


@cache
def _nvidia_gpu() -> tuple[str, float] | None:
    """Name and memory (GiB) of the first GPU, by `nvidia-smi`: importing torch to ask would take seconds."""
    import shutil
    import subprocess

    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    query = [program, "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    first = done.stdout.strip().splitlines()[:1] if done.returncode == 0 else []
    if not first or "," not in first[0]:
        return None
    name, _, mebibytes = first[0].rpartition(",")
    return name.replace("NVIDIA", "").strip(), float(mebibytes) / 1024


def _main_memory_gib() -> float | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    except (ValueError, OSError):
        return None
