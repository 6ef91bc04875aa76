"""What a provider's manifest holds. Every price, limit and date names its source.

The tables of `providers/*.toml` are these classes field by field; `providers/README.md` documents them for readers.
"""

from __future__ import annotations

import re
from datetime import date, timedelta
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from tuneport.manifests.sources import Sourced
from tuneport.types import Adapter, Model

_HUB_ID = re.compile(r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*$")

MethodName = Literal["sft", "dpo", "kto", "reward", "grpo", "rloo", "rft"]
"""What providers price: the words of `types.Method`."""


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


class Range(Model):
    """From `min` to `max`, both allowed; None where that side is open."""

    min: float | None = None
    max: float | None = None
    source: str

    def holds(self, value: float) -> bool:
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
    requests_per_minute: Limit | None = Field(default=None, description="what tuneport asks for at most, polling")
    epochs: Range | None = None
    batch_size: Range | None = None
    learning_rate: Range | None = None
    learning_rate_multiplier: Range | None = None
    beta: Range | None = None
    compute_multiplier: Range | None = None


class TrainingPrice(Model):
    """US dollars per million billed tokens, or per hour. `adapter` None: the same for every adapter."""

    method: MethodName
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
    """US dollars per million tokens of the tuned model."""

    usd_per_mtok_input: float = Field(ge=0)
    usd_per_mtok_cached_input: float | None = Field(default=None, ge=0)
    usd_per_mtok_output: float = Field(ge=0)
    usd_per_mtok_batch_input: float | None = Field(default=None, ge=0)
    usd_per_mtok_batch_output: float | None = Field(default=None, ge=0)
    source: str
    as_of: date


class HostingPrice(Model):
    """An endpoint of one's own: US dollars per hour and GPU while it is up.

    `usd_per_hour_high`: the dearer price, where the provider's pages disagree. `idle_stop_minutes`: so long without a
    request, and it stops and costs nothing; None: it is up until somebody stops it.
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
    """How training is billed: `tokens` x epochs x rate, or hours of one's own machine."""

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
    """What binds whoever trains there or uses what comes out, in our words; `source` has the link to theirs."""

    text: str
    source: str


class Option(Model):
    """One of the `provider_options` that this provider has, and the values that it takes, whatever their case."""

    values: tuple[str, ...]
    source: str
    note: str = ""


class OfferedModel(Model):
    """One model that a backend tunes (or used to: see `retires`).

    `adapters` empty: the provider chooses and does not say. `retires`: the first day on which it, and what was tuned
    from it, no longer answers. `context`: tokens of one training example.
    """

    id: str
    title: str = ""
    methods: tuple[MethodName, ...] = ("sft",)
    adapters: tuple[Adapter, ...] = ()
    context: int | None = None
    context_dpo: int | None = None
    encoding: str | None = Field(default=None, description="of tiktoken, where the provider counts with it")
    params_b: float | None = Field(default=None, description="total parameters, billions")
    batch_size_max: int | None = None
    lora_rank_max: int | None = None
    lora_rank_default: int | None = None
    retires: date | None = None
    retires_source: str | None = None
    training: tuple[TrainingPrice, ...] = ()
    inference: InferencePrice | None = None
    minimum: MoneyLimit | None = Field(default=None, description="of one job, instead of the provider's")
    source: str
    note: str = ""

    @model_validator(mode="after")
    def _dates_have_sources(self) -> OfferedModel:
        if self.retires is not None and self.retires_source is None:
            raise ValueError("retires needs retires_source")
        return self

    def context_for(self, method: str) -> int | None:
        return self.context_dpo if method == "dpo" and self.context_dpo is not None else self.context

    def retired(self, today: date) -> bool:
        return self.retires is not None and today >= self.retires


class AnyModel(Model):
    """Where a backend takes models that are not listed: open weights (a hub id or a folder), or with `any_name` all."""

    any_name: bool = False
    methods: tuple[MethodName, ...]
    adapters: tuple[Adapter, ...]
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
    base_url_form: str | None = Field(default=None, description="an example, where each user has an address")
    api_key_env: str | None = None
    key_header: Literal["authorization", "api-key"] = "authorization"
    account_env: dict[str, str] = Field(default_factory=dict)
    extra: str | None = None
    third_party: bool = True
    hidden: bool = Field(default=False, description="opened by name, but not listed and never chosen: for tests")
    data_format: str = "openai"
    also_takes: tuple[str, ...] = Field(default=(), description="formats whose datasets are not written as data_format")
    max_age_days: int = Field(default=120, gt=0)
    auto_epochs: int | Literal["openai", "tuneport"] = Field(
        default="tuneport", description="the epochs where the user gives none: a number, or whose rule picks it"
    )
    no_new_jobs_from: date | None = None
    no_new_jobs_source: str | None = None
    notices: tuple[Notice, ...] = ()
    deployment: Notice | None = None
    options: dict[str, Option] = Field(default_factory=dict)
    terms: tuple[Term, ...] = ()
    billing: Billing | None = None
    limits: Limits = Limits()
    unpriced: dict[MethodName, str] = Field(default_factory=dict)
    training_brackets: tuple[TrainingBracket, ...] = ()
    hosting: tuple[HostingPrice, ...] = ()
    any_model: AnyModel | None = None
    models: tuple[OfferedModel, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Manifest:
        if self.no_new_jobs_from is not None and self.no_new_jobs_source is None:
            raise ValueError("no_new_jobs_from needs no_new_jobs_source")
        ids = [model.id for model in self.models]
        for model_id in ids:
            if ids.count(model_id) > 1:
                raise ValueError(f"the model {model_id} is listed twice")
        bounds = [bracket.up_to_params_b for bracket in self.training_brackets]
        if bounds != sorted(set(bounds)):
            raise ValueError("training_brackets must rise by up_to_params_b")
        return self

    def offered(self, model_id: str) -> OfferedModel | None:
        """The row of `model_id`, or None where this backend does not offer it.

        A backend with `any_model` offers every hub id (`org/name`) and every existing folder.
        """
        for model in self.models:
            if model.id == model_id:
                return model
        if self.any_model is None:
            return None
        if self.any_model.any_name:
            return OfferedModel(id=model_id, methods=self.any_model.methods, source=self.any_model.source)
        from tuneport.manifests.loading import load_models

        weights = load_models().find(model_id)
        if weights is not None and weights.hub is None:
            return None
        if weights is None and not (_HUB_ID.match(model_id) or Path(model_id).expanduser().is_dir()):
            return None
        return OfferedModel(
            id=model_id,
            title=weights.title if weights else "",
            methods=self.any_model.methods,
            adapters=self.any_model.adapters,
            context=weights.context if weights else None,
            params_b=weights.params_b if weights else None,
            source=self.any_model.source,
        )

    def stale(self, as_of: date, today: date) -> bool:
        """True where a fact of the day `as_of` is older than `max_age_days`."""
        return today - as_of > timedelta(days=self.max_age_days)
