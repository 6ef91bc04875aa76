"""Where a job could run instead, when its own backend takes no jobs: ranked by the router, with prices and commands."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from tuneport.backends import backend_names, manifest_of
from tuneport.backends.provider_errors import ELSEWHERE
from tuneport.errors import TuneportError
from tuneport.jobs.planning import dataset_facts, machine_of, readiness
from tuneport.jobs.tables import JobRow
from tuneport.manifests import Manifest, load_models
from tuneport.router import Choice, Dataset, Readiness, order, rank
from tuneport.settings import Settings
from tuneport.types import TuneSpec

STAND_IN_PARAMS_B = 8.0
"""Billions of parameters that a stand-in should have where nobody said which one is meant.

How large the closed models are is not published; eight billion is the size of open model that is tuned most often in
their place, and that both one rented GPU and Together's lowest price bracket (up to 16 billion) take.
"""


@dataclass(frozen=True)
class Alternative:
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
        price = "price unknown" if self.usd is None else f"${self.usd:,.2f}" if self.usd else "$0"
        stand_in = "" if self.same_name else ", a stand-in"
        notes = [self.missing] if self.missing else []
        if self.dropped:
            notes.append(f"without {', '.join(self.dropped)}")
        told = f" ({'; '.join(notes)})" if notes else ""
        return f"{self.backend}: {self.model}{stand_in}, {price}{told}: `{self.command}`"


def with_alternatives(message: str, alternatives: Sequence[Alternative], *, bound_to: str | None = None) -> str:
    """One line: what happened, then where else, cheapest first, each with the command to type.

    `bound_to`: the backend at which the weights are that the job goes on from, so that it can run nowhere else.
    """
    if bound_to is not None:
        return (
            f"{message.removesuffix(ELSEWHERE)}. No other backend can run this job: the weights that it goes on from "
            f"are at {bound_to}; elsewhere, start from a base model, without --from-checkpoint"
        )
    if not alternatives:
        return message
    listed = "; ".join(str(alternative) for alternative in alternatives)
    return f"{message.removesuffix(ELSEWHERE)}. The same job elsewhere: {listed}"


def alternatives(row: JobRow, settings: Settings) -> list[Alternative]:
    """The other backends that could run this job, best first. Empty where that cannot be told: it is advice.

    None has the weights of the job's own backend, which a job with `from_checkpoint` goes on from.
    """
    if row.tune_spec.from_checkpoint is not None:
        return []
    try:
        return _ranked(row, settings)
    except (TuneportError, OSError):
        return []


def _ranked(row: JobRow, settings: Settings) -> list[Alternative]:
    data, spec = row.prepared_data, row.tune_spec
    # The copy made at submit: the user's own file may have changed or gone.
    validation = data.validation.path if data.validation else None
    facts = dataset_facts(data.training.path, validation, home=settings.home, format=data.training.format)
    manifests = [manifest_of(name, settings) for name in backend_names(settings) if name != row.backend]
    manifests = [manifest for manifest in manifests if not manifest.hidden]
    ready = readiness(settings, manifests)
    found: list[tuple[Choice, Alternative]] = []
    for manifest in manifests:
        choice, same_name = _best(spec, manifest, facts, settings)
        if choice is None or choice.model is None:
            continue
        model = spec.model if same_name else _name(manifest, choice.model)
        sayable, dropped = _for_another(spec, manifest)
        found.append(
            (
                choice,
                Alternative(
                    backend=manifest.name,
                    model=_name(manifest, choice.model),
                    usd=choice.quote.expected,
                    unpriced=choice.quote.unavailable,
                    same_name=same_name,
                    missing=_missing(manifest, ready),
                    command=command(sayable, model, manifest.name, delete_files=row.delete_files),
                    dropped=dropped,
                ),
            )
        )
    return [alternative for _, alternative in sorted(found, key=lambda pair: order(pair[0]))]


def _best(spec: TuneSpec, manifest: Manifest, facts: Dataset, settings: Settings) -> tuple[Choice | None, bool]:
    """What this backend offers for the spec: the model asked for, else the stand-in nearest in size that it can run."""
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


def _judged(spec: TuneSpec, manifest: Manifest, facts: Dataset, settings: Settings) -> Choice:
    (choice,) = rank(
        spec,
        [manifest],
        today=date.today(),
        models=load_models(),
        dataset=facts,
        aliases=settings.aliases(spec.model),
        machine=machine_of(settings),
    )
    return choice


def _name(manifest: Manifest, model: str) -> str:
    """The short name of the weights, where they have one."""
    return load_models().name_of(manifest.name, model) or model


def _missing(manifest: Manifest, ready: Readiness) -> str | None:
    if manifest.api_key_env is not None and manifest.name not in ready.with_key:
        return f"needs {manifest.api_key_env}"
    if manifest.extra is not None and manifest.name not in ready.installed:
        return f"needs pip install 'tuneport[{manifest.extra}]'"
    return None


def _for_another(spec: TuneSpec, manifest: Manifest) -> tuple[TuneSpec, tuple[str, ...]]:
    """The spec as a command for that backend can say it, and the names of what it cannot (see `Alternative`)."""
    dropped = [f"provider_options.{name}" for name in spec.provider_options]
    if spec.metadata:
        dropped.append("metadata")
    if spec.wandb is not None:
        dropped += [f"wandb.{name}" for name, value in spec.wandb.model_dump(exclude={"project"}).items() if value]
    return spec, tuple(dropped)


def command(spec: TuneSpec, model: str, backend: str | None, *, delete_files: bool = False) -> str:
    """What to type to submit the spec with that model on that backend. A grader is to be put into GRADER.json."""
    words = ["tuneport", "submit", str(spec.dataset), "--model", model]
    if backend is not None:
        words += ["--backend", backend]
    if spec.validation is not None:
        words += ["--validation", str(spec.validation)]
    for name, column in spec.columns.items():
        words += ["--map", f"{name}={column}"]
    if spec.method.value != "sft":
        words += ["--method", spec.method.value]
    if spec.grader is not None:
        words += ["--grader", "GRADER.json"]
    if spec.reward is not None:
        words += ["--reward", spec.reward]
    if spec.adapter != "auto":
        words += ["--adapter", str(spec.adapter)]
    for name, value in spec.hyperparameters.given().items():
        words += ["--set", f"{name}={value if isinstance(value, str) else json.dumps(value)}"]
    for option, given in (("--suffix", spec.suffix), ("--seed", spec.seed), ("--budget", spec.budget)):
        if given is not None:
            words += [option, str(given)]
    if spec.wandb is not None:
        words += ["--wandb", spec.wandb.project]
    if delete_files:
        words.append("--delete-files")
    return shlex.join(words)
