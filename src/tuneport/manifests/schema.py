"""The schema of a provider's manifest. Every price, limit and date names its source.

The tables of `providers/*.toml` are these classes field by field; `providers/README.md` documents them for readers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any, Literal

from pydantic import Field, model_validator

from tuneport.manifests.sources import Sourced
from tuneport.manifests.training_rules import TrainingRules, read_former_epochs
from tuneport.types import Adapter, Method, Model


class Limit(Model):
    value: int
    source: str
    note: str = ""


class MoneyLimit(Model):
    """`usd` in US dollars."""

    usd: float = Field(ge=0)
    source: str
    as_of: date
    note: str = ""


class ManifestRange(Model):
    """A range from `min` to `max`, both allowed; None if that side is open."""

    min: float | None = None
    max: float | None = None
    source: str

    def contains(self, value: float) -> bool:
        return (self.min is None or value >= self.min) and (self.max is None or value <= self.max)

    def __str__(self) -> str:
        if self.max is None:
            return f"at least {self.min:g}" if self.min is not None else "anything"
        return f"at most {self.max:g}" if self.min is None else f"{self.min:g} to {self.max:g}"


class Limits(Model):
    """All optional: what is not here is not known, not unlimited."""

    min_examples: Limit | None = None
    recommended_examples: Limit | None = None
    max_file_bytes: Limit | None = Field(default=None, description="one request")
    max_upload_bytes: Limit | None = Field(default=None, description="an upload in parts")
    suffix_max: Limit | None = Field(default=None, description="characters")
    metadata_pairs: Limit | None = None
    metadata_key_max: Limit | None = Field(default=None, description="characters")
    metadata_value_max: Limit | None = Field(default=None, description="characters")
    concurrent_jobs: Limit | None = Field(default=None, description="unfinished jobs of one account and base model")
    requests_per_minute: Limit | None = Field(default=None, description="the most that tuneport sends for polling")
    epochs: ManifestRange | None = None
    batch_size: ManifestRange | None = None
    learning_rate: ManifestRange | None = None
    learning_rate_multiplier: ManifestRange | None = None
    max_length: ManifestRange | None = None
    beta: ManifestRange | None = None
    compute_multiplier: ManifestRange | None = None


class TrainingPrice(Model):
    """US dollars per million billed tokens, or per hour. `adapter` None: the same for every adapter."""

    method: Method
    adapter: Adapter | None = None
    usd_per_mtok: float | None = Field(default=None, ge=0)
    usd_per_hour: float | None = Field(default=None, ge=0)
    source: str
    as_of: date

    @model_validator(mode="after")
    def _one_unit(self) -> TrainingPrice:
        if (self.usd_per_mtok is None) == (self.usd_per_hour is None):
            raise ValueError("give usd_per_mtok or usd_per_hour, one of them")
        return self


class InferencePrice(Model):
    """US dollars per million tokens of the tuned model, or of the model itself at a provider that tunes none."""

    usd_per_mtok_input: float = Field(ge=0)
    usd_per_mtok_cached_input: float | None = Field(default=None, ge=0)
    usd_per_mtok_cache_write: float | None = Field(
        default=None, ge=0, description="price of input that is cached for 5 minutes"
    )
    usd_per_mtok_output: float = Field(ge=0)
    usd_per_mtok_batch_input: float | None = Field(default=None, ge=0)
    usd_per_mtok_batch_output: float | None = Field(default=None, ge=0)
    source: str
    as_of: date


class HostingPrice(Model):
    """An endpoint of one's own: US dollars per hour and GPU while it is up.

    `usd_per_hour_high`: the higher price, if the provider's pages disagree. `idle_stop_minutes`: so long without a
    request, and it stops and costs nothing; None: it is up until it is stopped.
    """

    gpu: str
    vram_gib: float
    usd_per_hour: float = Field(ge=0)
    usd_per_hour_high: float | None = Field(default=None, ge=0)
    idle_stop_minutes: int | None = Field(default=None, gt=0)
    source: str
    as_of: date
    note: str = ""


class TrainingBracket(Model):
    """Prices for models of up to `up_to_params_b` billion total parameters, rounded to whole billions."""

    up_to_params_b: float
    prices: tuple[TrainingPrice, ...]


class Billing(Model):
    """The billing of training: `tokens` x epochs x rate, or hours of one's own machine."""

    unit: Literal["tokens", "machine_hours"]
    validation_billed: bool = False
    minimum: MoneyLimit | None = Field(default=None, description="of one job")
    failed_pays: Literal["nothing", "unknown"] = "unknown"
    cancelled_pays: Literal["steps_done", "unknown"] = "unknown"
    source: str
    note: str = ""


class Notice(Model):
    text: str
    source: str


class Term(Model):
    """Terms for those who train there or use the result, in our words; `source` links to the provider's."""

    text: str
    source: str


class Option(Model):
    """One of the `provider_options` that this provider has, and the values that it takes, whatever their case.

    `clients`: whether a client of the gateway may set it; else only the gateway's operator.
    """

    values: tuple[str, ...]
    source: str
    clients: bool = False
    note: str = ""


class OfferedModel(Model):
    """One model that a backend tunes (or used to: see `retires`).

    `adapters` empty: the provider chooses and does not say. `retires`: the first day on which it, and what was tuned
    from it, no longer answers. `context`: tokens of one training example.
    """

    id: str
    title: str = ""
    methods: tuple[Method, ...] = (Method.SFT,)
    adapters: tuple[Adapter, ...] = ()
    context: int | None = None
    context_dpo: int | None = None
    encoding: str | None = Field(default=None, description="tiktoken's encoding, if the provider counts with it")
    params_b: float | None = Field(default=None, description="total parameters, billions")
    batch_size_max: int | None = None
    lora_rank_max: int | None = None
    lora_rank_default: int | None = None
    takes_sampling: bool = Field(default=True, description="temperature, top_p and top_k in a chat")
    takes_images: bool | None = Field(default=None, description="in training; None: not known")
    images_source: str | None = None
    thinks: bool = Field(default=False, description="it thinks by default, in tokens that are billed as answers")
    cache_from: Limit | None = Field(default=None, description="tokens of the shortest prefix that is kept on request")
    retires: date | None = None
    retires_source: str | None = None
    training: tuple[TrainingPrice, ...] = ()
    inference: InferencePrice | None = None
    minimum: MoneyLimit | None = Field(default=None, description="minimum price of one job, instead of the provider's")
    source: str
    note: str = ""

    @model_validator(mode="after")
    def _dates_have_sources(self) -> OfferedModel:
        if self.retires is not None and self.retires_source is None:
            raise ValueError("retires needs retires_source")
        if (self.takes_images is None) != (self.images_source is None):
            raise ValueError("takes_images needs images_source")
        return self

    def context_for(self, method: str) -> int | None:
        return self.context_dpo if method == "dpo" and self.context_dpo is not None else self.context

    def batch_max_for(self, method: str) -> int | None:
        """Return the largest batch of the method, or None if it is not known. Of pairs half as many fit: the provider's
        own limit for them is asked when a job is sent, and may allow more."""
        most = self.batch_size_max
        return max(1, most // 2) if method == "dpo" and most is not None else most

    def retired(self, today: date) -> bool:
        return self.retires is not None and today >= self.retires


class AnyModel(Model):
    """Allows models that are not listed: open weights (a hub id or a folder), or with `any_name` all."""

    any_name: bool = False
    methods: tuple[Method, ...]
    adapters: tuple[Adapter, ...]
    takes_images: bool | None = None
    source: str


class Manifest(Sourced):
    """`providers/NAME.toml`: the facts of one provider, no code.

    `backend` is "package.module:Class". `third_party`: an upload leaves the user's machines. `no_new_jobs_from` is the
    first day on which no job can be created any more. `unpriced` says why a method has no price here. Without a
    `base_url` each user has an own one, of `base_url_form`. `account_env` is header = variable, for what else says
    whose account it is. `deployment`: tuned models answer only once they are deployed, and how that is done.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]*$")
    title: str
    backend: str = Field(pattern=r"^[\w.]+:\w+$")
    base_url: str | None = None
    base_url_env: str | None = Field(default=None, description="the vendor's own variable; ours goes before it")
    base_url_form: str | None = Field(default=None, description="an example, if each user has an own address")
    api_key_env: str | None = None
    key_header: Literal["authorization", "api-key"] = "authorization"
    orders: Literal["no_body", "empty_object"] = Field(
        default="no_body", description="the body of a POST without arguments: cancel, pause, resume"
    )
    account_env: dict[str, str] = Field(default_factory=dict)
    extra: str | None = None
    packages: tuple[str, ...] = Field(default=(), description="without these the backend cannot work; `extra` has them")
    key_pattern: str | None = Field(default=None, description="a regular expression that finds its keys in any text")
    litellm_prefix: str | None = Field(default=None, description="the prefix of its models there; default: NAME/")
    option_names: dict[str, str] = Field(default_factory=dict, description="options of training: our name = its name")
    third_party: bool = True
    hidden: bool = Field(default=False, description="opened by name, but not listed and never chosen: for tests")
    data_format: str = "openai"
    also_takes: tuple[str, ...] = Field(default=(), description="formats whose datasets are not written as data_format")
    max_age_days: int = Field(default=120, gt=0)
    settle_seconds: float = Field(
        default=3600.0, ge=0, description="how long after a lost answer to a submit nothing is started again by itself"
    )
    training: TrainingRules = TrainingRules()
    no_new_jobs_from: date | None = None
    no_new_jobs_source: str | None = None
    no_training: Notice | None = Field(default=None, description="it only answers; where its models are tuned")
    notices: tuple[Notice, ...] = ()
    deployment: Notice | None = None
    options: dict[str, Option] = Field(default_factory=dict)
    terms: tuple[Term, ...] = ()
    billing: Billing | None = None
    limits: Limits = Limits()
    unpriced: dict[Method, str] = Field(default_factory=dict)
    training_brackets: tuple[TrainingBracket, ...] = ()
    hosting: tuple[HostingPrice, ...] = ()
    any_model: AnyModel | None = None
    models: tuple[OfferedModel, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _earlier_keys(cls, values: Any) -> Any:
        return read_former_epochs(values) if isinstance(values, Mapping) else values

    @model_validator(mode="after")
    def _consistent(self) -> Manifest:
        if self.no_new_jobs_from is not None and self.no_new_jobs_source is None:
            raise ValueError("no_new_jobs_from needs no_new_jobs_source")
        ids = [model.id for model in self.models]
        for model_id in ids:
            if ids.count(model_id) > 1:
                raise ValueError(f"the model {model_id} is listed twice")
        try:
            re.compile(self.key_pattern or "")
        except re.error as error:
            raise ValueError(f"key_pattern is no regular expression: {error}") from error
        bounds = [bracket.up_to_params_b for bracket in self.training_brackets]
        if bounds != sorted(set(bounds)):
            raise ValueError("training_brackets must rise by up_to_params_b")
        return self

    @property
    def own_machine(self) -> bool:
        """Return whether training is paid for by the hour, as your own machine is."""
        return self.billing is not None and self.billing.unit == "machine_hours"

    @property
    def price_table_prefix(self) -> str:
        """Return the prefix of the provider's models in litellm's table."""
        return f"{self.name}/" if self.litellm_prefix is None else self.litellm_prefix

    def stale(self, as_of: date, today: date) -> bool:
        """Return whether a fact of the day `as_of` is older than `max_age_days`."""
        return today - as_of > timedelta(days=self.max_age_days)
