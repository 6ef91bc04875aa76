"""Fine-tuning jobs, their events and checkpoints."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from tuneport.serve.wire.base import Auto, Integer, Metadata, RequestModel, ResponseModel, is_unset_request_field
from tuneport.serve.wire.graders import Grader

Epochs = Auto | Annotated[Integer, Field(ge=1, le=50)]
BatchSize = Auto | Annotated[Integer, Field(ge=1, le=256)]
Multiplier = Auto | Annotated[float, Field(gt=0)]


class SupervisedHyperparameters(RequestModel):
    n_epochs: Epochs | None = None
    batch_size: BatchSize | None = None
    learning_rate_multiplier: Multiplier | None = None


class DPOHyperparameters(SupervisedHyperparameters):
    beta: Auto | Annotated[float, Field(gt=0, le=2)] | None = None


class ReinforcementHyperparameters(SupervisedHyperparameters):
    reasoning_effort: Literal["default", "low", "medium", "high"] | None = None
    compute_multiplier: Auto | Annotated[float, Field(gt=0.00001, le=10)] | None = None
    eval_interval: Auto | Annotated[Integer, Field(ge=1)] | None = None
    eval_samples: Auto | Annotated[Integer, Field(ge=1)] | None = None


class SupervisedMethod(RequestModel):
    hyperparameters: SupervisedHyperparameters | None = None


class DPOMethod(RequestModel):
    hyperparameters: DPOHyperparameters | None = None


class ReinforcementMethod(RequestModel):
    grader: Grader
    hyperparameters: ReinforcementHyperparameters | None = None


class MethodAsked(RequestModel):
    type: Literal["supervised", "dpo", "reinforcement"]
    supervised: SupervisedMethod | None = None
    dpo: DPOMethod | None = None
    reinforcement: ReinforcementMethod | None = None

    @model_validator(mode="after")
    def _one_method(self) -> MethodAsked:
        for name in ("supervised", "dpo", "reinforcement"):
            if name != self.type and getattr(self, name) is not None:
                raise ValueError(f"{name} has no place in the method {self.type}")
        if self.type == "reinforcement" and self.reinforcement is None:
            raise ValueError("the method reinforcement needs a grader: method.reinforcement.grader")
        return self


class Wandb(RequestModel):
    project: str
    name: str | None = None
    entity: str | None = None
    tags: list[str] | None = None


class Integration(RequestModel):
    type: Literal["wandb"]
    wandb: Wandb


class CreateJob(RequestModel):
    model: str = Field(min_length=1)
    training_file: str
    validation_file: str | None = None
    hyperparameters: SupervisedHyperparameters | None = Field(default=None, deprecated=True)
    method: MethodAsked | None = None
    suffix: str | None = Field(default=None, min_length=1, max_length=64)
    integrations: list[Integration] | None = Field(default=None, max_length=5)
    seed: Integer | None = Field(default=None, ge=0, le=2**31 - 1)
    metadata: Metadata | None = None


class JobFailure(ResponseModel):
    code: str
    message: str
    param: str | None


class JobHyperparameters(ResponseModel):
    """The hyperparameters of a job, without bounds: a backend may choose values that a client may not ask for."""

    n_epochs: Auto | int = "auto"
    batch_size: Auto | int | None = "auto"
    learning_rate_multiplier: Auto | float = "auto"


class DPOHyperparametersTold(JobHyperparameters):
    beta: Auto | float | None = Field(default=None, exclude_if=is_unset_request_field)


class ReinforcementHyperparametersTold(JobHyperparameters):
    reasoning_effort: Literal["default", "low", "medium", "high"] | None = Field(
        default=None, exclude_if=is_unset_request_field
    )
    compute_multiplier: Auto | float | None = Field(default=None, exclude_if=is_unset_request_field)
    eval_interval: Auto | int | None = Field(default=None, exclude_if=is_unset_request_field)
    eval_samples: Auto | int | None = Field(default=None, exclude_if=is_unset_request_field)


class SupervisedMethodTold(ResponseModel):
    hyperparameters: JobHyperparameters


class DPOMethodTold(ResponseModel):
    hyperparameters: DPOHyperparametersTold


class ReinforcementMethodTold(ResponseModel):
    grader: Grader
    hyperparameters: ReinforcementHyperparametersTold


class MethodTold(ResponseModel):
    type: Literal["supervised", "dpo", "reinforcement"]
    supervised: SupervisedMethodTold | None = Field(default=None, exclude_if=is_unset_request_field)
    dpo: DPOMethodTold | None = Field(default=None, exclude_if=is_unset_request_field)
    reinforcement: ReinforcementMethodTold | None = Field(default=None, exclude_if=is_unset_request_field)


class WandbTold(ResponseModel):
    project: str
    name: str | None = Field(default=None, exclude_if=is_unset_request_field)
    entity: str | None = Field(default=None, exclude_if=is_unset_request_field)
    tags: list[str] | None = Field(default=None, exclude_if=is_unset_request_field)


class IntegrationTold(ResponseModel):
    type: Literal["wandb"]
    wandb: WandbTold


class FineTuningJob(ResponseModel):
    id: str
    object: Literal["fine_tuning.job"] = "fine_tuning.job"
    created_at: int
    error: JobFailure | None
    fine_tuned_model: str | None
    finished_at: int | None
    hyperparameters: JobHyperparameters
    model: str
    organization_id: str
    result_files: list[str]
    status: Literal["validating_files", "queued", "running", "paused", "succeeded", "failed", "cancelled"]
    """OpenAI's statuses; its service sends `paused`, which its document lacks."""
    trained_tokens: int | None
    training_file: str
    validation_file: str | None
    integrations: list[IntegrationTold] | None = None
    seed: int
    estimated_finish: int | None = None
    method: MethodTold
    metadata: dict[str, str] | None = None
    user_provided_suffix: str | None = None


class JobList(ResponseModel):
    object: Literal["list"] = "list"
    data: list[FineTuningJob]
    has_more: bool


class Event(ResponseModel):
    object: Literal["fine_tuning.job.event"] = "fine_tuning.job.event"
    id: str
    created_at: int
    level: Literal["info", "warn", "error"]
    message: str
    type: Literal["message", "metrics"] = "message"
    data: dict[str, Any] = {}


class EventList(ResponseModel):
    object: Literal["list"] = "list"
    data: list[Event]
    has_more: bool


class CheckpointMetrics(ResponseModel):
    step: float | None = Field(default=None, exclude_if=is_unset_request_field)
    train_loss: float | None = Field(default=None, exclude_if=is_unset_request_field)
    train_mean_token_accuracy: float | None = Field(default=None, exclude_if=is_unset_request_field)
    valid_loss: float | None = Field(default=None, exclude_if=is_unset_request_field)
    valid_mean_token_accuracy: float | None = Field(default=None, exclude_if=is_unset_request_field)
    full_valid_loss: float | None = Field(default=None, exclude_if=is_unset_request_field)
    full_valid_mean_token_accuracy: float | None = Field(default=None, exclude_if=is_unset_request_field)


class Checkpoint(ResponseModel):
    object: Literal["fine_tuning.job.checkpoint"] = "fine_tuning.job.checkpoint"
    id: str
    created_at: int
    fine_tuned_model_checkpoint: str
    fine_tuning_job_id: str
    step_number: int
    metrics: CheckpointMetrics


class CheckpointList(ResponseModel):
    object: Literal["list"] = "list"
    data: list[Checkpoint]
    first_id: str | None
    last_id: str | None
    has_more: bool
