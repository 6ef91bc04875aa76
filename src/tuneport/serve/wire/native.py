"""Objects of tuneport's own API, `/tuneport/v1`: the documents that the commands print with `--json`."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, field_validator

from tuneport.client_rules import ClientsMaySet, client_rule_of_field
from tuneport.curves import CurveVerdict
from tuneport.data.rows.reading_options import ReadingOptions
from tuneport.lifecycle.schema.estimates import JobActual, JobEstimate
from tuneport.lifecycle.schema.submission import SubmissionCandidate
from tuneport.lifecycle.submitting.hold_out import JobHoldOut
from tuneport.lifecycle.submitting.options import ClientOptions
from tuneport.lifecycle.worker.stopping import StoppedEarly
from tuneport.serve.wire.base import Integer, Metadata, RequestModel, ResponseModel
from tuneport.serve.wire.graders import Grader
from tuneport.types import Adapter, Hyperparameters, JobError, JobStatus, Method, MetricPoint, Progress, Quote

Methods = Annotated[Method, Field(strict=False)]
Adapters = Literal["auto", "full", "lora", "qlora", "prefix", "prompt"]

Names = Annotated[list[str], Field(max_length=50), AfterValidator(lambda names: list(dict.fromkeys(names)))]
"""Names without duplicates."""


class DatasetTold(ResponseModel):
    """A dataset of a job. `path` is the file's id if the gateway has it, else its path when the job was submitted."""

    path: str
    sha256: str
    format: str | None
    rows: int | None
    left_out: list[str]


class HyperparametersTold(ResponseModel):
    given: dict[str, Any]
    resolved: dict[str, Any]


class Needs(ResponseModel):
    """A question that a person must answer before the job goes on: did the start whose answer was lost reach the
    provider?"""

    kind: Literal["resolve"]
    message: str
    candidates: list[SubmissionCandidate]
    if_started: str
    if_not_started: str


class Term(ResponseModel):
    """A term that applies to training there or to using the result, in tuneport's words; `url` has the whole text."""

    subject: str
    text: str
    url: str
    confidence: str


class Job(ResponseModel, ClientOptions):
    """A job, as `tuneport show --json` prints it."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=True, frozen=False)
    id: str
    object: Literal["tuneport.job"]
    backend: str | None
    requested_model: str
    model: str | None
    tuned_model: str | None
    status: JobStatus
    raw_status: str | None
    remote_id: str | None
    method: Methods
    adapter: Adapters
    dataset: DatasetTold
    validation: str | None
    held_out: JobHoldOut | None = Field(description="The rows of the dataset that are its validation file.")
    columns: dict[str, str]
    format: str | None
    system: str | None
    template: str | None
    ignored_columns: list[str]
    keep_unliked: bool
    inline_images: bool
    hyperparameters: HyperparametersTold
    grader: dict[str, Any] | None
    reward: str | None
    suffix: str | None
    seed: int | None
    from_checkpoint: str | None
    wandb: dict[str, Any] | None
    metadata: dict[str, str]
    provider_options: dict[str, Any]
    provider_defaults: bool | Literal["auto"]
    quote: Quote | None
    estimate: JobEstimate | None
    actual: JobActual | None
    budget: float | None
    stopped_early: StoppedEarly | None
    curve: CurveVerdict | None
    projection: dict[str, Any] | None
    cost: float | None
    trained_tokens: int | None
    progress: Progress | None
    terms: list[Term] = Field(description="The terms of the backend, and the licence of the base model.")
    error: JobError | None
    note: str | None
    needs: Needs | None
    duplicates: list[str]
    requested_action: str | None
    wish: str | None
    """The name that `requested_action` had before; it goes with the next release."""
    delete_files: bool
    deleted_at: datetime | None
    created_at: datetime
    finished_at: datetime | None
    estimated_finish: datetime | None
    details: dict[str, Any]


class JobPage(ResponseModel):
    object: Literal["list"] = "list"
    data: list[Job]
    has_more: bool


class Metrics(ResponseModel):
    """The metrics of a job, as `tuneport metrics --json` prints them."""

    object: Literal["list"] = "list"
    job: str
    data: list[MetricPoint]
    curve: CurveVerdict | None


class Backend(ResponseModel):
    """A backend, as `tuneport backends --json` prints it."""

    name: str
    title: str
    default: bool
    configured: bool
    base_url: str | None
    api_key_env: str | None
    key_set: bool | None
    missing_packages: list[str]
    install: str | None
    no_new_jobs_from: date | None
    accepts_new_jobs: bool
    models: int
    notices: list[str]
    terms: list[dict[str, Any]]


class BackendList(ResponseModel):
    object: Literal["list"] = "list"
    data: list[Backend]


Answers = Literal["now", "from_endpoint", "not_configured", "no_longer"]
"""Whether a model answers. `from_endpoint`: once `tuneport deploy` has started one; `not_configured`: the gateway
lacks its key or packages."""


class BaseModelTold(ResponseModel):
    id: str
    object: Literal["tuneport.base_model"] = "tuneport.base_model"
    backend: str
    title: str
    methods: list[str]
    adapters: list[str] = Field(description="Supported adapters; empty if the backend chooses.")
    context: int | None = Field(description="The most tokens of one training example.")
    accepts_new_jobs: bool
    retires: date | None = Field(description="The shutdown date of the model and of models tuned from it.")
    answers: Answers


class Endpoint(ResponseModel):
    id: str
    status: Literal["starting", "ready", "stopping", "stopped", "failed"]
    usd_per_hour: float | None


class TunedModelTold(ResponseModel):
    """A tuned model. `id` is its name in chats, `backend_model` its name at the backend."""

    id: str
    object: Literal["tuneport.tuned_model"] = "tuneport.tuned_model"
    backend: str
    backend_model: str
    base: str
    job: str
    method: Methods
    adapter: Adapter | Literal["auto"]
    suffix: str | None
    created_at: datetime
    retires: date | None
    answers: Answers
    endpoint: Endpoint | None = None


class ModelCatalogue(ResponseModel):
    """The catalogue of models. `not_asked` has the backends whose endpoints could not be listed, and why."""

    object: Literal["list"] = "list"
    base: list[BaseModelTold]
    tuned: list[TunedModelTold]
    has_more: bool
    not_asked: dict[str, str]


_YES_OR_NO = frozenset(
    name
    for name, field in Hyperparameters.model_fields.items()
    if isinstance(rule := client_rule_of_field(field), ClientsMaySet) and rule.kind == "yes_no"
)


class ReadingFields(RequestModel):
    """Options of reading a file, as `tuneport submit` has them."""

    columns: dict[str, str] = Field(default_factory=dict)
    format: str | None = Field(default=None, description="Default: detected from the data.")
    system: str | None = Field(default=None, min_length=1, description="The system prompt of records that have none.")
    template: str | None = Field(
        default=None, min_length=1, description="The user's message, with {column} for a column of the row."
    )
    ignored_columns: Names = Field(
        default_factory=list, description="Columns with training signal that are left out on purpose."
    )
    keep_unliked: bool = Field(default=False, description="sft: train on the answers marked as bad, too.")

    def reading(self) -> ReadingOptions:
        """Return the options as a dataset takes them."""
        given = {name: getattr(self, name) for name in ReadingFields.model_fields}
        return ReadingOptions(**given)


class SpecFields(ReadingFields):
    """A job to quote, with the options of `tuneport submit` and files by id."""

    model: str = Field(min_length=1)
    training_file: str
    validation_file: str | None = None
    method: Methods | None = Field(default=None, description="Default: chosen by the data.")
    adapter: Adapters = "auto"
    hyperparameters: dict[str, bool | float | str] = Field(default_factory=dict)

    @field_validator("hyperparameters")
    @classmethod
    def _yes_or_no_only_where_asked(cls, given: dict[str, bool | float | str]) -> dict[str, bool | float | str]:
        for name, value in given.items():
            if isinstance(value, bool) and name not in _YES_OR_NO:
                raise ValueError(f"{name} must be a number or text, not {str(value).lower()}")
        return given


class AskQuotes(SpecFields):
    backends: Names = Field(default_factory=list, description="Default: all.")
    budget: float | None = Field(default=None, gt=0)


class QuoteList(ResponseModel):
    """The answer of each backend, best first, as in `tuneport compare --json`."""

    object: Literal["list"] = "list"
    model: str
    method: Methods
    rows: int
    data: list[dict[str, Any]]


class NotYet(ResponseModel):
    """The result is not ready: repeat the same request after `Retry-After`."""

    object: Literal["tuneport.not_yet"] = "tuneport.not_yet"
    status: Literal["running"] = "running"


class SubmitJob(SpecFields, ClientOptions):
    backend: str | None = None
    provider_defaults: bool = Field(
        default=False, description="Leave what is not set to the provider, not to tuneport's recommendation."
    )
    suffix: str | None = Field(default=None, min_length=1, max_length=64)
    seed: Integer | None = Field(default=None, ge=0, le=2**31 - 1)
    metadata: Metadata | None = None
    grader: Grader | None = None
    reward: str | None = Field(default=None, description="grpo, rloo: the job that made the reward model.")
    from_checkpoint: str | None = Field(default=None, description="JOB or JOB:STEP, of this gateway.")
    wandb: str | None = Field(default=None, description="Show the run in this W&B project.")
    budget: float | None = Field(default=None, gt=0, description="US dollars; a job that may cost more is refused.")
    provider_options: dict[str, Any] = Field(
        default_factory=dict,
        description="Options of `submit --option`: the numbers of training, and those that the operator opened.",
    )


class AskComparison(ReadingFields):
    """The options of `tuneport compare`."""

    training_file: str
    validation_file: str | None = None
    models: Names = Field(default_factory=list)
    backends: Names = Field(default_factory=list)
    method: Methods | None = None
    epochs: Integer | None = Field(default=None, ge=1, le=50)
    provider_defaults: bool = False
    requests: Integer | None = Field(default=None, ge=0, le=10**12, description="Requests a month. Default: 25,000.")
    input_tokens_per_request: Integer | None = Field(default=None, ge=0, le=10**7)
    output_tokens_per_request: Integer | None = Field(default=None, ge=0, le=10**7)
    cached_share: float = Field(default=0.0, ge=0, le=1)
    batch_share: float = Field(default=0.0, ge=0, le=1)
    saved_per_request: Integer = Field(default=0, ge=0, le=10**7)
    instead_of: str | None = None
    own_gpu: str | None = None
    own_usd_per_hour: float | None = Field(default=None, ge=0)
    own_tokens_per_second: float | None = Field(default=None, gt=0)
    hours: float | None = Field(default=None, gt=0)


class Comparison(ResponseModel):
    """A comparison, as `tuneport compare --json` prints it; `dataset` is the file's id."""

    dataset: str
    rows: int
    method: Methods
    traffic_per_month: dict[str, Any]
    own_machine: dict[str, Any]
    instead_of: dict[str, Any] | None
    choices: list[dict[str, Any]]
    break_even: dict[str, Any]


class AskDataReport(ReadingFields):
    """The options of `tuneport check`."""

    file: str
    validation_file: str | None = None
    model: str | None = None
    backend: str | None = None
    task: Literal["classification", "extraction", "style", "domain", "code"] | None = None
    context: Integer | None = Field(default=None, ge=1, le=10**8)


class DataReport(ResponseModel):
    """A data report. `report` is as `tuneport check --json` prints it, once `status` is `completed`."""

    id: str
    object: Literal["tuneport.data_report"] = "tuneport.data_report"
    file: str
    status: Literal["running", "completed", "failed"]
    report: dict[str, Any] | None = None
    error: str | None = None
