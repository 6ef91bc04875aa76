"""Settles what one job trains with on one backend, and how many optimizer steps that makes.

tuneport's recommendation is the same for every backend; here it is put into the terms of one: what it has no knob for,
what its limits forbid, what its batch counts. Pure: reads manifests, opens nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from math import ceil, inf
from typing import Any

from tuneport.estimate.batching import ENOUGH, SEQUENCE_MIN, Batching, TrainedRows, choose_batching, list_batchings
from tuneport.estimate.hyperparameters import (
    Recommended,
    openai_auto_epochs,
    recommend_hyperparameters,
    recommended_epochs,
    recommended_learning_rate,
    recommended_max_length,
    resolve_hyperparameters,
)
from tuneport.estimate.training_settings import FEWEST_STEPS, Chooser, StepsRemedy, TrainingSettings, TrainingSteps
from tuneport.formatting import counted
from tuneport.manifests import Manifest, OfferedModel
from tuneport.manifests.schema import ManifestRange
from tuneport.types import Adapter, Hyperparameters, Quote, TuneSpec

MOST_EPOCHS = 10
"""More epochs are never the remedy for few steps: the rows would only be memorised."""
PATIENCE = 2
"""Epochs without a better validation loss that end a run which keeps the best: one may be chance."""

Price = Callable[[Hyperparameters, int], Quote]
"""The price of a job with these hyperparameters and so many epochs."""


def keeps_best_epoch(spec: TuneSpec, manifest: Manifest) -> bool:
    """Return whether the run keeps its best epoch: if it is told to, or if the number of epochs is left to it and it
    has something to judge them by. Several ranks may be sharded, and a Ray cluster does not bring the best checkpoint
    back."""
    if not manifest.training.keeps_best_epoch or not spec.method.traits.token_loss or spec.validation is None:
        return False
    options = spec.provider_options
    if options.get("early_stopping") is not None:
        return True
    # Of evaluations every few steps two worse ones may be chance; the user may say how many end the run.
    by_epochs = spec.hyperparameters.epochs == "auto" and options.get("evaluate_every") is None
    return by_epochs and options.get("executor", "process") != "ray" and options.get("workers", 1) == 1


def settle_training(
    spec: TuneSpec,
    manifest: Manifest,
    model: OfferedModel,
    data: TrainedRows,
    *,
    adapter: Adapter,
    params_b: float | None = None,
    price: Price | None = None,
) -> TrainingSettings:
    """Settle what this job trains with there. Values that the user gave always stand.

    `params_b`: billions of parameters, where the manifest does not say. `price` decides between ways to the same number
    of steps, and prices the remedies; without it the billed tokens decide.
    """
    return _Settling(spec, manifest, model, data, adapter, model.params_b or params_b, price).settle()


def settle_batching(
    spec: TuneSpec,
    manifest: Manifest,
    model: OfferedModel,
    data: TrainedRows,
    *,
    adapter: Adapter,
    examples: int,
    price: Price | None = None,
) -> Batching | None:
    """Return the batch there, and packing and length where it counts sequences, that come nearest to `examples` in a
    step, with the epochs of `spec`. None: it decides by itself, or the tokens that it packs are not known."""
    settling = _Settling(spec, manifest, model, data, adapter, model.params_b, price)
    epochs = spec.hyperparameters.epochs
    return settling._choose_batching(_Draft({"batch_size": examples}, {}, {}), 1 if epochs == "auto" else epochs)


@dataclass(frozen=True)
class _Settling:
    """One job on one backend; `settle` is its result."""

    spec: TuneSpec
    manifest: Manifest
    model: OfferedModel
    data: TrainedRows
    adapter: Adapter
    params_b: float | None
    price: Price | None

    def settle(self) -> TrainingSettings:
        given, rules = self.spec.hyperparameters, self.manifest.training
        meant = self._meant()
        if not rules.names:
            epochs = self._own_epochs() if given.epochs == "auto" else given.epochs
            why = f"{self.manifest.title} states no rules of training"
            return self._left_to_backend(epochs, TrainingSteps(meant=meant, unavailable=why))
        asked = self.spec.provider_defaults
        by_provider = rules.own_settings and (rules.offers_auto if asked == "auto" else asked)
        settled = self._by_provider(meant) if by_provider else self._by_recommendation(meant)
        if not settled.steps.too_few:
            return settled
        return settled.model_copy(update={"remedies": self._remedies(settled)})

    @property
    def _named(self) -> dict[str, str]:
        return self.manifest.training.names_for(self.spec.method, self.adapter)

    def _recommend(self) -> Mapping[str, Recommended]:
        limit, by_sequences = self.manifest.limits.batch_size, self.manifest.training.batch_of == "sequences"
        most = self.model.batch_size_max or (None if limit is None or limit.max is None else int(limit.max))
        return recommend_hyperparameters(
            self.spec.hyperparameters,
            rows=self.data.rows,
            params_b=self.params_b,
            adapter=self.adapter,
            method=self.spec.method,
            longest_tokens=self.data.longest,
            usual_tokens=self.data.usual,
            context=self.model.context_for(self.spec.method),
            batch_size_max=None if by_sequences else most,  # a batch of sequences may hold more examples
            lora_rank_max=self.model.lora_rank_max,
            keeps_best=keeps_best_epoch(self.spec, self.manifest),
        )

    def _meant(self) -> int:
        """Return the steps of the recommendation alone."""
        chosen = recommend_hyperparameters(Hyperparameters(), rows=self.data.rows)
        return ceil(self.data.rows / int(chosen["batch_size"].value)) * int(chosen["epochs"].value)

    def _own_epochs(self) -> int:
        own = self.manifest.training.own_settings.get("epochs")
        if own == "openai":
            return openai_auto_epochs(self.data.rows)
        return int(own) if isinstance(own, int | float) else recommended_epochs(self.data.rows)

    # --- tuneport's recommendation, in the backend's terms

    def _by_recommendation(self, meant: int) -> TrainingSettings:
        given, rules, named, rows = self.spec.hyperparameters, self.manifest.training, self._named, self._recommend()
        draft = _Draft(
            {name: row.value for name, row in rows.items() if name in named},
            {name: row.chosen_by for name, row in rows.items() if name in named},
            {
                name: row.because if name in named else f"{self.manifest.title} takes no {name}"
                for name, row in rows.items()
            },
        )
        self._keep_within_limits(draft)
        epochs = int(draft.numbers.get("epochs", rows["epochs"].value))
        batching = self._choose_batching(draft, epochs)
        if batching is not None and rules.batch_of == "sequences":
            self._set_sequences(draft, batching)
        draft.numbers.pop("learning_rate_multiplier", None)
        if rules.rate == "multiplier":
            draft.leave("learning_rate_multiplier", f"{self.manifest.title} publishes no rate and picks one")
        if rules.length == "longest" and given.max_length == "auto":
            longest = "" if self.data.longest is None else f" ({self.data.longest:,} tokens)"
            draft.leave("max_length", f"the longest example{longest}, as the trainer finds it; cut to the context")
        if self.spec.from_checkpoint is not None:
            for name in ("lora_rank", "lora_alpha", "lora_dropout"):
                draft.leave(name, "the checkpoint's own adapter goes on")
        options: dict[str, Any] = {}
        if keeps_best_epoch(self.spec, self.manifest) and self.spec.provider_options.get("early_stopping") is None:
            options["early_stopping"] = PATIENCE
            draft.because["early_stopping"] = f"the best epoch is kept, and {PATIENCE} worse ones end the run"
        # What there is no knob for stands as it was given: the backend refuses it by its name.
        fixed = {name: value for name, value in given.given().items() if name not in ("learning_rate_multiplier",)}
        if "learning_rate" not in draft.numbers and given.learning_rate_multiplier != "auto":
            fixed["learning_rate_multiplier"] = given.learning_rate_multiplier
        return TrainingSettings(
            hyperparameters=Hyperparameters.model_validate(draft.numbers | fixed),
            options=options,
            epochs=epochs,
            recommended=resolve_hyperparameters(rows),
            chosen_by=draft.chosen_by,
            because=draft.because,
            names=named,
            steps=self._steps(batching, epochs, meant, self._why_uncounted),
        )

    def _keep_within_limits(self, draft: _Draft) -> None:
        for name, who in draft.chosen_by.items():
            allowed, value = getattr(self.manifest.limits, name, None), draft.numbers[name]
            if not isinstance(allowed, ManifestRange) or who == "user" or allowed.contains(value):
                continue
            bound = allowed.min if allowed.min is not None and value < allowed.min else allowed.max
            assert bound is not None  # else it contains the value
            draft.numbers[name] = type(value)(bound)
            draft.because[name] += f"; {self.manifest.title} takes {allowed}"

    def _choose_batching(self, draft: _Draft, epochs: int) -> Batching | None:
        """Return how examples come together, or None if the backend decides or the tokens are not known."""
        rules, method = self.manifest.training, self.spec.method
        if "batch_size" not in self._named or rules.batch_of == "unknown":
            return None
        batch = int(draft.numbers["batch_size"])
        if rules.batch_of == "examples":
            return Batching(False, batch, full_only=method.writes_answers and self.manifest.own_machine)
        given, packs = self.spec.hyperparameters, self._packing
        context, shortest = self.model.context_for(method), self.manifest.limits.max_length
        least = SEQUENCE_MIN if shortest is None or shortest.min is None else int(shortest.min)
        length = max(least, recommended_max_length(self.data.longest, context))
        lengths = [length if given.max_length == "auto" else given.max_length]
        longer = [context] if given.max_length == "auto" and context is not None and context > length else []
        # A batch above the model's limit is refused after the upload; a limit that is not known may be one.
        most = range(1, (self.model.batch_max_for(method) or 1) + 1)
        return choose_batching(
            list_batchings(
                packing=(True, False) if packs is None else (packs,),
                lengths=lengths,
                packed_lengths=[*lengths, *longer],
                batches=most if given.batch_size == "auto" else (given.batch_size,),
            ),
            self.data,
            epochs,
            ceil(self.data.rows / batch) * epochs,
            cache(partial(self._price_of, epochs)),
        )

    @property
    def _why_uncounted(self) -> str:
        told = f"{self.manifest.title} does not say what its batch counts"
        return told if self.manifest.training.batch_of == "unknown" else "the tokens of the dataset were not counted"

    @property
    def _packing(self) -> bool | None:
        """Return whether examples are packed, as the user said or the method has it; None: to be chosen."""
        rule, given = self.manifest.training.packing, self.spec.hyperparameters.packing
        if rule is None or self.spec.method not in rule.methods:
            return False
        if given != "auto":
            return given
        option = self.spec.provider_options.get("packing")
        return option if isinstance(option, bool) else None

    def _price_of(self, epochs: int, batching: Batching) -> float | None:
        if self.price is None:
            billed = self.data.tokens if batching.packing else self.data.rows * (batching.length or 0)
            return None if billed is None else float(billed)
        sequences = {"packing": batching.packing, "max_length": batching.length}
        return self.price(self.spec.hyperparameters.model_copy(update=sequences), epochs).expected

    def _set_sequences(self, draft: _Draft, batching: Batching) -> None:
        """Put the sequences into the draft; the learning rate goes by the examples of a step."""
        given = self.spec.hyperparameters
        meant, examples = int(draft.numbers["batch_size"]), batching.examples(self.data)
        draft.numbers |= {"batch_size": batching.batch, "max_length": batching.length}
        if "packing" in self._named and "packing" not in self.spec.provider_options:
            draft.numbers["packing"] = batching.packing
            draft.chosen_by["packing"] = "rule" if given.packing == "auto" else "user"
            draft.because["packing"] = "as given" if given.packing != "auto" else "for about the steps that are meant"
        if given.batch_size == "auto":
            draft.because["batch_size"] = f"{self.manifest.title} counts sequences; for about {meant} examples a step"
        if given.max_length == "auto":
            draft.because["max_length"] = "tokens of a sequence; each holds at least the longest example"
        if examples is None or given.learning_rate != "auto" or 1 / ENOUGH <= examples / meant <= ENOUGH:
            return
        rate = recommended_learning_rate(self.params_b, self.adapter, max(1, round(examples)), self.spec.method)
        factor = 1.0 if given.learning_rate_multiplier == "auto" else given.learning_rate_multiplier
        draft.numbers["learning_rate"] = rate * factor
        draft.because["learning_rate"] += f"; about {max(1, round(examples))} examples share a step"

    # --- the provider's own defaults

    def _by_provider(self, meant: int) -> TrainingSettings:
        given, rules = self.spec.hyperparameters, self.manifest.training
        own, epochs = rules.own_settings, self._own_epochs() if given.epochs == "auto" else given.epochs
        batch = own.get("batch_size") if given.batch_size == "auto" else given.batch_size
        batch = self.model.batch_max_for(self.spec.method) if batch == "max" else batch
        batching = None
        if isinstance(batch, int):
            packing = self._packing
            if packing is None:
                packing = rules.packing is not None and rules.packing.default
            length = self.model.context_for(self.spec.method) if given.max_length == "auto" else given.max_length
            batching = Batching(packing, batch, length)
        unavailable = f"{self.manifest.title} picks the batch" if batching is None else "the tokens were not counted"
        return self._left_to_backend(epochs, self._steps(batching, epochs, meant, unavailable))

    def _left_to_backend(self, epochs: int, steps: TrainingSteps) -> TrainingSettings:
        given, rules, named = self.spec.hyperparameters, self.manifest.training, self._named
        fixed = given.given()
        title = self.manifest.title
        stated = [f"{name} {value}" for name, value in rules.own_settings.items() if name not in ("epochs", *fixed)]
        own = f"{title}'s own, as far as it says: {', '.join([f'epochs {epochs}', *stated])}"
        left = own if rules.own_settings else f"left to {title}"
        return TrainingSettings(
            hyperparameters=given,
            epochs=epochs,
            recommended=resolve_hyperparameters(self._recommend()),
            chosen_by={name: "user" if name in fixed else "backend" for name in named},
            because={name: "as given" if name in fixed else left for name in named},
            names=named,
            steps=steps,
        )

    # --- steps, and what makes more of them

    def _steps(self, batching: Batching | None, epochs: int, meant: int, unavailable: str) -> TrainingSteps:
        expected = None if batching is None else batching.steps(self.data, epochs)
        if batching is None or expected is None:
            return TrainingSteps(meant=meant, unavailable=unavailable)
        low, high = batching.steps(self.data, epochs, self.data.low), batching.most_steps(self.data, epochs)
        rule = self.manifest.training.packing
        if rule is not None and self.spec.method not in rule.methods:
            # Whether its other methods pack, too, is not documented.
            low = Batching(True, batching.batch, batching.length).steps(self.data, epochs)
        what = counted(self.data.rows, "row")
        if batching.packing:
            what = f"{counted(batching.sequences(self.data) or 0, 'sequence')} of {batching.length:,} tokens"
        return TrainingSteps(
            expected=expected,
            low=min(expected, expected if low is None else low),
            high=max(expected, expected if high is None else high),
            meant=meant,
            explanation=f"{what} / batch {batching.batch} = {expected // epochs:,} x {counted(epochs, 'epoch')}",
        )

    def _remedies(self, settled: TrainingSettings) -> tuple[StepsRemedy, ...]:
        found = list(self._tried_remedies(settled))
        return tuple(
            sorted(
                found,
                key=lambda each: (
                    inf if each.quote is None or each.quote.expected is None else each.quote.expected,
                    abs(each.steps - settled.steps.meant),
                ),
            )
        )

    def _tried_remedies(self, settled: TrainingSettings) -> Iterator[StepsRemedy]:
        """Yield what would make enough steps, each settled as the job with that change would be."""
        steps = settled.steps
        if self.spec.provider_defaults is True:
            yield from self._remedy({}, steps, spec={"provider_defaults": False})
            return
        if self._packing and "packing" not in self.spec.provider_options:
            yield from self._remedy({"packing": False}, steps)
        batch = settled.hyperparameters.batch_size
        while batch != "auto" and batch > 1:
            batch //= 2
            if tried := list(self._remedy({"batch_size": batch}, steps, enough=max(FEWEST_STEPS, steps.meant))):
                yield from tried
                break
        else:
            if settled.hyperparameters.batch_size not in ("auto", 1):
                yield from self._remedy({"batch_size": 1}, steps)
        if steps.expected:
            enough = ceil(max(FEWEST_STEPS, steps.meant) / (steps.expected / settled.epochs))
            for epochs in sorted({recommended_epochs(self.data.rows), enough}):
                tried = list(self._remedy({"epochs": epochs}, steps)) if epochs <= MOST_EPOCHS else []
                yield from tried
                if tried:
                    break

    def _remedy(
        self,
        changes: dict[str, Any],
        steps: TrainingSteps,
        *,
        enough: int | None = None,
        spec: Mapping[str, Any] | None = None,
    ) -> Iterator[StepsRemedy]:
        """Yield the change if the job with it takes `enough` steps; by default, if they are no longer too few."""
        changed = self.spec.hyperparameters.model_copy(update=changes)
        other = replace(self, spec=self.spec.model_copy(update={"hyperparameters": changed, **(spec or {})}))
        settled = other._by_recommendation(steps.meant)
        expected = settled.steps.expected
        if expected is None or expected <= (steps.expected or 0):
            return
        if settled.steps.too_few if enough is None else expected < enough:
            return
        quote = None if self.price is None else self.price(settled.hyperparameters, settled.epochs)
        yield StepsRemedy(changes=changes, steps=expected, quote=quote)


@dataclass
class _Draft:
    """The settings while they are put into the backend's terms."""

    numbers: dict[str, Any]
    chosen_by: dict[str, Chooser]
    because: dict[str, str]

    def leave(self, name: str, because: str) -> None:
        """Leave a setting to the backend, unless the user gave it."""
        if self.chosen_by.get(name) != "user":
            self.numbers.pop(name, None)
            self.chosen_by[name], self.because[name] = "backend", because
