"""Carries the effect of the old training over: its optimizer steps, and its learning rate in absolute terms.

Two numbers of the same name do not mean the same at two providers: a batch counts examples or packed sequences, and a
multiplier multiplies a rate that only its provider knows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil
from typing import Any

from tuneport.estimate.batching import Batching, TrainedRows
from tuneport.estimate.cost import training_quote
from tuneport.estimate.hyperparameters import (
    recommended_batch_size,
    recommended_epochs,
    recommended_learning_rate,
)
from tuneport.estimate.settling import settle_batching
from tuneport.estimate.training_settings import TrainingSettings
from tuneport.manifests import Manifest, OfferedModel
from tuneport.types import Adapter, Hyperparameters, Method, Quote, TuneSpec
from tuneport.workflows.migration.origin import MigrationSourceJob
from tuneport.workflows.migration.setting import MigratedSetting

BATCHING = ("batch_size", "packing", "max_length")


@dataclass(frozen=True)
class OldTraining:
    """The training of the old job, or what an edited spec file asks for: `steps` of the optimizer, and the examples in
    each. None: not known."""

    source: Manifest | None
    epochs: int | None
    steps: int | None
    rows: int

    @property
    def examples(self) -> int | None:
        """Return how many examples share a step."""
        if not self.steps or not self.epochs:
            return None
        return max(1, round(self.rows * self.epochs / self.steps))


def read_old_training(
    job: MigrationSourceJob, old: TuneSpec, source: Manifest | None, rows: int, steps_seen: int | None
) -> OldTraining:
    """Return what the old job did. `steps_seen`: the total that its saved events name."""
    given, ran = old.hyperparameters, job.hyperparameters.get("epochs")
    if given.epochs == "auto":
        return OldTraining(source, None, steps_seen, rows)
    if _counts_examples(source) and given.batch_size != "auto":
        return OldTraining(source, given.epochs, ceil(rows / given.batch_size) * given.epochs, rows)
    if steps_seen is not None and ran and ran != given.epochs:
        steps_seen = max(1, round(steps_seen * given.epochs / int(ran)))
    return OldTraining(source, given.epochs, steps_seen, rows)


def _counts_examples(manifest: Manifest | None) -> bool:
    return manifest is not None and bool(manifest.training.names) and manifest.training.batch_of == "examples"


@dataclass(frozen=True)
class NewPlace:
    """The model to tune at the new backend, and the data as that model counts it."""

    target: Manifest
    offered: OfferedModel
    data: TrainedRows
    adapter: Adapter
    params_b: float | None

    def price(self, spec: TuneSpec, numbers: Hyperparameters, epochs: int) -> Quote:
        return training_quote(
            self.target,
            self.offered,
            tokens_per_epoch=self.data.tokens,
            epochs=epochs,
            method=spec.method,
            adapter=self.adapter,
            rows=self.data.rows,
            packing=numbers.packing is not False,
            max_length=None if numbers.max_length == "auto" else numbers.max_length,
        )


@dataclass
class CarriedEffect:
    """The hyperparameters that bring the effect about, and a line for each of the old ones that they replace."""

    numbers: dict[str, Any] = field(default_factory=dict)
    lines: dict[str, MigratedSetting] = field(default_factory=dict)
    examples: int | None = None


def carry_batching(old: OldTraining, given: Mapping[str, Any], spec: TuneSpec, place: NewPlace) -> CarriedEffect | None:
    """Return the batch, and packing and length where the backend counts sequences, for the steps of the old job.

    Returns None if both count alike, or the new one takes no batch: then each number stands for itself.
    """
    rules, source = place.target.training, old.source
    if "batch_size" not in rules.names_for(spec.method, place.adapter) or rules.batch_of == "unknown":
        return None
    if source is not None and source.training.names and source.training.batch_of == rules.batch_of:
        return None
    title, effect = place.target.title, CarriedEffect(examples=old.examples)
    found = None
    if old.examples is not None and old.epochs is not None:
        whole = spec.model_copy(update={"hyperparameters": Hyperparameters(epochs=old.epochs)})
        found = settle_batching(
            whole, place.target, place.offered, place.data, adapter=place.adapter, examples=old.examples,
            price=lambda numbers, epochs: place.price(spec, numbers, epochs),
        )  # fmt: skip
    if found is None:
        unit = "sequences" if rules.batch_of == "sequences" else "examples"
        why = f"{title} counts {unit}, and how many steps it was is not known; tuneport's own batch is taken"
        effect.lines = {name: _line(name, given[name], None, why) for name in BATCHING if name in given}
        return effect
    if rules.batch_of == "sequences":
        _put_sequences(effect, found, given, spec, place, old)
    else:
        limit = place.target.limits.batch_size
        most = [int(limit.max)] if limit is not None and limit.max is not None else []
        most += [] if place.offered.batch_size_max is None else [place.offered.batch_size_max]
        effect.numbers["batch_size"] = batch = min([found.batch, *most])
        why = f"examples: about as many as shared a step in {_title(old.source)}'s packed sequences"
        effect.lines["batch_size"] = _line("batch_size", given.get("batch_size", "auto"), batch, why)
        for name in ("packing", "max_length"):
            if name in given:
                effect.lines[name] = _line(name, given[name], None, f"{title} does not pack; a batch counts examples")
    return effect


def _put_sequences(
    effect: CarriedEffect,
    found: Batching,
    given: Mapping[str, Any],
    spec: TuneSpec,
    place: NewPlace,
    old: OldTraining,
) -> None:
    title, named = place.target.title, place.target.training.names_for(spec.method, place.adapter)
    effect.numbers["batch_size"] = found.batch
    effect.examples = max(1, round(found.examples(place.data) or old.examples or 1))
    holds = f"about {effect.examples} examples in a step" if found.packing else "one example each"
    why = f"{title} counts sequences; {holds}"
    effect.lines["batch_size"] = _line("batch_size", given.get("batch_size", "auto"), found.batch, why)
    if "packing" in named:
        effect.numbers["packing"] = found.packing
        why = "packed, an epoch would be fewer steps" if not found.packing else "for about the same steps"
        effect.lines["packing"] = _line("packing", given.get("packing", False), found.packing, why)
    if found.length is not None:
        effect.numbers["max_length"] = found.length
        why = "tokens of a sequence; each holds at least the longest example"
        effect.lines["max_length"] = _line("max_length", given.get("max_length", "auto"), found.length, why)


def carry_rate(
    multiplier: float, old: OldTraining, batch: int | None, method: Method, place: NewPlace
) -> CarriedEffect | None:
    """Return the absolute learning rate for a multiplier, or None if the new backend takes multipliers, too. `batch`:
    the examples in a step.

    What a provider multiplies is its own secret. What stands for it is tuneport's rate for the new model, adapter and
    batch, times by how much the old multiplier differs from those that the provider picks itself.
    """
    if place.target.training.rate == "multiplier" or not place.target.training.names:
        return None
    if batch is None:
        batch = recommended_batch_size(old.rows, old.epochs or recommended_epochs(old.rows))
    rate = recommended_learning_rate(place.params_b, place.adapter, batch, method)
    size = "a model of unknown size" if place.params_b is None else f"{place.params_b:.2g} B parameters"
    ours = f"tuneport's rate for {place.adapter} of {size} at batch {batch}"
    rules = None if old.source is None else old.source.training
    if rules is None or rules.rate != "multiplier":
        factor, why = multiplier, f"{multiplier:g} x {rate:g}, {ours}"
    elif rules.own_multiplier is None:
        factor, why = 1.0, f"what {_title(old.source)} multiplies is not known; {ours}"
    else:
        own, factor = rules.own_multiplier, rules.own_multiplier.times_own(multiplier)
        span = f"{own.low:g}" if own.low == own.high else f"{own.low:g} to {own.high:g}"
        if factor == 1.0:
            why = f"{multiplier:g} is what {_title(old.source)} picks itself; {ours}"
        else:
            why = f"{factor:.2g} x what {_title(old.source)} picks itself ({span}); {rate:g} is {ours}"
    value = float(f"{rate * factor:.3g}")
    line = MigratedSetting("learning_rate_multiplier", f"{multiplier:g}", f"learning rate {value:g}", why)
    return CarriedEffect({"learning_rate": value}, {"learning_rate_multiplier": line})


def steps_line(old: OldTraining, settings: TrainingSettings) -> MigratedSetting:
    """Return the line that holds the old job's optimizer steps against the new one's."""
    steps, was = settings.steps, "unknown" if old.steps is None else f"{old.steps:,}"
    if steps.expected is None:
        return MigratedSetting("steps", was, "unknown", steps.unavailable or "")
    new = f"{steps.expected:,}"
    if new == was:
        return MigratedSetting("steps", was, new)
    why = steps.explanation
    if old.steps is None:
        why = f"{_title(old.source)} does not say its steps; {why}"
    return MigratedSetting("steps", was, new, why)


def _title(manifest: Manifest | None) -> str:
    return "the old backend" if manifest is None else manifest.title


def _line(name: str, old: Any, new: Any, why: str) -> MigratedSetting:
    return MigratedSetting(name, str(old), None if new is None else str(new), why)
