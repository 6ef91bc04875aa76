"""Models to be measured, resolved from their names."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from tuneport.backends import backend_manifest
from tuneport.backends.routing import BackendCatalogue
from tuneport.data.dataset import Dataset
from tuneport.errors import ConfigError
from tuneport.lifecycle.schema.records import JobRecord
from tuneport.lifecycle.service import CHECKPOINT, JobService, tuned_model_of_job
from tuneport.settings import Settings

Prompting = Literal["plain", "few-shot", "instructed"]
"""How a model is asked: the row as it is, after examples, or with the classes that it may answer with."""
FEW_SHOT, INSTRUCTED = " few-shot", " instructed"
_PROMPTINGS: Mapping[str, Prompting] = {FEW_SHOT: "few-shot", INSTRUCTED: "instructed"}
BASE = "base"
_STEP = re.compile(r":\d+$")  # behind a job's id


@dataclass(frozen=True)
class EvaluatedModel:
    """A model that is measured. `model` is the backend's own id, `base` that of the weights that were tuned (the same
    if none were).

    `trained_on`: the uploaded training file by its name for people, then those of the jobs that it continued from.
    `training`: the job's dataset, as the job reads it.
    """

    name: str
    backend: str
    model: str
    base: str
    prompting: Prompting = "plain"
    trained_on: Mapping[str, Path] = field(default_factory=dict)
    training: Dataset | None = None

    @property
    def plain_name(self) -> str:
        """Return the name without how it is asked."""
        return plain_model_name(self.name)

    @property
    def few_shot(self) -> bool:
        return self.prompting == "few-shot"

    @property
    def tuned(self) -> bool:
        return self.model != self.base


def plain_model_name(name: str) -> str:
    return name.removesuffix(FEW_SHOT).removesuffix(INSTRUCTED)


def find_evaluated_models(
    workspace: JobService, names: Sequence[str], *, base: str | None = None
) -> list[EvaluatedModel]:
    """Return the models of these names. A name is a job, a tuned model, `backend/model`, or `base`, which is what the
    jobs among them were tuned from (or what `base` says); with " few-shot" after it, it is shown examples, with
    " instructed" it is told the classes. Raises ConfigError for a name twice, or no known base."""
    if len(set(names)) < len(names):
        raise ConfigError(
            f"{next(name for name in names if names.count(name) > 1)} is named twice; name each model once"
        )
    plain = [plain_model_name(name) for name in names]
    found = {name: _found(workspace, name) for name in plain if name != BASE}
    if BASE in plain:
        found[BASE] = _base(workspace, [each for each in found.values() if each.tuned], base)
    return [replace(found[plain_model_name(name)], name=name, prompting=_prompting(name)) for name in names]


def _prompting(name: str) -> Prompting:
    return next((prompting for ending, prompting in _PROMPTINGS.items() if name.endswith(ending)), "plain")


def answer_cache_location(asked: EvaluatedModel, settings: Settings) -> tuple[str, str | None, str]:
    """Return the key of its answers in the cache: the same name at another address is another model, and so is a folder
    on this machine whose files have changed."""
    manifest = backend_manifest(asked.backend, settings)
    address = settings.base_url(asked.backend, manifest.base_url)
    folder = Path(asked.model).expanduser()
    if manifest.third_party or not folder.is_dir():
        return asked.backend, address, asked.model
    files = sorted((each.name, each.stat().st_size, each.stat().st_mtime_ns) for each in folder.iterdir())
    return asked.backend, json.dumps(files), str(folder.resolve())


def _found(workspace: JobService, name: str) -> EvaluatedModel:
    row = workspace.job_behind(name)
    if row is not None:
        backend, model = tuned_model_of_job(row)
        return _of_job(workspace, name, row, backend, model)
    backend, model = workspace.locate(name)
    row = workspace.store.models.find_job(CHECKPOINT.sub("", model))
    if row is None or row.backend != backend:
        return EvaluatedModel(name, backend, model, model)
    return _of_job(workspace, name, row, backend, model)


def _of_job(workspace: JobService, name: str, row: JobRecord, backend: str, model: str) -> EvaluatedModel:
    files, training = _training_files_of(workspace, row), Dataset.of_spec(row.tune_spec)
    return EvaluatedModel(name, backend, model, row.model, trained_on=files, training=training)


def _training_files_of(workspace: JobService, row: JobRecord) -> dict[str, Path]:
    """Return the files that the job's weights have seen: a job that continues another one has learnt that one's rows,
    too."""
    found: dict[str, Path] = {}
    seen: set[str] = set()
    behind: JobRecord | None = row
    while behind is not None and behind.id not in seen:
        seen.add(behind.id)
        found[f"{behind.tune_spec.dataset.name} of {behind.id}"] = behind.prepared_data.training.path
        start = behind.tune_spec.from_checkpoint or behind.model
        whole = start.rpartition(":")[0] if _STEP.search(start) else start
        behind = workspace.store.jobs.find_by_remote_id(row.backend, whole) or workspace.store.models.find_job(start)
    return found


def _base(workspace: JobService, jobs: Sequence[EvaluatedModel], said: str | None) -> EvaluatedModel:
    if said is not None:
        found = BackendCatalogue(workspace.settings).route_model(said)
        return EvaluatedModel(BASE, found.backend, found.model, found.model)
    bases = sorted({(each.backend, each.base) for each in jobs})
    if len(bases) != 1:
        why = "none of the models is a job" if not bases else f"the jobs have {len(bases)} base models"
        raise ConfigError(f"which model is `base`? {why}; say so with --base MODEL, or name it as backend/model")
    return EvaluatedModel(BASE, *bases[0], bases[0][1])
