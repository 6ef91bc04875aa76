"""Resolves a user's model name to a backend's model id. Never substitutes another model silently."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from tuneport.errors import ModelNotOfferedError
from tuneport.manifests.catalogue import ModelCatalogue
from tuneport.manifests.loading import load_manifest, load_models, manifest_names
from tuneport.manifests.schema import Manifest, OfferedModel
from tuneport.spelling import nearest_names

ANY_BACKEND = "any backend"
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
    weights as well as an id. Raises ModelNotOfferedError with the nearest names, or the backends that do offer it.
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


def model_not_offered_error(
    name: str, nearest: Iterable[tuple[str, str]], names: Iterable[str] = (), *, who: str = "no backend"
) -> ModelNotOfferedError:
    """Return the one error for a model that no backend offers. `nearest` are the names most alike at each backend, as
    (name, backend); `names`: those that the project gives to models."""
    backends: dict[str, list[str]] = {each: [] for each in names}
    for each, backend in nearest:
        backends.setdefault(each, []).append(backend)
    alike = nearest_names(name, backends, most=_NEAREST, key=_last_part)
    told = [f"{each} ({', '.join(backends[each])})" if backends[each] else each for each in alike]
    hint = f"did you mean {_one_of(told)}?" if told else "`tuneport models` lists what can be tuned"
    return ModelNotOfferedError(f"{who} offers {name!r}; {hint}", model=name, backend=ANY_BACKEND, nearest=alike)


def _nearest_offers(name: str, backend: str, manifest: Manifest, models: ModelCatalogue) -> list[str]:
    """Return the names of what `backend` does offer that are most like this one, those of weights before ids.

    A project's alias says nothing about its model, so likeness is by spelling only.
    """
    named = [key for key, row in models.weights.items() if row.ids.get(backend) or _local(manifest, row.hub)]
    same = {_last_part(key).lower() for key in named}
    ids = [row.id for row in manifest.models if _last_part(row.id).lower() not in same]
    return nearest_names(name, [*named, *ids], most=_NEAREST, key=_last_part)


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


def _last_part(name: str) -> str:
    return name.rsplit("/", 1)[-1]


def _one_of(names: Sequence[str]) -> str:
    return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _refuse(
    name: str, backend: str, manifest: Manifest, models: ModelCatalogue, aliases: Mapping[str, str] | None
) -> NoReturn:
    """Raise the error: a name that is known elsewhere is no typo, and any other one is told what is like it."""
    wanted = (aliases or {}).get(backend, name)
    nearest = _nearest_offers(wanted, backend, manifest, models)
    lists = f"`tuneport models --backend {backend}` lists what it does"
    others = [other for other in _backends_of(name, models, aliases) if other != backend]
    message = f"{manifest.title} does not offer {wanted}"
    if wanted != name:
        message += f", which is what {name} stands for"
    if others:
        message += f" (offered by: {', '.join(others)})"
    if others and wanted == name and manifest.third_party:
        alike = f" (most alike: {', '.join(nearest)})" if nearest else ""
        message += f'; {lists}, and a line in tuneport.toml lets one stand in for it{alike}: [models."{name}"] '
        message += f'{backend} = "MODEL"'
    elif nearest and not others:
        message += f"; did you mean {_one_of(nearest)}?"
    else:
        message += f"; {lists}"
    raise ModelNotOfferedError(message, model=name, backend=backend, nearest=nearest)


def _backends_of(name: str, models: ModelCatalogue, aliases: Mapping[str, str] | None) -> list[str]:
    row = models.weights.get(name)
    known = set(aliases or {}) if row is None else set(row.ids) | ({"local"} if row.hub else set())
    known |= {other for other in manifest_names() if any(each.id == name for each in load_manifest(other).models)}
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
