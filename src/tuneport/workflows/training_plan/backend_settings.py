"""The same recommendation for each backend that offers the model, in its own terms."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

from tuneport.backends import training_backend_manifests
from tuneport.estimate.hyperparameters import Recommended, RecommendedOption
from tuneport.estimate.training_settings import TrainingSettings
from tuneport.manifests import Manifest, load_models
from tuneport.router import DatasetFacts, rank_backends
from tuneport.settings import Settings
from tuneport.types import TuneSpec


def planned_numbers(settled: TrainingSettings, spec: TuneSpec, longest: int | None) -> dict[str, Recommended]:
    """Return the numbers of a run with their reasons, those too that its method and adapter ignore. Where the trainer
    takes the longest example, `longest` says what that is."""
    numbers = {}
    for name, value in settled.recommended.given().items():
        if name == "max_length" and settled.chosen_by.get(name) == "backend" and longest is not None:
            value = min(value, longest)
        because = settled.because.get(name, "")
        given = settled.chosen_by.get(name) == "user"
        numbers[name] = Recommended(value, because, "user") if given else Recommended(value, because)
    multiplier = spec.hyperparameters.learning_rate_multiplier
    if multiplier != "auto":
        numbers["learning_rate_multiplier"] = Recommended(multiplier, "as given", "user")
    return numbers


def settle_training_everywhere(
    spec: TuneSpec, model: str, facts: DatasetFacts, here: TrainingSettings, settings: Settings
) -> dict[str, TrainingSettings]:
    """Return what the job would train with on each backend that offers the model, `here` for one's own machine. Opens
    no backend and needs no key."""
    asked = spec.model_copy(update={"model": model, "provider_options": {}})
    found = {}
    for manifest in training_backend_manifests(settings):
        if manifest.name == "local":
            found[manifest.name] = here
            continue
        (choice,) = rank_backends(
            asked, [manifest], today=date.today(), models=load_models(), dataset=facts, aliases=settings.aliases(model)
        )
        if choice.settings is not None and choice.settings.names:
            found[manifest.name] = choice.settings
    return found


def plan_settings_in_their_words(
    training: Mapping[str, TrainingSettings],
    options: Mapping[str, RecommendedOption],
    manifests: Mapping[str, Manifest],
) -> dict[str, dict[str, Any]]:
    """Return the settings by backend, under its own names."""
    return {
        name: settled.sent
        | {theirs: options[ours].value for ours, theirs in manifests[name].option_names.items() if ours in options}
        for name, settled in training.items()
    }
