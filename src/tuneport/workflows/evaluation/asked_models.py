"""What stands behind the names of models that are to be measured."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tuneport.backends import manifest_of
from tuneport.errors import ConfigError
from tuneport.jobs.service import Workspace, locate_base_model, model_of
from tuneport.jobs.store import UnknownJobError
from tuneport.jobs.tables import JobRow
from tuneport.settings import Settings

FEW_SHOT = " few-shot"
BASE = "base"
_CHECKPOINT = re.compile(r":ckpt-step-\d+$")  # behind the name of a job's model
_STEP = re.compile(r":\d+$")  # behind a job's id


@dataclass(frozen=True)
class AskedModel:
    """`model` is the backend's own id, `base` that of the weights that were tuned (the same where none were).

    `trained_on`: the file that it was tuned on, as it was uploaded, by what people call it; then those of the jobs that
    it went on from.
    """

    name: str
    backend: str
    model: str
    base: str
    few_shot: bool = False
    trained_on: Mapping[str, Path] = field(default_factory=dict)

    @property
    def plain_name(self) -> str:
        """Without examples."""
        return self.name.removesuffix(FEW_SHOT)

    @property
    def tuned(self) -> bool:
        return self.model != self.base


def asked_models(workspace: Workspace, names: Sequence[str], *, base: str | None = None) -> list[AskedModel]:
    """Each a job, a tuned model, `backend/model`, or `base`, which is what the jobs among them were tuned from (or what
    `base` says); with " few-shot" after it, it is shown examples. ConfigError for a name twice, or no known base."""
    if len(set(names)) < len(names):
        raise ConfigError(
            f"{next(name for name in names if names.count(name) > 1)} is named twice; name each model once"
        )
    plain = [name.removesuffix(FEW_SHOT) for name in names]
    found = {name: _found(workspace, name) for name in plain if name != BASE}
    if BASE in plain:
        found[BASE] = _base(workspace, [each for each in found.values() if each.tuned], base)
    return [replace(found[name.removesuffix(FEW_SHOT)], name=name, few_shot=name.endswith(FEW_SHOT)) for name in names]


def where(asked: AskedModel, settings: Settings) -> tuple[str, str | None, str]:
    """By what its answers are kept: the same name at another address is another model, and so is a folder on this
    machine whose files have changed."""
    manifest = manifest_of(asked.backend, settings)
    address = settings.base_url(asked.backend, manifest.base_url)
    folder = Path(asked.model).expanduser()
    if manifest.third_party or not folder.is_dir():
        return asked.backend, address, asked.model
    files = sorted((each.name, each.stat().st_size, each.stat().st_mtime_ns) for each in folder.iterdir())
    return asked.backend, json.dumps(files), str(folder.resolve())


def _found(workspace: Workspace, name: str) -> AskedModel:
    row = workspace.store.job_of_model(name)
    try:
        row = row or workspace.store.job(name)
    except UnknownJobError:
        backend, model = locate_base_model(name, workspace.settings, None)
        row = workspace.store.job_of_model(_CHECKPOINT.sub("", model))
        if row is None or row.backend != backend:
            return AskedModel(name, backend, model, model)
    else:
        backend, model = model_of(row)
    return AskedModel(name, backend, model, row.model, trained_on=_trained_on(workspace, row))


def _trained_on(workspace: Workspace, row: JobRow) -> dict[str, Path]:
    """What the job's weights have seen: a job that goes on from another one has learnt that one's rows, too."""
    found: dict[str, Path] = {}
    seen: set[str] = set()
    behind: JobRow | None = row
    while behind is not None and behind.id not in seen:
        seen.add(behind.id)
        found[f"{behind.tune_spec.dataset.name} of {behind.id}"] = behind.prepared_data.training.path
        start = behind.tune_spec.from_checkpoint or behind.model
        whole = start.rpartition(":")[0] if _STEP.search(start) else start
        behind = workspace.store.job_behind(row.backend, whole) or workspace.store.job_of_model(start)
    return found


def _base(workspace: Workspace, jobs: Sequence[AskedModel], said: str | None) -> AskedModel:
    if said is not None:
        backend, model = locate_base_model(said, workspace.settings, None)
        return AskedModel(BASE, backend, model, model)
    bases = sorted({(each.backend, each.base) for each in jobs})
    if len(bases) != 1:
        why = "none of the models is a job" if not bases else f"the jobs have {len(bases)} base models"
        raise ConfigError(f"which model is `base`? {why}; say so with --base MODEL, or name it as backend/model")
    return AskedModel(BASE, *bases[0], bases[0][1])
