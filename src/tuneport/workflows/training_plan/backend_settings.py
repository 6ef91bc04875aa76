"""The settings of each backend for the recommended numbers and options, under its own names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tuneport.backends import backend_names, open_backend
from tuneport.errors import ModelNotOfferedError, TuneportError
from tuneport.estimate.hyperparameters import Recommended, RecommendedOption
from tuneport.manifests import load_models, resolve_manifest_model
from tuneport.settings import Settings
from tuneport.types import Adapter, Auto, Method


def applicable_plan_settings(
    numbers: Mapping[str, Recommended], method: Method, adapter: Adapter, settings: Settings
) -> dict[str, Recommended]:
    """Return the recommendations without the numbers that this method and adapter do not have."""
    try:
        words = open_backend("local", settings).hyperparameter_names(method, adapter)
    except TuneportError:  # its packages are not installed here; the plan may be for another machine
        return dict(numbers)
    return {name: row for name, row in numbers.items() if name in words}


def plan_settings_by_backend(
    numbers: Mapping[str, Recommended],
    options: Mapping[str, RecommendedOption],
    method: Method,
    adapter: Adapter | Auto,
    settings: Settings,
) -> dict[str, dict[str, Any]]:
    """Return the settings by backend; a rate becomes a multiplier if the backend takes one."""
    found: dict[str, dict[str, Any]] = {}
    for name in backend_names(settings):
        try:
            backend = open_backend(name, settings)
            words = backend.hyperparameter_names(method, adapter)
        except TuneportError:
            continue  # its package is not installed, or it is not configured: nothing to tell it yet
        told: dict[str, Any] = {theirs: numbers[ours].value for ours, theirs in words.items() if ours in numbers}
        if "learning_rate_multiplier" in words and "learning_rate" not in words:
            multiplier = numbers.get("learning_rate_multiplier")
            told[words["learning_rate_multiplier"]] = 1.0 if multiplier is None else multiplier.value
        if told:
            theirs_of = backend.manifest.option_names
            found[name] = told | {theirs_of[ours]: row.value for ours, row in options.items() if ours in theirs_of}
    return found


def backends_offering(model: str, names: Iterable[str], settings: Settings) -> list[str]:
    """Return which of the backends offer the model, in their order."""
    found = []
    for name in names:
        try:
            resolve_manifest_model(
                model, name, open_backend(name, settings).manifest, load_models(), settings.aliases(model)
            )
        except ModelNotOfferedError:
            continue
        found.append(name)
    return found
