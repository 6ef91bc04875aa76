"""Resolves a user's model name to a backend's model id. Never substitutes another model silently."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from difflib import get_close_matches
from pathlib import Path
from typing import NoReturn

from tuneport.errors import ModelNotOfferedError
from tuneport.manifests.catalogue import ModelCatalogue
from tuneport.manifests.loading import load_models
from tuneport.manifests.schema import Manifest, OfferedModel

_NEVER = date.max
_NEAREST = 3  # names in a refusal
_HUB_ID = re.compile(r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*$")


def resolve_manifest_model(
    name: str,
    backend: str,
    manifest: Manifest,
    models: ModelCatalogue,
    aliases: Mapping[str, str] | None = None,
) -> str:
    """Return the id of `name` on `backend`; `find_manifest_model` has a row for it.

    `aliases` is the project's own `[models.NAME]` table (`settings.aliases(name)`), and comes first; then the aliases
    that ship in `models.toml`, the names of weights, the backend's own ids, and last `backend/model`. An alias may name
    weights as well as an id. Raises ModelNotOfferedError with the nearest names and the lines to paste.
    """
    if aliases is not None and backend in aliases:
        return _id_of(aliases[backend], backend, manifest, models) or _refuse(name, backend, manifest, models, aliases)
    shipped = models.aliases.get(name, {})
    if backend in shipped:
        return _id_of(shipped[backend], backend, manifest, models) or _refuse(name, backend, manifest, models, shipped)
    found = None
    # "openai/gpt-oss-20b" is an id of its own on some backends, so a listed id is not taken apart.
    if name.startswith(f"{backend}/") and name not in {row.id for row in manifest.models}:
        found = _id_of(name.removeprefix(f"{backend}/"), backend, manifest, models)
    found = found or _id_of(name, backend, manifest, models)
    return found or _refuse(name, backend, manifest, models, aliases or shipped or None)


def resolve_manifest_model_id(name: str, manifest: Manifest) -> str:
    """Return the id of a name that the project's aliases must not change: it is an id already, or means the weights
    themselves. Raises ModelNotOfferedError as `resolve_model` does."""
    return resolve_manifest_model(name, manifest.name, manifest, load_models())


def _nearest_names(name: str, backend: str, manifest: Manifest, models: ModelCatalogue) -> list[str]:
    """Return names that `backend` does offer, most alike first; if none is alike, the first ones that do not retire.

    A project's alias says nothing about its model, so likeness is by spelling only.
    """
    named = [key for key, row in models.weights.items() if row.ids.get(backend) or _local(manifest, row.hub)]
    ids = [row.id for row in manifest.models]
    plain = {_plain(candidate): candidate for candidate in [*ids, *named]}  # names win over ids of the same spelling
    close = get_close_matches(_plain(name), plain, n=_NEAREST, cutoff=0.55)
    if close:
        return [plain[key] for key in close]
    # The farthest shutdown first, so that a stand-in is not about to go itself.
    lasting = sorted(manifest.models, key=lambda row: (row.retires is not None, -(row.retires or _NEVER).toordinal()))
    return [row.id for row in lasting[:_NEAREST]] or named[:_NEAREST]


def _id_of(name: str, backend: str, manifest: Manifest, models: ModelCatalogue) -> str | None:
    weights = models.weights.get(name)
    if weights is not None:
        own = weights.ids.get(backend)
        if own is not None and find_manifest_model(manifest, own) is not None:
            return own
    path = Path(name).expanduser()
    if manifest.any_model is not None and not manifest.any_model.any_name and path.is_dir():
        return str(path.absolute())
    row = find_manifest_model(manifest, name)
    return None if row is None else row.id


def _local(manifest: Manifest, hub: str | None) -> bool:
    return manifest.any_model is not None and not manifest.any_model.any_name and hub is not None


def _plain(name: str) -> str:
    return name.rsplit("/", 1)[-1].lower()


def _refuse(
    name: str, backend: str, manifest: Manifest, models: ModelCatalogue, aliases: Mapping[str, str] | None
) -> NoReturn:
    wanted = (aliases or {}).get(backend, name)
    nearest = _nearest_names(wanted, backend, manifest, models)
    message = f"{manifest.title} does not offer {wanted}" + (
        f", which is what {name} stands for" if wanted != name else ""
    )
    others = [other for other in _backends_of(name, models, aliases) if other != backend]
    if others:
        message += f" (offered by: {', '.join(others)})"
    if not nearest:
        raise ModelNotOfferedError(f"{message}; choose another backend", model=name, backend=backend)
    lines = f'[models."{name}"]\n{backend} = "{nearest[0]}"'
    raise ModelNotOfferedError(
        f"{message}; nearest: {', '.join(nearest)}. To let one stand in for it, put this into tuneport.toml:\n{lines}",
        model=name,
        backend=backend,
        nearest=nearest,
    )


def _backends_of(name: str, models: ModelCatalogue, aliases: Mapping[str, str] | None) -> list[str]:
    row = models.weights.get(name)
    known = dict(aliases or {}) if row is None else row.ids | ({"local": row.hub} if row.hub else {})
    return sorted(known)


def find_manifest_model(manifest: Manifest, model_id: str) -> OfferedModel | None:
    """Return the row of `model_id`, or None if the backend does not offer it.

    A backend with `any_model` offers every hub id (`org/name`) and every existing folder.
    """
    for model in manifest.models:
        if model.id == model_id:
            return model
    any_model = manifest.any_model
    if any_model is None:
        return None
    if any_model.any_name:
        return OfferedModel(id=model_id, methods=any_model.methods, source=any_model.source)
    weights = load_models().find(model_id)
    if weights is not None and weights.hub is None:
        return None
    if weights is None and not (_HUB_ID.match(model_id) or Path(model_id).expanduser().is_dir()):
        return None
    return OfferedModel(
        id=model_id,
        title=weights.title if weights else "",
        methods=any_model.methods,
        adapters=any_model.adapters,
        context=weights.context if weights else None,
        params_b=weights.params_b if weights else None,
        takes_images=any_model.takes_images,
        images_source=None if any_model.takes_images is None else any_model.source,
        source=any_model.source,
    )
