"""Options of a run on your own machines, beyond the hyperparameters: `provider_options` of the backend local.

Checked by the backend before anything is loaded, read by the trainer as they are. Each field says whether a client of
the gateway may set it, and to what (`client_rules`); tests/attacks/gateway/ walks them all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidationError

from tuneport.client_rules import (
    YES_NO,
    OperatorOnly,
    Rule,
    client_choice_rule,
    client_module_names_rule,
    client_number_rule,
    client_rules_of_fields,
    client_whole_number_rule,
)
from tuneport.errors import ConfigError, UnsupportedError
from tuneport.spelling import did_you_mean
from tuneport.types import Adapter, LossOn, Method, Model

OptimizerMemory = Literal["adamw_fused", "adamw_8bit", "paged_adamw_8bit"]
"""How estimates of memory name the optimizers that a local run can have."""

GPU_TOKENS = 8192
"""Of a micro-batch, padding counted: enough to keep a GPU busy, little enough to fit beside a model."""

CHECKPOINTING_FROM_PARAMETERS = 1_000_000_000
"""Below it, activations of a usual batch fit beside the weights, and recomputing them costs a third more time."""

_Name = Annotated[str, Field(min_length=1)]
_PLACES = OperatorOnly("chooses the machines on which jobs run")
_SHELL = OperatorOnly("runs shell commands on the machines that train")


class SlurmOptions(Model):
    """The request to a Slurm cluster: `[backends.local.options.slurm]` in `tuneport.toml`, and the option `slurm`,
    whose fields go before those."""

    model_config = ConfigDict(strict=True)

    cluster: Annotated[Literal["slurm", "local"], _PLACES] = Field(
        default="slurm", description="local: processes of this machine instead"
    )
    partition: Annotated[_Name | None, _PLACES] = None
    account: Annotated[_Name | None, _PLACES] = None
    qos: Annotated[_Name | None, _PLACES] = None
    constraint: Annotated[_Name | None, _PLACES] = None
    gpus_per_node: Annotated[int, _PLACES] = Field(default=1, ge=0, le=1, description="0 trains on the node's CPU")
    cpus_per_task: Annotated[int | None, _PLACES] = Field(default=None, ge=1)
    mem_gb: Annotated[float | None, _PLACES] = Field(default=None, gt=0)
    timeout_min: Annotated[int, _PLACES] = Field(
        default=720, ge=1, description="a longer run continues in a further job"
    )
    warning_seconds: Annotated[int, _PLACES] = Field(
        default=90, ge=0, description="between Slurm's warning of an end and the end"
    )
    setup: Annotated[list[str] | None, _SHELL] = Field(
        default=None, description="commands of the job before it trains (module load ...)"
    )
    sbatch: Annotated[dict[_Name, str | int | bool] | None, _SHELL] = Field(
        default=None, description="further options of sbatch"
    )


class TrainingOptions(Model):
    """Each field is an option; its description says what it takes, and is what a user reads who gave something else."""

    model_config = ConfigDict(strict=True)

    lora_target_modules: Annotated[
        Literal["all-linear"] | list[_Name] | None, client_module_names_rule("all-linear")
    ] = Field(default=None, min_length=1, description="a list of module names (q_proj, v_proj ...), or all-linear")
    lora_variant: Annotated[Literal["rslora", "dora"] | None, client_choice_rule("rslora", "dora")] = Field(
        default=None, description="rslora or dora"
    )
    gradient_checkpointing: Annotated[bool | None, YES_NO] = Field(
        default=None, description="true or false: less memory, about a third more time"
    )
    lr_scheduler_type: Annotated[
        Literal["cosine", "linear", "constant"], client_choice_rule("cosine", "linear", "constant")
    ] = Field(default="cosine", description="cosine, linear or constant: how the learning rate falls after the warm-up")
    precision: Annotated[Literal["bf16", "fp16", "fp32"] | None, client_choice_rule("bf16", "fp16", "fp32")] = Field(
        default=None, description="bf16, fp16 or fp32"
    )
    prompt_loss_weight: Annotated[float, client_number_rule(0, 1)] = Field(
        default=0.0,
        ge=0,
        le=1,
        description="a number from 0 to 1: what a prompt's token counts in the loss of sft (an answer's: 1)",
    )
    trust_remote_code: Annotated[bool, OperatorOnly("runs code that came with a model", never=True)] = Field(
        default=False, description="true or false: run the code that came with the base model's weights"
    )
    allow_oversize: Annotated[bool, OperatorOnly("lets a job take more memory than this machine has")] = Field(
        default=False, description="true or false: try although the estimate says that memory will not be enough"
    )
    loss_on: Annotated[LossOn, client_choice_rule("assistant", "last", "completion")] = Field(
        default="assistant",
        description="the answers that sft trains on: assistant (every answer of weight 1), last (the last one only) or "
        "completion (the assistant's answer to the last user message)",
    )
    lora_modules_to_save: Annotated[
        list[_Name] | None, OperatorOnly("takes memory that the estimate does not count")
    ] = Field(
        default=None,
        min_length=1,
        description="a list of module names (embed_tokens, lm_head ...), which are trained whole and saved, too",
    )
    generations: Annotated[int | None, client_whole_number_rule(2, 64)] = Field(
        default=None, ge=2, description="2 or more: answers to each question in a step of grpo, rloo or rft"
    )
    max_completion_length: Annotated[int, client_whole_number_rule(1, 16_384)] = Field(
        default=512, ge=1, description="1 or more: tokens of an answer in grpo, rloo and rft, after which it is cut off"
    )
    temperature: Annotated[float, client_number_rule(0, 2, above=True)] = Field(
        default=1.0, gt=0, description="above 0: of the answers in grpo, rloo and rft; 1 is the model as it is"
    )
    run_grader_code: Annotated[
        bool, OperatorOnly("lets code of a grader run here, which python_graders does for clients", never=True)
    ] = Field(
        default=False,
        description="true or false: rft's python graders may run on this machine, in a sandbox (no files, no network)",
    )
    optimizer: Annotated[
        Literal["adamw", "adamw_8bit", "paged_adamw_8bit"],
        client_choice_rule("adamw", "adamw_8bit", "paged_adamw_8bit"),
    ] = Field(
        default="adamw",
        description="adamw, adamw_8bit (2 bytes of moments for each trained number, not 8) or paged_adamw_8bit (which "
        "leave a full NVIDIA GPU for main memory)",
    )
    average_weights: Annotated[bool, YES_NO] = Field(
        default=False, description="true or false: save the mean of the weights over about the last sixth of the steps"
    )
    workers: Annotated[Literal["auto"] | Annotated[int, Field(ge=1)], _PLACES] = Field(
        default=1, description="a number of devices to train on at once, 1 or more, or auto: all that there are"
    )
    sharding: Annotated[Literal["auto", "ddp", "fsdp"], _PLACES] = Field(
        default="auto",
        description="ddp (each device has the whole model), fsdp (each a share of it), or auto: what fits",
    )
    executor: Annotated[Literal["process", "slurm", "ray"], _PLACES] = Field(
        default="process",
        description="process (on this machine), slurm (as jobs of a Slurm cluster) or ray (on the cluster of "
        "RAY_ADDRESS, or one of its own)",
    )
    slurm: Annotated[SlurmOptions | None, _PLACES] = Field(
        default=None, description=f"an object of what sbatch is asked for: {', '.join(SlurmOptions.model_fields)}"
    )
    evaluate_every: Annotated[int | None, client_whole_number_rule(1, 1_000_000)] = Field(
        default=None, ge=1, description="a number of steps between evaluations on the validation file (else each epoch)"
    )
    save_every: Annotated[int | None, client_whole_number_rule(1, 1_000_000)] = Field(
        default=None, ge=1, description="a number of steps between checkpoints (else each epoch, and every few minutes)"
    )
    early_stopping: Annotated[int | None, client_whole_number_rule(1, 1_000)] = Field(
        default=None,
        ge=1,
        description="a number of evaluations: stop after as many without a better validation loss, and keep the best",
    )

    @property
    def takes_bitsandbytes(self) -> bool:
        """Return whether the optimizer is one of bitsandbytes'."""
        return self.optimizer != "adamw"

    @classmethod
    def describe(cls) -> dict[str, str]:
        """Return what each option takes, by name, and its default if it has one."""
        return {
            name: f"{field.description}{'' if field.default in (None, False) else f' (default: {field.default})'}"
            for name, field in cls.model_fields.items()
        }

    @classmethod
    def client_rules(cls) -> dict[str, Rule]:
        """Return the rules for clients of the gateway, by the option's name: `slurm.setup` is inside `slurm`."""
        return client_rules_of_fields(cls.model_fields) | client_rules_of_fields(SlurmOptions.model_fields, "slurm.")

    @classmethod
    def parse(cls, given: Mapping[str, Any]) -> TrainingOptions:
        """Parse the options. Raises UnsupportedError for an unknown option, ConfigError for a value that an option does
        not take."""
        fields = cls.model_fields
        if unknown := sorted(given.keys() - fields.keys()):
            hint = did_you_mean(unknown[0], fields) or f"; it takes {', '.join(fields)} (`--option help` explains them)"
            raise UnsupportedError(f"the backend local does not take the option {unknown[0]}{hint}")
        try:
            return cls.model_validate(dict(given))
        except ValidationError as error:
            name = str(error.errors()[0]["loc"][0])
            message = f"provider_options.{name} is {given[name]!r}; it must be {fields[name].description}"
            raise ConfigError(message) from error

    def checkpoints_activations(self, adapter: Adapter, parameters: float) -> bool:
        """Return whether activations are recomputed rather than kept, for a model of so many parameters."""
        if self.gradient_checkpointing is not None:
            return self.gradient_checkpointing
        return adapter is not Adapter.PREFIX and parameters >= CHECKPOINTING_FROM_PARAMETERS


def micro_batch_rows(
    method: Method, batch_size: int, longest: int, *, tokens: int = GPU_TOKENS, most: int | None = None
) -> int:
    """Return how many rows of texts of up to `longest` tokens go through a model at once: a divisor of the batch.

    `tokens` are those that keep the device busy, padding counted; `most` is a further limit in rows.
    """
    fitting = tokens // (method.traits.texts * longest)
    return largest_divisor(
        batch_size, fitting if most is None else min(fitting, most), at_least=method.traits.least_rows
    )


def largest_divisor(batch_size: int, limit: int | None, *, at_least: int = 1) -> int:
    """Return the most rows, up to `limit`, that a batch divides into without a rest; `at_least` wins over the limit."""
    if limit is None:
        return batch_size
    return max(n for n in range(1, batch_size + 1) if batch_size % n == 0 and (n <= limit or n <= at_least))


def optimizer_memory(provider_options: Mapping[str, Any]) -> OptimizerMemory:
    """Return the optimizer of a local run with these options, by the name that estimates of memory have for it."""
    match provider_options.get("optimizer"):
        case "adamw_8bit":
            return "adamw_8bit"
        case "paged_adamw_8bit":
            return "paged_adamw_8bit"
    return "adamw_fused"
