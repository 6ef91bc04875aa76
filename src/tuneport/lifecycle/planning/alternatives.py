"""Alternatives for a job whose own backend takes no jobs: other backends, ranked by the router, with prices and
commands."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from tuneport.backends import training_backend_manifests
from tuneport.backends.hosted.provider_errors import ELSEWHERE
from tuneport.data.dataset import Dataset
from tuneport.errors import TuneportError
from tuneport.formatting import money
from tuneport.installation import install_extra
from tuneport.lifecycle.planning.planning import (
    find_job_backend_readiness,
    plan_job_machine,
    read_job_dataset_facts,
    split_job_backend_name,
)
from tuneport.lifecycle.schema.records import JobRecord
from tuneport.lifecycle.submitting.flags import build_submit_command, job_options_without_flag
from tuneport.manifests import Manifest, load_models
from tuneport.router import BackendChoice, DatasetFacts, Readiness, backend_ranking_key, rank_backends
from tuneport.settings import Settings
from tuneport.types import TuneSpec

STAND_IN_PARAMS_B = 8.0
"""Billions of parameters that a stand-in should have if none is named.

How large the closed models are is not published; eight billion is the size of open model that is tuned most often in
their place, and that both one rented GPU and Together's lowest price bracket (up to 16 billion) take.
"""


@dataclass(frozen=True)
class JobAlternative:
    """One backend that could run the job. `same_name`: it offers what the user asked for, by name or alias; otherwise
    `model` is a stand-in. `missing` says what it still needs; `usd` None is an unknown price (`unpriced` says why).
    `dropped` names what `command` leaves out of the spec: what was meant for the job's own backend, what this one does
    not take, and what no option of the command line says."""

    backend: str
    model: str
    usd: float | None
    unpriced: str | None
    same_name: bool
    missing: str | None
    command: str
    dropped: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        return vars(self) | {"dropped": list(self.dropped)}

    def __str__(self) -> str:
        price = "price unknown" if self.usd is None else money(self.usd)
        stand_in = "" if self.same_name else ", a stand-in"
        notes = [self.missing] if self.missing else []
        if self.dropped:
            notes.append(f"without {', '.join(self.dropped)}")
        told = f" ({'; '.join(notes)})" if notes else ""
        return f"{self.backend}: {self.model}{stand_in}, {price}{told}: `{self.command}`"


def explain_job_alternatives(
    message: str, alternatives: Sequence[JobAlternative], *, bound_to: str | None = None
) -> str:
    """Return one line: what happened, then the alternatives, cheapest first, each with the command to type.

    `bound_to`: the backend that holds the weights which the job continues from, so that it can run only there.
    """
    if bound_to is not None:
        return (
            f"{message.removesuffix(ELSEWHERE)}. No other backend can run this job: the weights that it continues from "
            f"are at {bound_to}; elsewhere, start from a base model, without --from-checkpoint"
        )
    if not alternatives:
        return message
    listed = "; ".join(str(alternative) for alternative in alternatives)
    return f"{message.removesuffix(ELSEWHERE)}. The same job elsewhere: {listed}"


def rank_job_alternatives(row: JobRecord, settings: Settings) -> list[JobAlternative]:
    """Return the other backends that could run this job, best first. The list is empty if ranking fails: it is only
    advice.

    A job with `from_checkpoint` has no alternatives: only its own backend holds the weights that it continues from.
    """
    if row.tune_spec.from_checkpoint is not None:
        return []
    try:
        return _ranked(row, settings)
    except (TuneportError, OSError):
        return []


def _ranked(row: JobRecord, settings: Settings) -> list[JobAlternative]:
    data, (_, spec) = row.prepared_data, split_job_backend_name(row.tune_spec, settings)
    # The copy made at submit: the user's own file may have changed or gone.
    training = Dataset(data.training.path, format=data.training.format)
    validation = None if data.validation is None else Dataset(data.validation.path)
    facts = read_job_dataset_facts(training, validation, home=settings.home)
    manifests = [each for each in training_backend_manifests(settings) if each.name != row.backend and not each.hidden]
    ready = find_job_backend_readiness(settings, manifests)
    found: list[tuple[BackendChoice, JobAlternative]] = []
    for manifest in manifests:
        choice, same_name = _best(spec, manifest, facts, settings)
        if choice is None or choice.model is None:
            continue
        there, dropped = _for_another(spec, spec.model if same_name else _name(manifest, choice.model))
        options = row.job_options
        if options.delete_files is settings.delete_files(manifest.name):
            options = options.updated({"delete_files": None})  # as it would be without a flag
        found.append(
            (
                choice,
                JobAlternative(
                    backend=manifest.name,
                    model=_name(manifest, choice.model),
                    usd=choice.quote.expected,
                    unpriced=choice.quote.unavailable,
                    same_name=same_name,
                    missing=_missing(manifest, ready),
                    command=build_submit_command(there, options, backend=manifest.name),
                    dropped=dropped,
                ),
            )
        )
    return [alternative for _, alternative in sorted(found, key=lambda pair: backend_ranking_key(pair[0]))]


def _best(
    spec: TuneSpec, manifest: Manifest, facts: DatasetFacts, settings: Settings
) -> tuple[BackendChoice | None, bool]:
    """Return the best choice of this backend for the spec, and whether it is the model asked for: that one, else the
    stand-in nearest in size that it can run."""
    asked = _judged(spec, manifest, facts, settings)
    if asked.model is not None:
        return (asked, True) if asked.allowed else (None, True)
    models = load_models()
    if manifest.models:
        sized = [(model.params_b, model.id) for model in manifest.models if model.params_b]
    else:
        sized = [(row.params_b, name) for name, row in models.weights.items() if row.hub and row.params_b]
    by_likeness = sorted(sized, key=lambda pair: abs(math.log(pair[0] / STAND_IN_PARAMS_B)))
    for _, model in by_likeness:
        choice = _judged(spec.model_copy(update={"model": model}), manifest, facts, settings)
        if choice.allowed:
            return choice, False
    return None, False


def _judged(spec: TuneSpec, manifest: Manifest, facts: DatasetFacts, settings: Settings) -> BackendChoice:
    (choice,) = rank_backends(
        spec,
        [manifest],
        today=date.today(),
        models=load_models(),
        dataset=facts,
        aliases=settings.aliases(spec.model),
        machine=plan_job_machine(settings),
    )
    return choice


def _name(manifest: Manifest, model: str) -> str:
    """Return the short name of the weights, if they have one."""
    return load_models().name_of(manifest.name, model) or model


def _missing(manifest: Manifest, ready: Readiness) -> str | None:
    if manifest.api_key_env is not None and manifest.name not in ready.with_key:
        return f"needs {manifest.api_key_env}"
    if manifest.extra is not None and manifest.name not in ready.installed:
        return f"needs {install_extra(manifest.extra)}"
    return None


def _for_another(spec: TuneSpec, model: str) -> tuple[TuneSpec, tuple[str, ...]]:
    """Return the spec for another backend, without the options of its own one, and the names of what its command
    lacks."""
    dropped = [f"provider_options.{name}" for name in spec.provider_options]
    there = spec.model_copy(update={"model": model, "provider_options": {}})
    return there, (*dropped, *job_options_without_flag(there))
