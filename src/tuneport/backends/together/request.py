"""Builds the arguments of the SDK's `fine_tuning.create` from a TuneSpec and `provider_options`.

Names and value types come from the SDK's own signature, values from its own checks (`create_finetune_request`), so that
neither can drift from what it would send.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from tuneport.backends.provider_options import refuse_hyperparameters, refuse_provider_job_fields
from tuneport.client_rules import (
    YES_NO,
    ClientsMaySet,
    OperatorOnly,
    Rule,
    client_choice_rule,
    client_number_rule,
    client_whole_number_rule,
)
from tuneport.errors import ConfigError, UnsupportedError
from tuneport.estimate.hyperparameters import planned_validation_passes
from tuneport.spelling import did_you_mean
from tuneport.types import Adapter, Auto, Method, RemoteFile, TuneSpec
from tuneport.validation import describe_type, first_error

if TYPE_CHECKING:
    from tuneport.settings import Settings

DEFAULT_LEARNING_RATE = 1e-5
"""What `fine_tuning.create` of the SDK (3.1.1) sends unless told otherwise, whatever the model."""

NAMES = {
    "epochs": "n_epochs",
    "batch_size": "batch_size",
    "packing": "packing",
    "learning_rate": "learning_rate",
    "warmup_ratio": "warmup_ratio",
    "weight_decay": "weight_decay",
    "max_length": "max_seq_length",
    "lora_rank": "lora_r",
    "lora_alpha": "lora_alpha",
    "lora_dropout": "lora_dropout",
    "beta": "dpo_beta",
}
"""Our hyperparameters to theirs."""

MAPPED = {theirs: ours for ours, theirs in NAMES.items() if ours != "packing"} | {
    "model": "model",
    "training_file": "dataset",
    "validation_file": "validation",
    "training_method": "method",
    "lora": "adapter",
    "suffix": "suffix",
    "random_seed": "seed",
    "from_checkpoint": "from_checkpoint",
}
"""Their arguments that a job has its own field for; packing may be either."""

WANDB = {"wandb_project_name": "project", "wandb_name": "name", "wandb_entity": "entity"}
"""The options of the job's `wandb`. A job without `wandb` may have them as options."""

SECRETS = {"wandb_api_key": "WANDB_API_KEY", "hf_api_token": "HF_TOKEN"}
"""Arguments that are keys, and the variables that they are read from when a job needs them; never stored with it."""

REFUSED = {
    "model_limits": "tuneport asks for the model's limits itself",
    "verbose": "it makes the SDK print among tuneport's own output",
}

_THEIR_WANDB = OperatorOnly("uses the operator's W&B key")
_THEIR_HUB = OperatorOnly("names weights, which are reached with the operator's key for the hub")
CLIENT_RULES: dict[str, Rule] = {
    "packing": YES_NO,
    "n_evals": client_whole_number_rule(0, 1_000),
    "n_checkpoints": client_whole_number_rule(1, 100),
    "gradient_accumulation_steps": client_whole_number_rule(1, 1_024),
    "lr_scheduler_type": client_choice_rule("linear", "cosine"),
    "min_lr_ratio": client_number_rule(0, 1),
    "scheduler_num_cycles": client_number_rule(0, 100),
    "max_grad_norm": client_number_rule(0, 1_000),
    "lora_trainable_modules": client_choice_rule("all-linear"),
    "train_vision": YES_NO,
    "early_stopping_enabled": YES_NO,
    "early_stopping_patience": client_whole_number_rule(1, 1_000),
    "early_stopping_min_delta": client_number_rule(0, 1_000),
    "early_stopping_warmup_evals": client_whole_number_rule(0, 1_000),
    "train_on_inputs": ClientsMaySet("yes_no", words=("auto",)),
    "dpo_normalize_logratios_by_length": YES_NO,
    "rpo_alpha": client_number_rule(0, 1_000),
    "simpo_gamma": client_number_rule(0, 1_000),
    "wandb_base_url": OperatorOnly("names the server that is sent the operator's W&B key", never=True),
    "wandb_project_name": _THEIR_WANDB,
    "wandb_name": _THEIR_WANDB,
    "wandb_entity": _THEIR_WANDB,
    "from_hf_model": _THEIR_HUB,
    "hf_model_revision": _THEIR_HUB,
    "hf_output_repo_name": OperatorOnly("uploads the weights with the operator's key for the hub"),
}
"""Says what of `options()` a client of a gateway may set. A new argument of the SDK is refused until it is here."""

METHODS = (Method.SFT, Method.DPO)
ADAPTERS = ("auto", Adapter.LORA, Adapter.FULL)
_LORA = ("lora_rank", "lora_alpha", "lora_dropout")


@cache
def list_together_options() -> dict[str, Any]:
    """Return the arguments of `create` that go through `provider_options`, each with its type, from the SDK's
    signature."""
    from typing import get_type_hints

    from together.resources.fine_tuning import FineTuningResource

    hints = get_type_hints(FineTuningResource.create)
    taken = {*MAPPED, *SECRETS, *REFUSED, "self", "return"}
    return {name: hint for name, hint in hints.items() if name not in taken}


def describe_together_options() -> dict[str, str]:
    """Return what each of these arguments takes, and what the SDK's own docstring says of it."""
    from together.resources.fine_tuning import FineTuningResource

    told: dict[str, str] = {}
    name = ""
    for line in (FineTuningResource.create.__doc__ or "").splitlines():
        begins = re.match(r"\s*(\w+):? \(.*?\):? (.*)", line)
        name = begins[1] if begins else name
        told[name] = begins[2] if begins else f"{told.get(name, '')} {line.strip()}"
    said = {name: told.get(name, "").partition(". ")[0].strip(" .,") for name in list_together_options()}
    hints = {name: describe_type(hint) for name, hint in list_together_options().items()}
    return {name: f"{hints[name]}{f': {said[name]}' if said[name] else ''}" for name in sorted(hints.keys() - REFUSED)}


def together_hyperparameter_names(method: Method, adapter: Adapter | Auto) -> dict[str, str]:
    """Return the hyperparameters that a job of this kind takes, with Together's names; see `FineTuneBackend`."""
    if method not in METHODS or adapter not in ADAPTERS:
        return {}
    useless = (*(_LORA if adapter is Adapter.FULL else ()), "beta" if method is Method.SFT else "packing")
    names = NAMES | {"learning_rate_multiplier": "learning_rate"}
    return {ours: theirs for ours, theirs in names.items() if ours not in useless}


def check_together_spec(backend: str, spec: TuneSpec) -> None:
    """Raise UnsupportedError or ConfigError for what `create` can never take. Sends nothing."""
    if spec.method not in METHODS:
        raise UnsupportedError(f"the backend {backend} does not train with method {spec.method}; use sft or dpo")
    if spec.adapter not in ADAPTERS:
        raise UnsupportedError(f"the backend {backend} does not train {spec.adapter} adapters; use lora, full or auto")
    _check_options(backend, spec)
    if spec.wandb is not None and spec.wandb.tags:
        raise UnsupportedError(f"the backend {backend} passes no tags on to Weights & Biases; leave wandb.tags out")
    given = spec.hyperparameters.given()
    takes = together_hyperparameter_names(spec.method, spec.adapter)
    refuse_hyperparameters(backend, given, takes, f" with method {spec.method} and adapter {spec.adapter}")
    if "packing" in given and "packing" in spec.provider_options:
        raise ConfigError("packing is given twice, as a hyperparameter and as an option; give one of them")
    if given.get("lora_alpha", 0) != int(given.get("lora_alpha", 0)):
        raise UnsupportedError(f"the backend {backend} takes whole numbers for lora_alpha; round it yourself")
    if spec.provider_options:
        files = [] if spec.validation is None else [_placeholder("validation")]
        build_together_quote_request(
            backend, build_together_job_arguments(spec, [_placeholder("training"), *files], None), _no_limits()
        )


def _check_options(backend: str, spec: TuneSpec) -> None:
    given = spec.provider_options
    refuse_provider_job_fields(backend, given, MAPPED | ({} if spec.wandb is None else dict.fromkeys(WANDB, "wandb")))
    for name in given:
        if name in SECRETS:
            raise ConfigError(
                f"provider_options.{name} would store a secret with the job; set {SECRETS[name]} in the environment "
                "instead: it is read when the job is sent"
            )
        if name in REFUSED:
            raise ConfigError(f"provider_options.{name} is refused: {REFUSED[name]}; leave it out")
    if unknown := sorted(set(given) - (set(list_together_options()) if given else set())):
        takes = sorted(list_together_options())
        hint = did_you_mean(unknown[0], takes) or f"; it takes {', '.join(takes)} (`--option help` explains them)"
        raise ConfigError(f"provider_options.{unknown[0]} is no argument of {backend}'s fine_tuning.create{hint}")
    if given:
        from pydantic import ConfigDict, TypeAdapter, ValidationError

        for name, value in given.items():
            try:
                TypeAdapter(
                    list_together_options()[name], config=ConfigDict(strict=True, allow_inf_nan=False)
                ).validate_python(value)
            except ValidationError as error:
                raise ConfigError(f"{first_error(error, f'provider_options.{name}')}; got {value!r}") from error


def build_together_job_arguments(spec: TuneSpec, files: Sequence[RemoteFile], suffix: str | None) -> dict[str, Any]:
    """Return the arguments of `create`, without keys. A checkpoint to start from replaces the model."""
    given = spec.hyperparameters.given()
    by_purpose = {file.purpose: file.id for file in files}
    start = {"model": spec.model} if spec.from_checkpoint is None else {"from_checkpoint": spec.from_checkpoint}
    arguments: dict[str, Any] = {
        "training_file": by_purpose["training"],
        **start,
        "training_method": spec.method.value,
        "lora": _lora(spec, given),
        "n_epochs": 1,
        **{NAMES[name]: value for name, value in given.items() if name in NAMES},
    }
    if "learning_rate_multiplier" in given:
        arguments["learning_rate"] = given["learning_rate_multiplier"] * DEFAULT_LEARNING_RATE
    if spec.method is Method.SFT:
        arguments["train_on_inputs"] = "auto"
    if "validation" in by_purpose:
        evaluations = planned_validation_passes(spec.provider_options, arguments["n_epochs"])
        arguments |= {"validation_file": by_purpose["validation"], "n_evals": evaluations}
    if spec.seed is not None:
        arguments["random_seed"] = spec.seed
    if suffix is not None:
        arguments["suffix"] = suffix
    if spec.wandb is not None:
        named = {theirs: getattr(spec.wandb, ours) for theirs, ours in WANDB.items()}
        arguments |= {name: value for name, value in named.items() if value is not None}
    return arguments | spec.provider_options  # of what is set above, only n_evals and train_on_inputs get so far


def _lora(spec: TuneSpec, given: Mapping[str, Any]) -> bool | None:
    """Return whether to train a LoRA. None leaves it to the checkpoint to start from; the SDK then sends no LoRA
    settings."""
    if spec.from_checkpoint is not None and spec.adapter == "auto" and not any(name in given for name in _LORA):
        return None
    return spec.adapter is not Adapter.FULL


def build_together_quote_request(backend: str, arguments: Mapping[str, Any], limits: Any) -> tuple[Any, Any, Any]:
    """Return the body that `create` would post, and its type and method as `estimate_price` takes them. Raises
    UnsupportedError if the SDK itself refuses."""
    from together.lib.resources.fine_tuning import create_finetune_request

    try:
        with silence_together_sdk(arguments):
            return create_finetune_request(model_limits=limits, **arguments)
    except ValueError as error:
        message = str(error).rstrip(".")
        raise UnsupportedError(f"{backend} cannot run this job: {message}; change that setting") from error


@contextlib.contextmanager
def silence_together_sdk(arguments: Mapping[str, Any]) -> Iterator[None]:
    """Silence the SDK: it prints remarks on `simpo_gamma` to stdout, into a command's document."""
    if arguments.get("simpo_gamma"):
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    else:
        yield


def find_together_job_secrets(backend: str, arguments: Mapping[str, Any], settings: Settings) -> dict[str, str]:
    """Return the keys that the job needs, from the environment. Raises ConfigError if a required one is missing."""
    found = {}
    for name, needed, reason in (
        ("wandb_api_key", arguments.get("wandb_project_name"), "to report to Weights & Biases"),
        ("hf_api_token", arguments.get("hf_output_repo_name"), "to write to the Hugging Face Hub"),
    ):
        secret = settings.secret(SECRETS[name])
        wanted = needed or (name == "hf_api_token" and arguments.get("from_hf_model"))  # a public one needs no token
        if needed and secret is None:
            raise ConfigError(f"{backend} needs a key {reason}: set {SECRETS[name]} in the environment or in .env")
        if wanted and secret is not None:
            found[name] = secret.get_secret_value()
    return found


def _placeholder(purpose: str) -> RemoteFile:
    return RemoteFile(id="file-unsent", purpose=purpose, sha256="", filename="", bytes=0)  # type: ignore[arg-type]


def _no_limits() -> Any:
    """Return limits that forbid nothing, for the SDK's checks that need no model."""
    from together.types.finetune_model_limits import FinetuneModelLimits, FullTraining, LoraTraining

    most = 2**62
    batch: dict[str, Any] = {"min_batch_size": 0, "max_batch_size": most, "max_batch_size_dpo": most}
    return FinetuneModelLimits.construct(
        lora_training=LoraTraining.construct(default_rank=1, max_rank=most, target_modules=[], **batch),
        full_training=FullTraining.construct(**batch),
        min_max_seq_length=0,
        max_seq_length_sft=most,
        max_seq_length_dpo=most,
        supports_vision=True,
    )
