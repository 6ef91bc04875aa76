"""The nouns that every room shares: what is to be done, and what a provider said about it.

All are frozen pydantic models, so that each can be stored, printed with `--json` and compared. Times are aware
datetimes in UTC; money is US dollars; token counts are integers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from tuneport.client_rules import (
    YES_NO,
    CheckedByGateway,
    ClientsMaySet,
    OperatorOnly,
    client_choice_rule,
    client_number_rule,
    client_whole_number_rule,
)
from tuneport.methods import Method as Method
from tuneport.methods import methods_where

Auto = Literal["auto"]
LossOn = Literal["assistant", "last", "completion"]
"""Of a chat in sft: all answers that do not weigh 0, the last one, or those after the last user message."""


def now() -> datetime:
    return datetime.now(UTC)


class Model(BaseModel):
    """Frozen, and strict about unknown fields: a misspelt option is an error, never ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


_FUNCTION = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):([A-Za-z_]\w*)")


# --- what is to be done ----------------------------------------------------------------------------------------------


class Adapter(StrEnum):
    FULL = "full"
    LORA = "lora"
    QLORA = "qlora"
    PREFIX = "prefix"
    PROMPT = "prompt"

    @property
    def has_lora(self) -> bool:
        return self in (Adapter.LORA, Adapter.QLORA)

    @property
    def has_virtual_tokens(self) -> bool:
        """Return whether the base stays unchanged and the trained part stands before every input, like tokens."""
        return self in (Adapter.PREFIX, Adapter.PROMPT)


class Hyperparameters(Model):
    """One name everywhere; each backend documents its own mapping. `auto` lets the backend (or tuneport) choose.

    `learning_rate` is absolute; `learning_rate_multiplier` scales the backend's recommended rate and is OpenAI's
    word. Giving both is an error.
    """

    epochs: Annotated[int | Auto, client_whole_number_rule(1, 50, "auto")] = Field(
        default="auto", description="passes over the data"
    )
    batch_size: Annotated[int | Auto, client_whole_number_rule(1, 1_024, "auto")] = Field(
        default="auto", description="examples per optimizer step"
    )
    packing: Annotated[bool | Auto, ClientsMaySet("yes_no", words=("auto",))] = Field(
        default="auto", description="true or false: several examples share a sequence, and so a place in the batch"
    )
    learning_rate: Annotated[float | Auto, client_number_rule(0, 1, "auto", above=True)] = Field(
        default="auto", description="of the weights, absolute; above 0"
    )
    learning_rate_multiplier: Annotated[float | Auto, client_number_rule(0, 1_000, "auto", above=True)] = Field(
        default="auto", description="times the backend's own learning rate; above 0"
    )
    warmup_ratio: Annotated[float | Auto, client_number_rule(0, 0.999, "auto")] = Field(
        default="auto", description="share of the steps, 0 to 1"
    )
    weight_decay: Annotated[float | Auto, client_number_rule(0, 0.999, "auto")] = Field(
        default="auto", description="0 to 1"
    )
    max_length: Annotated[int | Auto, client_whole_number_rule(1, 1_048_576, "auto")] = Field(
        default="auto", description="tokens; longer examples are cut at the end, and named"
    )
    lora_rank: Annotated[int | Auto, client_whole_number_rule(1, 1_024, "auto")] = Field(
        default="auto", description="lora, qlora: width of the adapter"
    )
    lora_alpha: Annotated[float | Auto, client_number_rule(0, 8_192, "auto", above=True)] = Field(
        default="auto", description="lora, qlora: scale of the adapter, over its rank"
    )
    lora_dropout: Annotated[float | Auto, client_number_rule(0, 0.999, "auto")] = Field(
        default="auto", description="lora, qlora: 0 to 1"
    )
    virtual_tokens: Annotated[int | Auto, client_whole_number_rule(1, 4_096, "auto")] = Field(
        default="auto", description="prefix, prompt: trained tokens before every input"
    )
    beta: Annotated[float | Auto, client_number_rule(0, 100, "auto")] = Field(
        default="auto", description="dpo, kto, grpo, rloo: strength of the pull towards the reference"
    )
    compute_multiplier: Annotated[float | Auto, client_number_rule(0, 10, "auto", above=True)] = Field(
        default="auto", description="rft: how much is explored in training"
    )
    eval_interval: Annotated[int | Auto, client_whole_number_rule(1, 1_000_000, "auto")] = Field(
        default="auto", description="rft, grpo, rloo: training steps between evaluations"
    )
    eval_samples: Annotated[int | Auto, client_whole_number_rule(1, 1_000, "auto")] = Field(
        default="auto", description="rft, grpo, rloo: answers graded in an evaluation, per example"
    )
    reasoning_effort: Annotated[
        Literal["low", "medium", "high", "auto"], client_choice_rule("low", "medium", "high", "auto")
    ] = Field(default="auto", description="rft")

    @field_validator(
        "epochs", "batch_size", "max_length", "lora_rank", "virtual_tokens", "eval_interval", "eval_samples"
    )
    @classmethod
    def _at_least_one(cls, value: int | Auto) -> int | Auto:
        if not isinstance(value, str) and value < 1:
            raise ValueError("must be at least 1, or auto")
        return value

    @field_validator("beta")
    @classmethod
    def _not_negative(cls, value: float | Auto) -> float | Auto:
        if not isinstance(value, str) and not value >= 0:
            raise ValueError("must be at least 0, or auto")
        return value

    @field_validator("learning_rate", "learning_rate_multiplier", "lora_alpha", "compute_multiplier")
    @classmethod
    def _above_zero(cls, value: float | Auto) -> float | Auto:
        if not isinstance(value, str) and not value > 0:
            raise ValueError("must be above 0, or auto")
        return value

    @field_validator("warmup_ratio", "lora_dropout", "weight_decay")
    @classmethod
    def _share(cls, value: float | Auto) -> float | Auto:
        if not isinstance(value, str) and not 0 <= value < 1:
            raise ValueError("must be at least 0 and below 1, or auto")
        return value

    def model_post_init(self, context: Any) -> None:
        if self.learning_rate != "auto" and self.learning_rate_multiplier != "auto":
            raise ValueError("give learning_rate or learning_rate_multiplier, not both")

    def given(self) -> dict[str, Any]:
        """Return only the values that are not `auto`."""
        return {name: value for name, value in self.model_dump().items() if value != "auto"}


class Wandb(Model):
    """The place of the run in Weights & Biases. The key is given to the provider in its own settings, never here."""

    project: str
    name: str | None = None
    entity: str | None = None
    tags: tuple[str, ...] = ()


class TuneSpec(Model):
    """All that a job is to do, free of any provider.

    `model` is what the user wrote (an alias, a weights name or a provider's id). A backend receives a copy with that
    backend's own id. `grader` is rft's, in OpenAI's shape: what scores an answer. `reward` does so for grpo and rloo: a
    function as `package.module:function`, imported from `reward_folder` (the folder where the job was submitted) or
    from what Python finds; or a reward model, by its job or as a folder. `from_checkpoint` is the backend's id of a
    finished job, `:STEP` behind it for one of its checkpoints: training goes on from its weights.
    """

    model: Annotated[str, CheckedByGateway("a listed model, an alias of the operator, or a tuned model of the project")]
    dataset: Annotated[Path, CheckedByGateway("the content of an uploaded file")]
    validation: Annotated[Path | None, CheckedByGateway("the content of an uploaded file")] = None
    columns: Annotated[dict[str, str], CheckedByGateway("names of columns of the uploaded file")] = Field(
        default_factory=dict, description="the format's names for columns of the dataset"
    )
    format: Annotated[str | None, CheckedByGateway("one of the formats")] = Field(
        default=None, description="of the dataset; None: detected from its rows"
    )
    system: Annotated[str | None, CheckedByGateway("text")] = Field(
        default=None, min_length=1, description="the system prompt of records that have none"
    )
    template: Annotated[str | None, CheckedByGateway("text with names of columns in braces; nothing is evaluated")] = (
        Field(default=None, min_length=1, description="the user's message, with {column} for a column of the row")
    )
    ignored_columns: Annotated[tuple[str, ...], CheckedByGateway("names of columns of the uploaded file")] = Field(
        default=(), description="columns with training signal that are left out on purpose"
    )
    keep_unliked: Annotated[bool, YES_NO] = Field(
        default=False, description="sft: train on the answers that are marked as bad, too"
    )
    inline_images: Annotated[bool, OperatorOnly("reads files of the operator's machine", never=True)] = Field(
        default=False, description="read pictures that are named by a path into the rows"
    )
    method: Annotated[Method, CheckedByGateway("one of the methods")] = Method.SFT
    adapter: Annotated[Adapter | Auto, CheckedByGateway("one of the adapters")] = "auto"
    hyperparameters: Annotated[Hyperparameters, CheckedByGateway("each by its own rule")] = Hyperparameters()
    provider_defaults: Annotated[bool | Auto, YES_NO] = Field(
        default=False,
        description="what is `auto` is left to the provider, instead of tuneport's recommendation; `auto`: only where "
        "its API defines `auto` itself",
    )
    suffix: Annotated[str | None, CheckedByGateway("text of at most 64 characters, in no path")] = Field(
        default=None, max_length=64
    )
    seed: Annotated[int | None, CheckedByGateway("a whole number of 31 bits")] = Field(default=None, ge=0, le=2**31 - 1)
    budget: Annotated[float | None, CheckedByGateway("US dollars")] = Field(
        default=None, gt=0, description="US dollars; above it, or unknown, is refused"
    )
    metadata: Annotated[dict[str, str], CheckedByGateway("up to 16 pairs of text")] = Field(default_factory=dict)
    grader: Annotated[
        dict[str, Any] | None, CheckedByGateway("one of the graders; Python code only with python_graders")
    ] = None
    reward: Annotated[str | None, CheckedByGateway("a job of the project")] = Field(default=None, min_length=1)
    reward_folder: Annotated[Path | None, OperatorOnly("names a folder with code", never=True)] = None
    from_checkpoint: Annotated[str | None, CheckedByGateway("a job of the project, and a step")] = None
    wandb: Annotated[Wandb | None, OperatorOnly("uses the operator's W&B key")] = None
    provider_options: Annotated[
        dict[str, Any], CheckedByGateway("each by its backend's rule: FineTuneBackend.client_rules")
    ] = Field(default_factory=dict)

    def model_post_init(self, context: Any) -> None:
        if self.method.takes_grader and self.grader is None:
            raise ValueError(f"the method {self.method} needs a grader: --grader FILE, or grader=")
        if not self.method.takes_grader and self.grader is not None:
            raise ValueError(f"a grader belongs to {_named(lambda each: each.takes_grader)}, not to {self.method}")
        if self.method.takes_reward and self.reward is None:
            raise ValueError(
                f"the method {self.method} needs a reward: --reward package.module:function, or a reward model"
            )
        if not self.method.takes_reward and self.reward is not None:
            raise ValueError(f"a reward belongs to {_named(lambda each: each.takes_reward)}, not to {self.method}")
        if self.keep_unliked and self.method is not Method.SFT:
            raise ValueError(f"keep_unliked belongs to the method sft, not to {self.method}; leave one of them out")
        if self.hyperparameters.beta == 0 and not self.method.writes_answers:
            raise ValueError(f"beta must be above 0 for {self.method}: without a reference it would not be trained")

    @property
    def reward_function(self) -> tuple[str, str] | None:
        """Return module and name of the reward if it is a function, or None if it is a model."""
        found = _FUNCTION.fullmatch(self.reward or "")
        return None if found is None else (found[1], found[2])


def _named(test: Callable[[Method], bool]) -> str:
    *first, last = methods_where(test)
    return f"the methods {', '.join(first)} and {last}" if first else f"the method {last}"


class DataFile(Model):
    """One dataset file in the shape a backend takes, written by `prepare_dataset`. Content-addressed by `sha256`."""

    path: Path
    sha256: str
    format: str
    rows: int
    bytes: int
    trained_tokens: int | None = Field(default=None, description="per epoch, if a rule for counting is known")
    left_out: tuple[str, ...] = Field(default=(), description="columns of the dataset that are not trained on")


class PreparedData(Model):
    training: DataFile
    validation: DataFile | None = None


# --- what a provider said --------------------------------------------------------------------------------------------


class JobStatus(StrEnum):
    PREPARING = "preparing"
    SUBMITTING = "submitting"
    VALIDATING = "validating"
    QUEUED = "queued"
    RUNNING = "running"
    FINALIZING = "finalizing"
    PAUSING = "pausing"
    PAUSED = "paused"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def terminal(self) -> bool:
        return self in (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED)


class RemoteFile(Model):
    """A file as a backend holds it. For the local backend `id` is the path in its own store.

    In a list of an account's files `sha256` is empty if the provider tells no hash, and `purpose` says result or
    training: providers do not tell training from validation.
    """

    id: str
    purpose: Literal["training", "validation", "result"]
    sha256: str
    filename: str
    bytes: int
    created_at: datetime | None = None


class RemoteModel(Model):
    """A model of an account. `shutdown_date` is the first day without it, if one is set."""

    id: str
    tuned: bool = Field(default=False, description="made by a fine-tuning job of this account")
    created_at: datetime | None = None
    owned_by: str | None = None
    shutdown_date: date | None = None


class EndpointOffer(Model):
    """An endpoint before it is started. `usd_per_hour` is that of all its replicas, None if the price is not known."""

    model: str
    hardware: str
    replicas: int
    usd_per_hour: float | None
    idle_minutes: int | None = Field(description="without a request, until it stops; 0: it never does")


class Deployment(Model):
    """An endpoint of one's own for a tuned model; it costs money while it is up, used or not."""

    id: str
    model: str
    status: Literal["starting", "ready", "stopping", "stopped", "failed"]
    raw_status: str
    usd_per_hour: float | None = Field(default=None, description="for all its replicas, where known")
    created_at: datetime | None = None
    details: dict[str, Any] = Field(default_factory=dict)


class JobError(Model):
    code: str
    message: str
    param: str | None = None
    fault: Literal["user", "provider"] = "provider"
    retryable: bool = False
    details: dict[str, Any] = Field(default_factory=dict, description="alternatives, for example")


class Progress(Model):
    step: int | None = None
    total_steps: int | None = None
    epoch: float | None = None
    train_loss: float | None = None
    tokens_per_second: float | None = Field(default=None, description="non-padding tokens, forward and backward")
    seconds_left: float | None = None


class JobState(Model):
    """The last state of one job at a backend. `raw_status` is its own word; a non-null `error` is not a verdict."""

    remote_id: str
    status: JobStatus
    raw_status: str
    model: str
    tuned_model: str | None = None
    created_at: datetime | None = None
    finished_at: datetime | None = None
    estimated_finish: datetime | None = None
    trained_tokens: int | None = None
    cost: float | None = Field(default=None, description="US dollars billed; `details['cost']` if it is computed")
    progress: Progress = Progress()
    error: JobError | None = None
    hyperparameters: dict[str, Any] = Field(default_factory=dict, description="as resolved by the backend")
    result_files: tuple[str, ...] = ()
    details: dict[str, Any] = Field(default_factory=dict, description="further details, in the backend's own words")


class JobEvent(Model):
    """`id` is unique within the job and stable between calls; if a provider has none, it is made of the content."""

    id: str
    created_at: datetime
    level: Literal["info", "warning", "error"] = "info"
    message: str
    type: str = "message"
    data: dict[str, Any] = Field(default_factory=dict)


class MetricPoint(Model):
    step: int
    epoch: float | None = None
    train_loss: float | None = None
    valid_loss: float | None = None
    train_accuracy: float | None = Field(default=None, description="mean token accuracy, 0 to 1")
    valid_accuracy: float | None = None
    learning_rate: float | None = None
    tokens_per_second: float | None = None
    extra: dict[str, float] = Field(default_factory=dict)


class Checkpoint(Model):
    id: str
    step: int
    model: str | None = Field(default=None, description="the name for `complete`, if it can be served")
    path: Path | None = None
    created_at: datetime | None = None
    metrics: dict[str, float] = Field(default_factory=dict)
    best: bool = Field(default=False, description="it has the lowest validation loss so far, if the backend compares")


class Completion(Model):
    text: str
    model: str
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    tool_calls: list[dict[str, Any]] = Field(default_factory=list)
    seconds_to_first_token: float | None = Field(default=None, description="None if the server does not measure it")
    seconds: float | None = None
    document: dict[str, Any] | None = Field(
        default=None, exclude=True, repr=False, description="the provider's whole answer, if it has OpenAI's shape"
    )


class Found(Model):
    """The outcome of an interrupted submit: FOUND (with the state), ABSENT, or UNKNOWN (ask again, start nothing).

    `others` are further jobs that carry the same token. `unmarked` are the listed jobs that carry no token of tuneport:
    if a provider drops tokens, any of them may be the one. `marks_seen`: some listed job carries a token, so this
    provider keeps them.
    """

    answer: Literal["found", "absent", "unknown"]
    state: JobState | None = None
    reason: str = ""
    others: tuple[JobState, ...] = ()
    unmarked: tuple[JobState, ...] = ()
    marks_seen: bool = False

    @classmethod
    def found(cls, state: JobState, *, others: Sequence[JobState] = ()) -> Found:
        return cls(answer="found", state=state, others=tuple(others), marks_seen=True)

    @classmethod
    def absent(cls, *, unmarked: Sequence[JobState] = (), marks_seen: bool = False) -> Found:
        return cls(answer="absent", unmarked=tuple(unmarked), marks_seen=marks_seen)

    @classmethod
    def unknown(cls, reason: str) -> Found:
        return cls(answer="unknown", reason=reason)


VAGUE = 10
"""Bounds of which the higher is more than so many times the lower are no price."""


class Quote(Model):
    """The cost of training a spec on one backend, in US dollars, or the reason why that is unknown.

    `expected` is None exactly when `unavailable` says why. `low` and `high` bound it if the rule is approximate.
    `billed_tokens_per_epoch`, by the provider's rule and between its `_low` and `_high`, is there whether or not the
    price is known; None if nothing is billed by the token, or nothing was counted. `by_table`: the price by the
    published table, if the provider's own quote has taken its place.
    """

    backend: str
    model: str
    expected: float | None = None
    low: float | None = None
    high: float | None = None
    billed_tokens_per_epoch: int | None = None
    billed_tokens_per_epoch_low: int | None = None
    billed_tokens_per_epoch_high: int | None = None
    by_table: float | None = None
    unavailable: str | None = None
    authority: Literal["provider", "manifest", "local"] = "manifest"
    explanation: str = ""
    source: str | None = None
    as_of: date | None = None

    @property
    def vague(self) -> bool:
        """Return whether the bounds are so far apart that it decides nothing, and is not shown as a price."""
        return self.low is not None and self.high is not None and self.high > VAGUE * self.low

    @classmethod
    def unknown(cls, backend: str, model: str, because: str) -> Quote:
        return cls(backend=backend, model=model, unavailable=because)
