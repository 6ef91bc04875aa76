"""What a run on one's own machines can be told beyond the hyperparameters: `provider_options` of the backend local.

Checked by the backend before anything is loaded, read by the trainer as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidationError

from tuneport.errors import ConfigError, UnsupportedError
from tuneport.types import Model

_Name = Annotated[str, Field(min_length=1)]


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
    precision: Literal["bf16", "fp16", "fp32"] | None = Field(default=None, description="bf16, fp16 or fp32")
    prompt_loss_weight: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="a number from 0 to 1: what a prompt's token counts in the loss of sft (an answer's: 1)",
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
    executor: Literal["process", "ray"] = Field(
        default="process", description="process (this machine) or ray (the cluster of RAY_ADDRESS, or one of its own)"
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
