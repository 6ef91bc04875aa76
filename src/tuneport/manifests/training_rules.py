"""Rules by which a provider trains: the words of its hyperparameters, what its batch counts, its own defaults.

The router cannot import backends, so the names stand here as data; `FineTuneBackend.hyperparameter_names` says the same
in code, and a test holds both together.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from tuneport.types import Adapter, Method, Model

_LORA_ONLY = ("lora_rank", "lora_alpha", "lora_dropout")
_VIRTUAL_ONLY = ("virtual_tokens",)


class PackingRule(Model):
    """Several examples share one sequence, for these methods. `default`: also where nothing is said."""

    default: bool
    methods: tuple[Method, ...]
    source: str


class OwnMultiplier(Model):
    """The multipliers, from `low` to `high`, that a provider picks by itself: what a job shows that named none."""

    low: float
    high: float
    source: str

    def times_own(self, multiplier: float) -> float:
        """Return how many times the provider's own pick a multiplier is: 1 if it may be that pick itself."""
        return min(1.0, multiplier / self.low) if multiplier < self.high else multiplier / self.high


class TrainingRules(Model):
    """Rules of one provider. Without `names` nothing is known: hyperparameters go there as they were given.

    `rate`: it takes an absolute learning rate, or a multiplier of one that it does not publish. `batch_of`: what its
    batch size counts. `length`: `longest` if it finds the longest example itself. `own_settings`: what it takes where
    nothing is sent (epochs may be `openai`, the cookbook's rule; batch_size `max`, the model's largest).
    `own_multiplier`: those that it picks itself where its rate is a multiplier.
    `keeps_best_epoch`: with a validation file, a run whose epochs are auto keeps its best one. `offers_auto`: its API
    defines `auto`, which a program of its own relies on.
    """

    rate: Literal["absolute", "multiplier"] = "absolute"
    batch_of: Literal["examples", "sequences", "unknown"] = "examples"
    length: Literal["recommended", "longest"] = "recommended"
    packing: PackingRule | None = None
    keeps_best_epoch: bool = False
    offers_auto: bool = False
    own_settings: dict[str, int | float | str] = Field(default_factory=dict)
    own_multiplier: OwnMultiplier | None = None
    names: dict[str, str] = Field(default_factory=dict, description="hyperparameters: our name = its name")
    only_for: dict[str, tuple[Method, ...]] = Field(
        default_factory=dict, description="hyperparameters of some methods only: our name = methods"
    )
    source: str | None = None

    @model_validator(mode="after")
    def _consistent(self) -> TrainingRules:
        if self.names and self.source is None:
            raise ValueError("training needs source")
        if unknown := sorted(self.only_for.keys() - self.names.keys()):
            raise ValueError(f"only_for has {unknown[0]}, which has no name in names")
        return self

    def sourced(self, source: str) -> TrainingRules:
        """Return the same rules with another source, for a server that speaks this provider's wire format."""
        packing = None if self.packing is None else self.packing.model_copy(update={"source": source})
        own = None if self.own_multiplier is None else self.own_multiplier.model_copy(update={"source": source})
        return self.model_copy(update={"source": source, "packing": packing, "own_multiplier": own})

    def names_for(self, method: Method, adapter: Adapter) -> dict[str, str]:
        """Return the hyperparameters that such a job takes, with the provider's names."""
        useless = (*(() if adapter.has_lora else _LORA_ONLY), *(() if adapter.has_virtual_tokens else _VIRTUAL_ONLY))
        return {
            ours: theirs
            for ours, theirs in self.names.items()
            if ours not in useless and method in self.only_for.get(ours, tuple(Method))
        }


def read_former_epochs(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a manifest's fields with `auto_epochs`, an earlier key, as what it now is: `training.own_settings.epochs`.

    The key goes with the next release.
    """
    fields = dict(values)
    epochs = fields.pop("auto_epochs", None)
    if epochs is None:
        return fields
    warnings.warn(
        "a manifest's auto_epochs is now epochs in [training] own_settings; the old key goes with the next release",
        DeprecationWarning,
        stacklevel=2,
    )
    if epochs != "tuneport":
        fields.setdefault("training", {"own_settings": {"epochs": epochs}})
    return fields
