"""What each backend would be told for the recommended numbers and options, in its own words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tuneport.backends import backend_names, open_backend
from tuneport.errors import TuneportError
from tuneport.estimate.hyperparameters import Recommended, RecommendedOption
from tuneport.settings import Settings
from tuneport.types import Adapter, Auto, Method

OPTIONS = {
    "local": {"lr_scheduler_type": "lr_scheduler_type", "lora_target_modules": "lora_target_modules"},
    "together": {"lr_scheduler_type": "lr_scheduler_type", "lora_target_modules": "lora_trainable_modules"},
}
"""Of each backend that has such options (`--option`), ours and theirs; what a batch is made of is the trainer's own
affair everywhere."""


def that_matter(
    numbers: Mapping[str, Recommended], method: Method, adapter: Adapter, settings: Settings
) -> dict[str, Recommended]:
    """Without the numbers that this method and adapter do not have."""
    try:
        words = open_backend("local", settings).words(method, adapter)
    except TuneportError:  # its packages are not installed here; the plan may be for another machine
        return dict(numbers)
    return {name: row for name, row in numbers.items() if name in words}


def knobs(
    numbers: Mapping[str, Recommended],
    options: Mapping[str, RecommendedOption],
    method: Method,
    adapter: Adapter | Auto,
    settings: Settings,
) -> dict[str, dict[str, Any]]:
    """By backend; a rate is told as a multiplier where that is its word."""
    found: dict[str, dict[str, Any]] = {}
    for name in backend_names(settings):
        try:
            backend = open_backend(name, settings)
            words = backend.words(method, adapter)
        except TuneportError:
            continue  # its package is not installed, or it is not configured: nothing to tell it yet
        told: dict[str, Any] = {theirs: numbers[ours].value for ours, theirs in words.items() if ours in numbers}
        if "learning_rate_multiplier" in words and "learning_rate" not in words:
            multiplier = numbers.get("learning_rate_multiplier")
            told[words["learning_rate_multiplier"]] = 1.0 if multiplier is None else multiplier.value
        if told:
            kind = backend.manifest.backend.partition(":")[0].rpartition(".")[2]
            theirs_of = OPTIONS.get(kind, {})
            found[name] = told | {theirs_of[ours]: row.value for ours, row in options.items() if ours in theirs_of}
    return found
