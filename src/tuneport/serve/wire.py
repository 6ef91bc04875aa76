"""OpenAI's objects as the gateway reads and writes them. Names, limits and words are those of the published document.

Requests refuse what they do not know (`Unknown parameter`), so that nothing a client asked for is silently ignored.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

Auto = Literal["auto"]
Text64 = Annotated[str, StringConstraints(max_length=64)]
Text512 = Annotated[str, StringConstraints(max_length=512)]
Metadata = Annotated[dict[Text64, Text512], Field(max_length=16)]


class Asked(BaseModel):
    """What a client sends."""

    model_config = ConfigDict(extra="forbid")


class Told(BaseModel):
    """What the gateway sends."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())


# --- files -----------------------------------------------------------------------------------------------------------

Purpose = Literal["fine-tune", "fine-tune-results"]


class ExpiresAfter(Asked):
    anchor: Literal["created_at"]
    seconds: int = Field(ge=3600, le=2_592_000)


class File(Told):
    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    expires_at: int | None = None
    filename: str
    purpose: Purpose
    status: Literal["uploaded", "processed", "error"] = "processed"
    status_details: str | None = None


class FileList(Told):
    object: Literal["list"] = "list"
    data: list[File]
    first_id: str
    last_id: str
    has_more: bool


class DeletedFile(Told):
    id: str
    object: Literal["file"] = "file"
    deleted: bool


class CreateUpload(Asked):
    filename: str = Field(min_length=1, max_length=1024)
    purpose: Literal["fine-tune"]
    bytes: int = Field(gt=0)
    mime_type: str
    expires_after: ExpiresAfter | None = None


class CompleteUpload(Asked):
    part_ids: list[str] = Field(min_length=1)
    md5: str | None = None


class Upload(Told):
    id: str
    object: Literal["upload"] = "upload"
    created_at: int
    filename: str
    bytes: int
    purpose: str
    status: Literal["pending", "completed", "cancelled", "expired"]
    expires_at: int
    file: File | None = None


class UploadPart(Told):
    id: str
    object: Literal["upload.part"] = "upload.part"
    created_at: int
    upload_id: str


# --- jobs ------------------------------------------------------------------------------------------------------------

Epochs = Auto | Annotated[int, Field(ge=1, le=50)]
BatchSize = Auto | Annotated[int, Field(ge=1, le=256)]
Multiplier = Auto | Annotated[float, Field(gt=0)]


class SupervisedHyperparameters(Asked):
    n_epochs: Epochs | None = None
    batch_size: BatchSize | None = None
    learning_rate_multiplier: Multiplier | None = None


class DPOHyperparameters(SupervisedHyperparameters):
    beta: Auto | Annotated[float, Field(gt=0, le=2)] | None = None


class ReinforcementHyperparameters(SupervisedHyperparameters):
    reasoning_effort: Literal["default", "low", "medium", "high"] | None = None
    compute_multiplier: Auto | Annotated[float, Field(gt=0.00001, le=10)] | None = None
    eval_interval: Auto | Annotated[int, Field(ge=1)] | None = None
    eval_samples: Auto | Annotated[int, Field(ge=1)] | None = None


class SupervisedMethod(Asked):
    hyperparameters: SupervisedHyperparameters | None = None


class DPOMethod(Asked):
    hyperparameters: DPOHyperparameters | None = None


class ReinforcementMethod(Asked):
    grader: dict[str, Any]
    hyperparameters: ReinforcementHyperparameters | None = None


class MethodAsked(Asked):
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


class Wandb(Asked):
    project: str
    name: str | None = None
    entity: str | None = None
    tags: list[str] | None = None


class Integration(Asked):
    type: Literal["wandb"]
    wandb: Wandb


class CreateJob(Asked):
    model: str = Field(min_length=1)
    training_file: str
    validation_file: str | None = None
    hyperparameters: SupervisedHyperparameters | None = Field(default=None, deprecated=True)
    method: MethodAsked | None = None
    suffix: str | None = Field(default=None, min_length=1, max_length=64)
    integrations: list[Integration] | None = Field(default=None, max_length=5)
    seed: int | None = Field(default=None, ge=0, le=2**31 - 1)
    metadata: Metadata | None = None


class JobFailure(Told):
    code: str
    message: str
    param: str | None


class JobHyperparameters(Told):
    n_epochs: Auto | int = "auto"
    batch_size: Auto | int | None = "auto"
    learning_rate_multiplier: Auto | float = "auto"


class FineTuningJob(Told):
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
    status: str
    """OpenAI's words; `paused` and `pausing` are those that its service sends beside them."""
    trained_tokens: int | None
    training_file: str
    validation_file: str | None
    integrations: list[dict[str, Any]] | None = None
    seed: int
    estimated_finish: int | None = None
    method: dict[str, Any]
    metadata: dict[str, str] | None = None
    user_provided_suffix: str | None = None


class JobList(Told):
    object: Literal["list"] = "list"
    data: list[FineTuningJob]
    has_more: bool


class Event(Told):
    object: Literal["fine_tuning.job.event"] = "fine_tuning.job.event"
    id: str
    created_at: int
    level: Literal["info", "warn", "error"]
    message: str
    type: Literal["message", "metrics"] = "message"
    data: dict[str, Any] = {}


class EventList(Told):
    object: Literal["list"] = "list"
    data: list[Event]
    has_more: bool


class CheckpointMetrics(Told):
    step: float | None = None
    train_loss: float | None = None
    train_mean_token_accuracy: float | None = None
    valid_loss: float | None = None
    valid_mean_token_accuracy: float | None = None
    full_valid_loss: float | None = None
    full_valid_mean_token_accuracy: float | None = None


class Checkpoint(Told):
    object: Literal["fine_tuning.job.checkpoint"] = "fine_tuning.job.checkpoint"
    id: str
    created_at: int
    fine_tuned_model_checkpoint: str
    fine_tuning_job_id: str
    step_number: int
    metrics: CheckpointMetrics


class CheckpointList(Told):
    object: Literal["list"] = "list"
    data: list[Checkpoint]
    first_id: str | None
    last_id: str | None
    has_more: bool


# --- models ----------------------------------------------------------------------------------------------------------


class Model(Told):
    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str
    shutdown_date: str | None = None


class ModelList(Told):
    object: Literal["list"] = "list"
    data: list[Model]


class DeletedModel(Told):
    id: str
    object: Literal["model"] = "model"
    deleted: bool
