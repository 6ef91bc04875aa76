"""Training that goes on from the weights of an earlier run: whether it can, and with which numbers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuneport.base_models import locate_base_model
from tuneport.errors import ConfigError, UnsupportedError
from tuneport.run_protocol import RunRequest
from tuneport.types import Adapter, Method, TuneSpec
from tuneport.validation import read_json_object

_IN_CONFIG = {"lora_rank": "r", "lora_alpha": "lora_alpha", "lora_dropout": "lora_dropout"}
_IN_CONFIG_VIRTUAL = {"virtual_tokens": "num_virtual_tokens"}
_SHAPE_OPTIONS = ("lora_variant", "lora_target_modules")


@dataclass(frozen=True)
class LocalWarmStart:
    """`name` is what the user called it, `request` the earlier run's, `weights` a folder with its adapter or model."""

    name: str
    request: RunRequest
    weights: Path

    @property
    def adapter(self) -> Adapter:
        said = self.request.spec.get("adapter", "auto")
        return Adapter.LORA if said == "auto" else Adapter(said)


def apply_local_warm_start(spec: TuneSpec, start: LocalWarmStart) -> TuneSpec:
    """Return `spec` with the adapter and its numbers from `start`. Raises UnsupportedError if it asks for others."""
    refuse = f"training cannot continue from {start.name}"
    if spec.adapter not in ("auto", start.adapter):
        raise UnsupportedError(
            f"{refuse} with the adapter {spec.adapter}: it is {start.adapter}; leave the adapter out, or "
            "train from the base model"
        )
    before = Method(start.request.spec.get("method", "sft"))
    if before.traits.scores is not spec.method.traits.scores:
        raise UnsupportedError(
            f"{refuse} with the method {spec.method}: it was trained with {before}, and only one of the two "
            "trains a reward model; train from the base model"
        )
    options = start.request.options
    for name in _SHAPE_OPTIONS:
        if name in spec.provider_options and spec.provider_options[name] != options.get(name):
            raise UnsupportedError(
                f"{refuse} with {name} {spec.provider_options[name]}: it has {options.get(name) or 'none'}; leave it "
                "out, or train from the base model"
            )
    numbers = spec.hyperparameters.given()
    for name, value in _numbers(start).items():
        if name in numbers and numbers[name] != value:
            raise UnsupportedError(
                f"{refuse} with {name} {numbers[name]:g}: its adapter has {value:g}; leave it out, or train "
                "from the base model"
            )
        numbers[name] = value
    hyperparameters = spec.hyperparameters.model_validate(numbers)
    return spec.model_copy(update={"adapter": start.adapter, "hyperparameters": hyperparameters})


def refuse_local_warm_start_base(start: LocalWarmStart, model: str, name_or_path: str, *, home: Path) -> None:
    """Raise UnsupportedError if the run's base weights differ from those that `start` was trained over."""
    theirs = start.request.model_name_or_path
    if theirs == name_or_path:
        return
    try:
        same = (
            locate_base_model(theirs, home=home, download=False).folder
            == locate_base_model(name_or_path, home=home).folder
        )
    except ConfigError:
        same = False
    if not same:
        raise UnsupportedError(
            f"{start.name} was trained over {start.request.model} and cannot continue over {model}; submit with "
            f"--model {start.request.model}"
        )


def _numbers(start: LocalWarmStart) -> dict[str, Any]:
    """Return the hyperparameters that an adapter has for good."""
    if start.adapter is Adapter.FULL:
        return {}
    path = start.weights / "adapter_config.json"
    try:
        config = read_json_object(path)
        names = _IN_CONFIG if start.adapter.has_lora else _IN_CONFIG_VIRTUAL
        return {ours: config[theirs] for ours, theirs in names.items()}
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(f"{path} of {start.name} cannot be read ({error}); train it again") from error
