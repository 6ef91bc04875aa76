"""A job of the old account, translated from its provider's terms into ours.

It reads the names that OpenAI's, Together's and tuneport's own backends use; other settings are kept in `other`, so
that a plan can say that they were not carried over. If tuneport started the job itself, its own row knows better than
the provider what was asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from tuneport.backends.openai.jobs import parse_openai_base_model
from tuneport.lifecycle.schema.records import JobRecord
from tuneport.types import Adapter, Hyperparameters, JobState, JobStatus, Method, Model, Wandb

TOKEN_KEY = "tuneport_token"  # what tuneport's OpenAI backend puts into a job's metadata; of no meaning elsewhere
FROM_CHECKPOINT = "from_checkpoint"
_TOGETHER_METHODS = {method.value: method for method in (Method.SFT, Method.DPO, Method.RFT)}
_NAMES = {
    "n_epochs": "epochs",
    "max_seq_length": "max_length",
    "lora_r": "lora_rank",
    "dpo_beta": "beta",
} | {name: name for name in Hyperparameters.model_fields}
_ADAPTERS = {"Lora": Adapter.LORA, "Full": Adapter.FULL}


class MigrationSourceJob(Model):
    """One job as it was run. `hyperparameters` has our names and the numbers that were used.

    `method` None: the provider does not say, and the training file tells. `files_known` False: the backend does not
    name a job's files.
    """

    backend: str
    id: str
    status: JobStatus
    raw_status: str
    model: str
    tuned_model: str | None = None
    method: Method | None = None
    adapter: Adapter | None = None
    created_at: datetime | None = None
    finished_at: datetime | None = None
    trained_tokens: int | None = None
    training_file: str | None = None
    validation_file: str | None = None
    result_files: tuple[str, ...] = ()
    hyperparameters: dict[str, Any] = Field(default_factory=dict)
    other: dict[str, Any] = Field(default_factory=dict)
    suffix: str | None = None
    seed: int | None = None
    metadata: dict[str, str] = Field(default_factory=dict)
    wandb: Wandb | None = None
    grader: dict[str, Any] | None = None
    reward: str | None = None
    reward_folder: Path | None = None
    tuneport_job: str | None = Field(default=None, description="tuneport's own job row, if tuneport started the job")

    @property
    def base_model(self) -> str:
        """Return what the job started from; for a tuned model its own base, which its name says."""
        return parse_openai_base_model(self.model)

    @property
    def files(self) -> list[tuple[str, str]]:
        """Return purpose and id of each file that the job has, its training file first."""
        named = [("training", self.training_file), ("validation", self.validation_file)]
        return [(purpose, file_id) for purpose, file_id in named if file_id] + [
            ("result", file_id) for file_id in self.result_files
        ]


def read_source_job(
    backend: str, state: JobState, row: JobRecord | None = None, files: Mapping[str, str] | None = None
) -> MigrationSourceJob:
    """Return the job. `row` is our own of that job, if there is one, and `files` its uploads: purpose to id."""
    details, given = dict(state.details), dict(state.hyperparameters)
    way = details.pop("method", None) or {}
    their_method = given.pop("training_method", None) or {}
    their_type = given.pop("training_type", None) or {}
    options = way.get(way.get("type", "")) or {}
    numbers = {**given, **their_method, **their_type}
    hyperparameters, other = _numbers({name: numbers[name] for name in numbers if name not in ("method", "type")})
    spec = None if row is None else row.tune_spec
    metadata = {str(name): str(value) for name, value in (details.get("metadata") or {}).items() if name != TOKEN_KEY}
    if spec is not None:
        metadata = metadata or spec.metadata
    start = spec.from_checkpoint if spec else details.get(FROM_CHECKPOINT)
    if start:
        other[FROM_CHECKPOINT] = start
    seed = details.get("seed", other.pop("random_seed", None))
    suffix = details.get("user_provided_suffix") or details.get("suffix")
    named = way.get("type") or their_method.get("method") or ""
    method = Method.of_openai(named) or _TOGETHER_METHODS.get(named)
    return MigrationSourceJob(
        backend=backend,
        id=state.remote_id,
        status=state.status,
        raw_status=state.raw_status,
        model=state.model,
        tuned_model=state.tuned_model,
        method=spec.method if spec else method,
        adapter=_adapter(spec.adapter if spec else _ADAPTERS.get(their_type.get("type", ""))),
        created_at=state.created_at,
        finished_at=state.finished_at,
        trained_tokens=state.trained_tokens,
        training_file=details.get("training_file") or (files or {}).get("training"),
        validation_file=details.get("validation_file") or (files or {}).get("validation"),
        result_files=state.result_files,
        hyperparameters=hyperparameters,
        other=other,
        suffix=spec.suffix if spec else suffix or None,
        seed=spec.seed if spec else seed if isinstance(seed, int) else None,
        metadata=metadata,
        wandb=spec.wandb if spec else _wandb(details.get("integrations")),
        grader=spec.grader if spec else options.get("grader"),
        reward=spec.reward if spec else None,
        reward_folder=spec.reward_folder if spec else None,
        tuneport_job=None if row is None else row.id,
    )


def _numbers(given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the settings that have a name and a valid value of ours, and the rest; `auto` and empty ones are left
    out."""
    ours: dict[str, Any] = {}
    rest: dict[str, Any] = {}
    for name, value in given.items():
        if value in (None, "", "auto", "max", {}):
            continue
        try:
            ours |= Hyperparameters.model_validate({_NAMES[name]: value}).given()
        except (KeyError, ValidationError):
            rest[name] = value
    if "learning_rate" in ours:
        ours.pop("learning_rate_multiplier", None)  # a backend that shows both has already multiplied
    return ours, rest


def _adapter(adapter: Adapter | str | None) -> Adapter | None:
    return None if adapter in (None, "auto") else Adapter(adapter)


def _wandb(integrations: Any) -> Wandb | None:
    for integration in integrations if isinstance(integrations, list) else ():
        settings = integration.get("wandb") if isinstance(integration, dict) else None
        if isinstance(settings, dict) and settings.get("project"):
            known = {name: settings[name] for name in Wandb.model_fields if settings.get(name) is not None}
            try:
                return Wandb.model_validate(known)
            except ValidationError:
                return None
    return None
