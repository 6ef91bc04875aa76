"""What stands behind the names of models that are to be measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tuneport.backends import manifest_of
from tuneport.errors import ConfigError
from tuneport.jobs.service import Workspace, locate_base_model, model_of
from tuneport.jobs.store import UnknownJobError
from tuneport.settings import Settings

FEW_SHOT = " few-shot"
BASE = "base"


@dataclass(frozen=True)
class AskedModel:
    """`model` is the backend's own id, `base` that of the weights that were tuned (the same where none were).

    `training`: what it was tuned on, as it was uploaded, and `dataset` what that was called.
    """

    name: str
    backend: str
    model: str
    base: str
    few_shot: bool = False
    training: Path | None = None
    dataset: str = ""

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
    """By what its answers are kept: the same name at another address is another model."""
    address = settings.base_url(asked.backend, manifest_of(asked.backend, settings).base_url)
    return asked.backend, address, asked.model


def _found(workspace: Workspace, name: str) -> AskedModel:
    row = workspace.store.job_of_model(name)
    try:
        row = row or workspace.store.job(name)
    except UnknownJobError:
        backend, model = locate_base_model(name, workspace.settings, None)
        return AskedModel(name, backend, model, model)
    backend, model = model_of(row)
    dataset = f"{row.tune_spec.dataset.name} of {row.id}"
    return AskedModel(name, backend, model, row.model, training=row.prepared_data.training.path, dataset=dataset)


def _base(workspace: Workspace, jobs: Sequence[AskedModel], said: str | None) -> AskedModel:
    if said is not None:
        backend, model = locate_base_model(said, workspace.settings, None)
        return AskedModel(BASE, backend, model, model)
    bases = sorted({(each.backend, each.base) for each in jobs})
    if len(bases) != 1:
        why = "none of the models is a job" if not bases else f"the jobs have {len(bases)} base models"
        raise ConfigError(f"which model is `base`? {why}; say so with --base MODEL, or name it as backend/model")
    return AskedModel(BASE, *bases[0], bases[0][1])
