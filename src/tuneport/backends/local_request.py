"""What a local run is asked to do, in numbers; refuses what the trainer cannot do before anything is loaded."""

from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuneport.errors import ConfigError, UnsupportedError
from tuneport.estimate.hyperparameters import PREFERENCE_METHODS, recommend, resolve
from tuneport.training_options import TrainingOptions
from tuneport.types import Adapter, Auto, DataFile, Hyperparameters, Method, TuneSpec

if TYPE_CHECKING:
    from tuneport.manifests import Manifest
    from tuneport.settings import Settings

_LIBRARIES = ("torch", "transformers", "peft", "trl", "accelerate", "datasets")
_LORA_ONLY = ("lora_rank", "lora_alpha", "lora_dropout")
_LORA_OPTIONS = ("lora_target_modules", "lora_variant")
_VIRTUAL_ONLY = ("virtual_tokens",)
_RFT_ONLY = ("compute_multiplier", "eval_interval", "eval_samples", "reasoning_effort")
_WORDS = {
    "epochs": "num_train_epochs",
    "batch_size": "per_device_train_batch_size x gradient_accumulation_steps",
    "learning_rate": "learning_rate",
    "learning_rate_multiplier": "learning_rate",
    "warmup_ratio": "warmup_steps",
    "weight_decay": "weight_decay",
    "max_length": "max_length",
    "lora_rank": "r",
    "lora_alpha": "lora_alpha",
    "lora_dropout": "lora_dropout",
    "virtual_tokens": "num_virtual_tokens",
    "beta": "beta",
}


def words(method: Method, adapter: Adapter | Auto) -> dict[str, str]:
    """Our hyperparameters that the trainer takes for such a run, as TRL and PEFT call them; see `FineTuneBackend`."""
    adapter = Adapter.LORA if adapter == "auto" else adapter
    if method is Method.RFT or (method is Method.REWARD and adapter.has_virtual_tokens):
        return {}
    useless = (
        *(() if adapter.has_lora else _LORA_ONLY),
        *(() if adapter.has_virtual_tokens else _VIRTUAL_ONLY),
        *(() if method in PREFERENCE_METHODS else ("beta",)),
    )
    return {ours: theirs for ours, theirs in _WORDS.items() if ours not in useless}


@dataclass(frozen=True)
class ResolvedRequest:
    """`spec` names its adapter. `recommended` tells, for each number, why it is what it is."""

    spec: TuneSpec
    model_name_or_path: str
    hyperparameters: dict[str, Any]
    recommended: dict[str, Any]


def resolve_request(spec: TuneSpec, training: DataFile, manifest: Manifest, settings: Settings) -> ResolvedRequest:
    """UnsupportedError, ConfigError or ModelNotOfferedError for what cannot run; loads nothing heavy."""
    from tuneport.base_models import locate
    from tuneport.manifests import load_models, resolve_model

    adapter = check_request(spec)
    model = resolve_model(spec.model, manifest.name, manifest, load_models())
    name_or_path = model_name_or_path(model)
    located = locate(name_or_path, home=settings.home)
    offered = manifest.offered(model)
    known: dict[str, Any] = {
        "rows": training.rows,
        "params_b": (offered.params_b if offered else None) or billions_of_parameters(Path(str(located))),
        "adapter": adapter,
        "method": spec.method,
        "context": offered.context if offered else None,
    }
    given = spec.hyperparameters
    numbers = resolve(given, **known).model_dump()
    if given.max_length == "auto":
        numbers["max_length"] = "auto"  # the trainer, who tokenizes, takes the longest example
    for name in numbers.keys() - words(spec.method, adapter).keys():
        numbers[name] = "auto"
    return ResolvedRequest(
        spec=spec.model_copy(update={"adapter": adapter}),
        model_name_or_path=name_or_path,
        hyperparameters=numbers,
        recommended=_explained(given, known, numbers),
    )


def model_name_or_path(model: str) -> str:
    """What `base_models.locate` finds the weights of this backend's model id by: a folder, or the hub's name."""
    from tuneport.manifests import load_models

    weights = load_models().find(model)
    return model if weights is None or weights.hub is None or Path(model).is_dir() else weights.hub


def check_request(spec: TuneSpec) -> Adapter:
    """The adapter to train. UnsupportedError or ConfigError for what the trainer never does, whatever the model."""
    adapter = Adapter.LORA if spec.adapter == "auto" else spec.adapter
    require_libraries(adapter)
    if TrainingOptions.of(spec.provider_options).executor == "ray":
        require_ray()
    _refuse_unsupported(spec, adapter)
    return adapter


def _explained(given: Hyperparameters, known: Mapping[str, Any], numbers: Mapping[str, Any]) -> dict[str, Any]:
    reasons = {name: row.because for name, row in recommend(given, **known).items() if numbers.get(name) != "auto"}
    free = given.model_copy(update={"learning_rate": "auto", "learning_rate_multiplier": "auto"})
    rate = recommend(free, **known)["learning_rate"].value
    return {
        "learning_rate": rate,
        "learning_rate_multiplier": None
        if given.learning_rate_multiplier == "auto"
        else given.learning_rate_multiplier,
        "reasons": reasons,
    }


def require_libraries(adapter: Adapter = Adapter.LORA) -> None:
    """ConfigError, with the line to type, where the trainer's libraries are not installed."""
    wanted = [*_LIBRARIES, "bitsandbytes"] if adapter is Adapter.QLORA else _LIBRARIES
    missing = [name for name in wanted if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"training on this machine needs {', '.join(missing)}, not installed here: pip install 'tuneport[local]'"
        )


def require_ray() -> None:
    """ConfigError, with the line to type, where Ray or what its jobs need is not installed."""
    missing = [name for name in ("ray", "aiohttp_cors", "grpc") if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"the executor ray needs {', '.join(missing)}, not installed here: pip install 'tuneport[ray]'"
        )


def billions_of_parameters(folder: Path) -> float | None:
    """Counted in the headers of the folder's safetensors files; None where there are none."""
    total = 0
    for path in folder.glob("*.safetensors") if folder.is_dir() else ():
        try:
            with path.open("rb") as file:
                header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
            total += sum(math.prod(row["shape"]) for name, row in header.items() if name != "__metadata__")
        except (OSError, ValueError, KeyError, MemoryError) as error:
            raise ConfigError(f"{path} is no readable safetensors file ({error}); fetch the model again") from error
    return total / 1e9 if total else None


def _refuse_unsupported(spec: TuneSpec, adapter: Adapter) -> None:
    options = TrainingOptions.of(spec.provider_options)
    given = spec.hyperparameters.given()
    if spec.method is Method.RFT:
        raise UnsupportedError(
            "the backend local does not train with a grader; choose the method sft, dpo, kto or reward"
        )
    if foreign := sorted(given.keys() & set(_RFT_ONLY)):
        raise UnsupportedError(f"the backend local takes no {', '.join(foreign)}: they belong to the method rft")
    for name in ("from_checkpoint", "wandb"):
        if getattr(spec, name) is not None:
            raise UnsupportedError(f"the backend local does not take {name} yet; leave it out")
    if spec.method not in PREFERENCE_METHODS and "beta" in given:
        raise UnsupportedError(
            f"the backend local takes no beta for {spec.method}; leave it out or choose the method dpo or kto"
        )
    if spec.method is Method.REWARD and adapter.has_virtual_tokens:
        raise UnsupportedError(
            "a reward model reads its score at the last token, which PEFT does not find behind a trained "
            f"{adapter}; choose lora, qlora or full"
        )
    foreign_options = set() if adapter.has_lora else spec.provider_options.keys() & {*_LORA_OPTIONS}
    useless = [*given.keys() - words(spec.method, adapter).keys(), *foreign_options]
    if useless := sorted(useless):
        other = "prefix or prompt" if useless[0] in _VIRTUAL_ONLY else "lora or qlora"
        raise UnsupportedError(
            f"the backend local takes no {', '.join(useless)} for the adapter {adapter}; leave it out or choose {other}"
        )
    if adapter is Adapter.PREFIX and options.gradient_checkpointing:
        raise UnsupportedError(
            "a prefix cannot be trained with gradient_checkpointing: what is computed again would not see it; leave it "
            "out, or lower batch_size or max_length to save memory"
        )
