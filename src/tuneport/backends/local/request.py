"""The request of a local run, in numbers; refuses what the trainer cannot do before anything is loaded."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuneport.backends.local.memory import check_local_run_memory, find_local_model_size
from tuneport.backends.local.runs.start import LocalWarmStart, refuse_local_warm_start_base
from tuneport.data.graders.graders import Grader
from tuneport.data.rows.json_files import count_safetensors_numbers
from tuneport.errors import ConfigError, UnsupportedError
from tuneport.estimate.batching import TrainedRows
from tuneport.estimate.settling import settle_training
from tuneport.estimate.training_settings import TrainingSettings
from tuneport.installation import install_extra
from tuneport.manifests import find_manifest_model
from tuneport.methods import methods_where
from tuneport.run_protocol import RunRequest
from tuneport.sandbox.requirements import check_machine_can_confine
from tuneport.training_options import SlurmOptions, TrainingOptions, optimizer_memory
from tuneport.types import Adapter, Auto, DataFile, Hyperparameters, Method, TuneSpec

if TYPE_CHECKING:
    from tuneport.manifests import Manifest, OfferedModel, Weights
    from tuneport.settings import Settings

_LIBRARIES = ("torch", "transformers", "peft", "trl", "accelerate", "datasets")
_LORA_ONLY = ("lora_rank", "lora_alpha", "lora_dropout")
_LORA_OPTIONS = ("lora_target_modules", "lora_variant", "lora_modules_to_save")
_VIRTUAL_ONLY = ("virtual_tokens",)
_WRITING = methods_where(lambda method: method.writes_answers)
_METHOD_OPTIONS = {
    "prompt_loss_weight": methods_where(lambda method: method.traits.token_loss),
    "loss_on": methods_where(lambda method: method.traits.token_loss),
    "generations": _WRITING,
    "max_completion_length": _WRITING,
    "temperature": _WRITING,
    "run_grader_code": methods_where(lambda method: method.takes_grader),
}
_METHOD_NUMBERS = {
    "beta": methods_where(lambda method: method.has_reference),
    "eval_interval": _WRITING,
    "eval_samples": _WRITING,
    "compute_multiplier": methods_where(lambda method: method.takes_grader),
}
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
    "compute_multiplier": "num_generations",
    "eval_interval": "eval_steps",
    "eval_samples": "num_generations_eval",
}


def local_method_refusal(method: Method, adapter: Adapter) -> str | None:
    """Return why this method cannot be trained with this adapter, or None if it can. README has the same matrix."""
    if method.traits.scores and adapter.has_virtual_tokens:
        return (
            "a reward model reads its score at the last token, which PEFT does not find behind a trained "
            f"{adapter}; choose lora, qlora or full"
        )
    # Measured with PEFT 0.21 on transformers 5: the first logits of a prefix's answers are the base's own, those of a
    # prompt's answers leave the model's from the second token on, and TRL's padding comes between both and the text.
    if method.writes_answers and adapter.has_virtual_tokens:
        return (
            f"{method} learns from answers of the model as it is, and PEFT does not write them with a trained "
            f"{adapter} in front; choose lora, qlora or full"
        )
    return None


def local_hyperparameter_names(method: Method, adapter: Adapter | Auto) -> dict[str, str]:
    """Return the trainer's hyperparameters for this method and adapter, with their names in TRL and PEFT."""
    adapter = Adapter.LORA if adapter == "auto" else adapter
    if local_method_refusal(method, adapter):
        return {}
    useless = (
        *(() if adapter.has_lora else _LORA_ONLY),
        *(() if adapter.has_virtual_tokens else _VIRTUAL_ONLY),
        *(() if method.has_reference else ("beta",)),
        # Dropout would make an answer less likely when it is trained on than when it was drawn.
        *(("lora_dropout",) if method.writes_answers else ("eval_interval", "eval_samples")),
        *(() if method.takes_grader else ("compute_multiplier",)),
    )
    return {ours: theirs for ours, theirs in _WORDS.items() if ours not in useless}


@dataclass(frozen=True)
class ResolvedLocalRequest:
    """`spec` names its adapter. `recommended` has the reason for each number, `base` facts about the base model, and
    `memory` the least memory that the run needs."""

    spec: TuneSpec
    model_name_or_path: str
    hyperparameters: dict[str, Any]
    recommended: dict[str, Any]
    base: dict[str, Any]
    memory: dict[str, Any] | None


def resolve_local_request(
    spec: TuneSpec,
    training: DataFile,
    manifest: Manifest,
    settings: Settings,
    *,
    start: LocalWarmStart | None = None,
    busy: bool = False,
) -> ResolvedLocalRequest:
    """Resolve what the run needs; loads nothing heavy. Raises UnsupportedError, ConfigError or ModelNotOfferedError if
    it cannot run.

    `start` has the weights to continue from. `busy`: another run is using this machine's memory now.
    """
    from tuneport.base_models import locate_base_model
    from tuneport.manifests import load_models, resolve_manifest_model_id

    adapter, options = check_local_request(spec), TrainingOptions.parse(spec.provider_options)
    # No aliases: `submit` has applied them, and what it found may itself be spelt like an alias.
    model = resolve_manifest_model_id(spec.model, manifest)
    name_or_path = local_model_name_or_path(model)
    located = locate_base_model(name_or_path, home=settings.home)
    if start is not None:
        refuse_local_warm_start_base(start, model, name_or_path, home=settings.home)
    offered, weights = find_manifest_model(manifest, model), load_models().find(model)
    assert offered is not None  # resolve_manifest_model_id promises a row
    params_b = offered.params_b or local_billion_parameters(located.folder)
    settled = settle_local_training(spec, adapter, training.rows, manifest, offered, params_b)
    given, numbers = spec.hyperparameters, settled.hyperparameters.model_dump()
    free = given.model_copy(update={"learning_rate": "auto", "learning_rate_multiplier": "auto"})
    ours = settle_local_training(
        spec.model_copy(update={"hyperparameters": free}), adapter, training.rows, manifest, offered, params_b
    )
    memory = check_local_run_memory(
        spec.model,
        find_local_model_size(located.folder, weights.dimensions if weights else None, params_b),
        adapter,
        spec.method,
        numbers,
        optimizer=optimizer_memory(spec.provider_options),
        busy=busy,
        # Elsewhere, and where devices may share the model, the trainer looks itself.
        force=options.allow_oversize or options.executor != "process" or options.workers != 1,
    )
    spec = spec.model_copy(update={"provider_options": {**spec.provider_options, **settled.options}})
    return ResolvedLocalRequest(
        spec=spec.model_copy(update={"adapter": adapter}),
        model_name_or_path=name_or_path,
        hyperparameters=numbers,
        recommended=_explained(given, settled, ours.recommended.learning_rate),
        base=_base_facts(weights, name_or_path),
        memory=memory,
    )


def settle_local_training(
    spec: TuneSpec, adapter: Adapter, rows: int, manifest: Manifest, offered: OfferedModel, params_b: float | None
) -> TrainingSettings:
    """Settle the numbers of a run, as plan and submit do, but for the lengths: the trainer, who tokenizes, takes the
    longest example. A run that goes on from weights takes their adapter itself, and has its numbers beside it."""
    spec = spec.model_copy(update={"from_checkpoint": None})
    return settle_training(spec, manifest, offered, TrainedRows(rows), adapter=adapter, params_b=params_b)


def local_run_can_finish_early(request: RunRequest) -> bool:
    """Return whether the run can end early with its best weights; see `keeps_best_epoch`."""
    options = TrainingOptions.parse(request.options)
    return options.executor != "ray" and options.workers == 1


def local_model_name_or_path(model: str) -> str:
    """Return the folder or hub name by which `locate_base_model` finds the weights of this backend's model id."""
    from tuneport.manifests import load_models

    weights = load_models().find(model)
    return model if weights is None or weights.hub is None or Path(model).is_dir() else weights.hub


def _base_facts(weights: Weights | None, name_or_path: str) -> dict[str, Any]:
    """Return the name on the hub and the licence, if they are known."""
    hub = weights.hub if weights else (None if Path(name_or_path).is_dir() else name_or_path)
    licence = None if weights is None or weights.licence == "see the model card" else weights.licence
    return {"hub": hub, "licence": licence}


def check_local_request(spec: TuneSpec) -> Adapter:
    """Return the adapter to train. Raises UnsupportedError or ConfigError for what the trainer never does, for any
    model."""
    adapter = Adapter.LORA if spec.adapter == "auto" else spec.adapter
    options = TrainingOptions.parse(spec.provider_options)
    require_local_libraries(adapter, bitsandbytes=options.takes_bitsandbytes)
    if options.executor == "ray":
        require_local_ray()
    _refuse_unsupported(spec, adapter)
    return adapter


def _explained(given: Hyperparameters, settled: TrainingSettings, rate: float | Auto) -> dict[str, Any]:
    """Return the reason for each number, and `rate`: that before the user's own, or the user's multiplier."""
    shown = {*settled.hyperparameters.given(), *settled.options, "max_length"}
    multiplier = given.learning_rate_multiplier
    return {
        "learning_rate": rate,
        "learning_rate_multiplier": None if multiplier == "auto" else multiplier,
        "reasons": {name: why for name, why in settled.because.items() if name in shown},
    }


def require_local_libraries(adapter: Adapter = Adapter.LORA, *, bitsandbytes: bool = False) -> None:
    """Raise ConfigError, with the command to run, if the trainer's libraries are not installed."""
    wanted = [*_LIBRARIES, "bitsandbytes"] if adapter is Adapter.QLORA or bitsandbytes else _LIBRARIES
    missing = [name for name in wanted if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"training on this machine needs {', '.join(missing)}, not installed here: {install_extra('local')}"
        )


def require_local_slurm(options: SlurmOptions) -> None:
    """Raise ConfigError, with what to do, if jobs cannot be submitted to a cluster from here."""
    if importlib.util.find_spec("submitit") is None:
        raise ConfigError(f"the executor slurm needs submitit, not installed here: {install_extra('slurm')}")
    if options.cluster == "slurm" and shutil.which("sbatch") is None:
        raise ConfigError(
            "the executor slurm needs Slurm's commands, and sbatch is not on the PATH; submit on a machine of the "
            "cluster, or choose the executor process"
        )


def require_local_sandbox(spec: TuneSpec, options: TrainingOptions) -> None:
    """Raise UnsupportedError or ConfigError if a grader's code would run on this machine and cannot be confined."""
    if spec.grader is None or options.executor != "process":  # the machines of a cluster see for themselves
        return
    if Grader(spec.grader, run_code=options.run_grader_code).runs_code:
        check_machine_can_confine()


def require_local_ray() -> None:
    """Raise ConfigError, with the command to run, if Ray or what its jobs need is not installed."""
    missing = [name for name in ("ray", "aiohttp_cors", "grpc") if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(f"the executor ray needs {', '.join(missing)}, not installed here: {install_extra('ray')}")


def local_billion_parameters(folder: Path) -> float | None:
    """Count the parameters in the headers of the folder's safetensors files, or return None if there are none."""
    total = 0
    for path in folder.glob("*.safetensors") if folder.is_dir() else ():
        try:
            total += count_safetensors_numbers(path)
        except (OSError, ValueError) as error:
            raise ConfigError(f"{path} is not a readable safetensors file ({error}); fetch the model again") from error
    return total / 1e9 if total else None


def _refuse_unsupported(spec: TuneSpec, adapter: Adapter) -> None:
    options = TrainingOptions.parse(spec.provider_options)
    given = spec.hyperparameters.given()
    for name in ("early_stopping", "evaluate_every"):
        if getattr(options, name) is not None and spec.validation is None:
            raise ConfigError(
                f"the option {name} needs something to evaluate on; give a validation file, or leave it out"
            )
    if reason := local_method_refusal(spec.method, adapter):
        raise UnsupportedError(reason)
    _refuse_places(spec, options)
    if "reasoning_effort" in given:
        raise UnsupportedError(
            "the backend local takes no reasoning_effort: a local model decides how long it thinks; leave it out"
        )
    if spec.wandb is not None and importlib.util.find_spec("wandb") is None:
        raise ConfigError(f"reporting a local run to W&B needs its package: {install_extra('trackers')}")
    for name, methods in _METHOD_OPTIONS.items():
        if name in spec.provider_options and spec.method not in methods:
            raise UnsupportedError(
                f"the backend local takes the option {name} for {_either(methods)}, not for {spec.method}; leave it out"
            )
    _refuse_numbers(spec, adapter)
    if adapter is Adapter.PREFIX and options.gradient_checkpointing:
        raise UnsupportedError(
            "a prefix cannot be trained with gradient_checkpointing: what is computed again would not see it; leave it "
            "out, or lower batch_size or max_length to save memory"
        )
    targets = options.lora_target_modules
    if isinstance(targets, list) and "lm_head" in targets and not spec.method.traits.scores:
        raise UnsupportedError(
            "TRL computes the loss from lm_head's own weight, so a LoRA on it would never be trained; put it into "
            "lora_modules_to_save instead"
        )
    if adapter is Adapter.QLORA and options.lora_modules_to_save:
        raise UnsupportedError(
            "lora_modules_to_save hardly trains over a 4-bit base, because TRL trains whole weights in bf16 there; "
            "leave it out, or choose the adapter lora"
        )
    if options.generations is not None and "compute_multiplier" in given:
        raise UnsupportedError("compute_multiplier and the option generations mean the same; give one of them")
    if spec.grader is not None:
        Grader(spec.grader, run_code=options.run_grader_code)


def _refuse_places(spec: TuneSpec, options: TrainingOptions) -> None:
    method = spec.method
    if options.executor == "slurm" and options.workers != 1:
        raise UnsupportedError("a job of Slurm trains on one device; leave workers out, or choose the executor ray")
    if options.takes_bitsandbytes and options.workers != 1:
        raise UnsupportedError(
            f"the moments of {options.optimizer} cannot be sharded; leave workers out, or choose the optimizer adamw"
        )
    if method.writes_answers and options.workers != 1:
        raise UnsupportedError(f"{method} trains on one device; leave the option workers out")
    if method.writes_answers and options.executor == "ray":
        raise UnsupportedError(
            f"the grader or reward of {method} does not travel to a Ray cluster; choose the executor process"
        )
    if options.executor == "ray" and options.early_stopping is not None:
        raise UnsupportedError(
            "after the loss of a node only the newest checkpoint is back on a Ray cluster, not the best one; leave "
            "early_stopping out, or choose the executor process"
        )
    if options.executor == "ray" and spec.wandb is not None:
        raise UnsupportedError(
            "the key of W&B does not travel to a Ray cluster; leave wandb out, or choose the executor process"
        )


def _refuse_numbers(spec: TuneSpec, adapter: Adapter) -> None:
    given = spec.hyperparameters.given()
    taken = local_hyperparameter_names(spec.method, adapter).keys()
    for name, methods in _METHOD_NUMBERS.items():
        if name in given and spec.method not in methods:
            raise UnsupportedError(
                f"the backend local takes no {name} for {spec.method}; leave it out or choose the method "
                f"{_either(methods)}"
            )
    if spec.method.writes_answers and "lora_dropout" in given:
        raise UnsupportedError(
            f"the backend local takes no lora_dropout for {spec.method}: an answer must be as likely when it is "
            "trained on as when it was drawn; leave it out"
        )
    foreign = set() if adapter.has_lora else spec.provider_options.keys() & {*_LORA_OPTIONS}
    if useless := sorted([*given.keys() - taken, *foreign]):
        other = "prefix or prompt" if useless[0] in _VIRTUAL_ONLY else "lora or qlora"
        raise UnsupportedError(
            f"the backend local takes no {', '.join(useless)} for the adapter {adapter}; leave it out or choose {other}"
        )


def _either(methods: Sequence[Method]) -> str:
    *first, last = methods
    return f"{', '.join(first)} or {last}" if first else str(last)
