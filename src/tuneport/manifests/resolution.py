"""From the word that a user wrote to the id that a backend knows. Never a silent substitute."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from difflib import get_close_matches
from pathlib import Path
from typing import NoReturn

from tuneport.errors import ModelNotOfferedError
from tuneport.manifests.catalogue import Models
from tuneport.manifests.schema import Manifest

_NEVER = date.max


def resolve_model(
    name: str,
    backend: str,
    manifest: Manifest,
    models: Models,
    aliases: Mapping[str, str] | None = None,
) -> str:
    """The id of `name` on `backend`, for which `manifest.offered` has a row.

    `aliases` is the project's own `[models.NAME]` table (`settings.aliases(name)`), and comes first; then the aliases
    that ship in `models.toml`, the names of weights, the backend's own ids, and last `backend/model`. An alias may
    name weights as well as an id. ModelNotOfferedError has the nearest names and the lines to paste.
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


def nearest_names(name: str, backend: str, manifest: Manifest, models: Models, *, count: int = 3) -> list[str]:
    """Names that `backend` does offer, most alike first; where nothing is alike, the first ones that do not retire.

    A project's alias says nothing about its model, so likeness is by spelling only.
    """
    named = [key for key, row in models.weights.items() if row.ids.get(backend) or _local(backend, manifest, row.hub)]
    ids = [row.id for row in manifest.models]
    plain = {_plain(candidate): candidate for candidate in [*ids, *named]}  # names win over ids of the same spelling
    close = get_close_matches(_plain(name), plain, n=count, cutoff=0.55)
    if close:
        return [plain[key] for key in close]
    # The farthest last day first, so that a stand-in is not about to go itself.
    lasting = sorted(manifest.models, key=lambda row: (row.retires is not None, -(row.retires or _NEVER).toordinal()))
    return [row.id for row in lasting[:count]] or named[:count]


def _id_of(name: str, backend: str, manifest: Manifest, models: Models) -> str | None:
    weights = models.weights.get(name)
    if weights is not None:
        own = weights.ids.get(backend)
        if own is not None and manifest.offered(own) is not None:
            return own
    path = Path(name).expanduser()
    if manifest.any_model is not None and not manifest.any_model.any_name and path.is_dir():
        return str(path.absolute())
    row = manifest.offered(name)
    return None if row is None else row.id


def _local(backend: str, manifest: Manifest, hub: str | None) -> bool:
    return manifest.any_model is not None and not manifest.any_model.any_name and hub is not None


def _plain(name: str) -> str:
    return name.rsplit("/", 1)[-1].lower()


def _refuse(name: str, backend: str, manifest: Manifest, models: Models, aliases: Mapping[str, str] | None) -> NoReturn:
    wanted = (aliases or {}).get(backend, name)
    nearest = nearest_names(wanted, backend, manifest, models)
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


def _backends_of(name: str, models: Models, aliases: Mapping[str, str] | None) -> list[str]:
    row = models.weights.get(name)
    known = dict(aliases or {}) if row is None else row.ids | ({"local": row.hub} if row.hub else {})
    return sorted(known)
