"""What a run on one's own machines can be told beyond the hyperparameters: `provider_options` of the backend local.

Checked by the backend before anything is loaded, read by the trainer as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidationError

from tuneport.errors import ConfigError, UnsupportedError
from tuneport.types import LossOn, Model

GPU_TOKENS = 8192
"""Of a micro-batch, padding counted: enough to keep a GPU busy, little enough to fit beside a model."""

_Name = Annotated[str, Field(min_length=1)]


class SlurmOptions(Model):
    """What a run asks of a Slurm cluster: `[backends.local.options.slurm]` in `tuneport.toml`, and the option `slurm`,
    whose fields go before those."""

    model_config = ConfigDict(strict=True)

    cluster: Literal["slurm", "local"] = Field(default="slurm", description="local: processes of this machine instead")
    partition: _Name | None = None
    account: _Name | None = None
    qos: _Name | None = None
    constraint: _Name | None = None
    gpus_per_node: int = Field(default=1, ge=0, le=1, description="0 trains on the node's CPU")
    cpus_per_task: int | None = Field(default=None, ge=1)
    mem_gb: float | None = Field(default=None, gt=0)
    timeout_min: int = Field(default=720, ge=1, description="a run that needs longer goes on in a further job")
    warning_seconds: int = Field(default=90, ge=0, description="between Slurm's warning of an end and the end")
    setup: list[str] | None = Field(default=None, description="commands of the job before it trains (module load ...)")
    sbatch: dict[_Name, str | int | bool] | None = Field(default=None, description="further options of sbatch")


class TrainingOptions(Model):
    """Each field is an option; its description says what it takes, and is what a user reads who gave something else."""

    model_config = ConfigDict(strict=True)

    lora_target_modules: Literal["all-linear"] | list[_Name] | None = Field(
        default=None, min_length=1, description="a list of module names (q_proj, v_proj ...), or all-linear"
    )
    lora_variant: Literal["rslora", "dora"] | None = Field(default=None, description="rslora or dora")
    gradient_checkpointing: bool | None = Field(
        default=None, description="true or false: less memory, about a third more time"
    )
    lr_scheduler_type: Literal["cosine", "linear", "constant"] = Field(
        default="cosine", description="cosine, linear or constant: how the learning rate falls after the warm-up"
    )
    precision: Literal["bf16", "fp16", "fp32"] | None = Field(default=None, description="bf16, fp16 or fp32")
    prompt_loss_weight: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="a number from 0 to 1: what a prompt's token counts in the loss of sft (an answer's: 1)",
    )
    trust_remote_code: bool = Field(
        default=False, description="true or false: run the code that came with the base model's weights"
    )
    allow_oversize: bool = Field(
        default=False, description="true or false: try although the estimate says that memory will not do"
    )
    loss_on: LossOn = Field(
        default="assistant",
        description="of sft: assistant (every answer of weight 1), last (the last one only) or completion (what the "
        "assistant writes after the last user message)",
    )
    lora_modules_to_save: list[_Name] | None = Field(
        default=None,
        min_length=1,
        description="a list of module names (embed_tokens, lm_head ...), which are trained whole and saved, too",
    )
    generations: int | None = Field(
        default=None, ge=2, description="2 or more: answers to each question in a step of grpo, rloo or rft"
    )
    max_completion_length: int = Field(
        default=512, ge=1, description="1 or more: tokens of an answer in grpo, rloo and rft, after which it is cut off"
    )
    temperature: float = Field(
        default=1.0, gt=0, description="above 0: of the answers in grpo, rloo and rft; 1 is the model as it is"
    )
    run_grader_code: bool = Field(
        default=False,
        description="true or false: rft's python graders run as your own code on this machine, with no sandbox",
    )
    average_weights: bool = Field(
        default=False, description="true or false: save the mean of the weights over about the last sixth of the steps"
    )
    workers: Literal["auto"] | Annotated[int, Field(ge=1)] = Field(
        default=1, description="a number of devices to train on at once, 1 or more, or auto: all that there are"
    )
    sharding: Literal["auto", "ddp", "fsdp"] = Field(
        default="auto",
        description="ddp (each device has the whole model), fsdp (each a share of it), or auto: what fits",
    )
    executor: Literal["process", "slurm", "ray"] = Field(
        default="process",
        description="process (on this machine), slurm (as jobs of a Slurm cluster) or ray (on the cluster of "
        "RAY_ADDRESS, or one of its own)",
    )
    slurm: SlurmOptions | None = Field(
        default=None, description=f"an object of what sbatch is asked for: {', '.join(SlurmOptions.model_fields)}"
    )
    evaluate_every: int | None = Field(
        default=None, ge=1, description="a number of steps between evaluations on the validation file (else each epoch)"
    )
    save_every: int | None = Field(
        default=None, ge=1, description="a number of steps between checkpoints (else each epoch, and every few minutes)"
    )
    early_stopping: int | None = Field(
        default=None,
        ge=1,
        description="a number of evaluations: stop after as many without a better validation loss, and keep the best",
    )

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> TrainingOptions:
        """UnsupportedError for an option that there is not, ConfigError for a value that an option does not take."""
        fields = cls.model_fields
        if unknown := sorted(given.keys() - fields.keys()):
            known = "; ".join(f"{name}: {field.description}" for name, field in fields.items())
            raise UnsupportedError(f"the backend local does not take the option {', '.join(unknown)}; it takes {known}")
        try:
            return cls.model_validate(dict(given))
        except ValidationError as error:
            name = str(error.errors()[0]["loc"][0])
            message = f"provider_options.{name} is {given[name]!r}; it must be {fields[name].description}"
            raise ConfigError(message) from error
