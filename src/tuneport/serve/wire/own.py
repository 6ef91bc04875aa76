"""tuneport's own objects, of `/tuneport/v1`: the documents that the commands print with `--json`."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, Literal

from pydantic import Field

from tuneport.curves import CurveVerdict
from tuneport.jobs.estimates import Actual, JobEstimate
from tuneport.jobs.stopping import StoppedEarly
from tuneport.serve.wire.base import Asked, Integer, Metadata, Told
from tuneport.types import Adapter, JobError, JobStatus, MetricPoint, Progress, Quote

Methods = Literal["sft", "dpo", "kto", "reward", "grpo", "rloo", "rft"]
Adapters = Literal["auto", "full", "lora", "qlora", "prefix", "prompt"]


class DatasetTold(Told):
    """`path` is the file's id where the gateway has it, else where it lay when the job was submitted."""

    path: str
    sha256: str
    format: str | None
    rows: int | None
    left_out: list[str]


class HyperparametersTold(Told):
    given: dict[str, Any]
    resolved: dict[str, Any]


class Job(Told):
    """As `tuneport show --json` prints it."""

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
    columns: dict[str, str]
    hyperparameters: HyperparametersTold
    grader: dict[str, Any] | None
    reward: str | None
    suffix: str | None
    seed: int | None
    from_checkpoint: str | None
    wandb: dict[str, Any] | None
    metadata: dict[str, str]
    provider_options: dict[str, Any]
    quote: Quote | None
    estimate: JobEstimate | None
    actual: Actual | None
    budget: float | None
    cancel_over_budget: bool
    stop_on_overfit: bool
    stopped_early: StoppedEarly | None
    curve: CurveVerdict | None
    projection: dict[str, Any] | None
    cost: float | None
    trained_tokens: int | None
    progress: Progress | None
    error: JobError | None
    note: str | None
    wish: str | None
    delete_files: bool
    deleted_at: datetime | None
    created_at: datetime
    finished_at: datetime | None
    estimated_finish: datetime | None
    details: dict[str, Any]


class JobPage(Told):
    object: Literal["list"] = "list"
    data: list[Job]
    has_more: bool


class Metrics(Told):
    """As `tuneport metrics --json` prints them."""

    object: Literal["list"] = "list"
    job: str
    data: list[MetricPoint]
    curve: CurveVerdict | None


class Backend(Told):
    """As `tuneport backends --json` prints it."""

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


class BackendList(Told):
    object: Literal["list"] = "list"
    data: list[Backend]


Answers = Literal["now", "from_endpoint", "not_configured", "no_longer"]
"""`from_endpoint`: once `tuneport deploy` has given it one; `not_configured`: the gateway lacks its key or packages."""


class BaseModelTold(Told):
    id: str
    object: Literal["tuneport.base_model"] = "tuneport.base_model"
    backend: str
    title: str
    methods: list[str]
    adapters: list[str] = Field(description="Empty: the backend chooses.")
    context: int | None = Field(description="Tokens of one training example.")
    accepts_new_jobs: bool
    retires: date | None = Field(description="The first day on which it, and what was tuned from it, is gone.")
    answers: Answers


class Endpoint(Told):
    id: str
    status: Literal["starting", "ready", "stopping", "stopped", "failed"]
    usd_per_hour: float | None


class TunedModelTold(Told):
    """`id` is what a chat asks for; `backend_model` its name at the backend."""

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


class ModelCatalogue(Told):
    """`not_asked`: backends whose endpoints could not be asked for, and why."""

    object: Literal["list"] = "list"
    base: list[BaseModelTold]
    tuned: list[TunedModelTold]
    has_more: bool
    not_asked: dict[str, str]


class Wishes(Asked):
    """What is to be trained: as `tuneport submit` takes it, with files by their ids."""

    model: str = Field(min_length=1)
    training_file: str
    validation_file: str | None = None
    method: Methods | None = Field(default=None, description="Default: as the data is.")
    adapter: Adapters = "auto"
    hyperparameters: dict[str, float | str | bool] = Field(default_factory=dict)
    columns: dict[str, str] = Field(default_factory=dict)


class AskQuotes(Wishes):
    backends: list[str] = Field(default_factory=list, description="Default: all.")
    budget: float | None = Field(default=None, gt=0)


class QuoteList(Told):
    """Each backend's answer, best first, as in `tuneport compare --json`."""

    object: Literal["list"] = "list"
    model: str
    method: Methods
    rows: int
    data: list[dict[str, Any]]


class NotYet(Told):
    """It is being worked out: ask the same again after `Retry-After`."""

    object: Literal["tuneport.not_yet"] = "tuneport.not_yet"
    status: Literal["running"] = "running"


class SubmitJob(Wishes):
    backend: str | None = None
    suffix: str | None = Field(default=None, min_length=1, max_length=64)
    seed: Integer | None = Field(default=None, ge=0, le=2**31 - 1)
    metadata: Metadata | None = None
    grader: dict[str, Any] | None = None
    reward: str | None = Field(default=None, description="grpo, rloo: the job that made the reward model.")
    from_checkpoint: str | None = Field(default=None, description="JOB or JOB:STEP, of this gateway.")
    wandb: str | None = Field(default=None, description="Show the run in this W&B project.")
    budget: float | None = Field(default=None, gt=0, description="US dollars; a job that may cost more is refused.")
    cancel_over_budget: bool = False
    stop_on_overfit: bool = Field(default=False, description="Stop it once it surely overfits; the best is kept.")
    delete_files: bool | None = None
    provider_options: dict[str, Any] = Field(default_factory=dict, description="As `submit --option`.")


class AskComparison(Asked):
    """What `tuneport compare` takes."""

    training_file: str
    validation_file: str | None = None
    models: list[str] = Field(default_factory=list, max_length=50)
    backends: list[str] = Field(default_factory=list)
    columns: dict[str, str] = Field(default_factory=dict)
    method: Methods | None = None
    epochs: Integer | None = Field(default=None, ge=1, le=50)
    requests: Integer | None = Field(default=None, ge=0, le=10**12, description="A month. Default: 25,000.")
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


class Comparison(Told):
    """As `tuneport compare --json` prints it; `dataset` is the file's id."""

    dataset: str
    rows: int
    method: Methods
    traffic_per_month: dict[str, Any]
    own_machine: dict[str, Any]
    instead_of: dict[str, Any] | None
    choices: list[dict[str, Any]]
    break_even: dict[str, Any]


class AskDataReport(Asked):
    """What `tuneport check` takes."""

    file: str
    validation_file: str | None = None
    model: str | None = None
    backend: str | None = None
    format: str | None = None
    task: Literal["classification", "extraction", "style", "domain", "code"] | None = None
    context: Integer | None = Field(default=None, ge=1, le=10**8)
    columns: dict[str, str] = Field(default_factory=dict)


class DataReport(Told):
    """`report` is as `tuneport check --json` prints it, once `status` is `completed`."""

    id: str
    object: Literal["tuneport.data_report"] = "tuneport.data_report"
    file: str
    status: Literal["running", "completed", "failed"]
    report: dict[str, Any] | None = None
    error: str | None = None
