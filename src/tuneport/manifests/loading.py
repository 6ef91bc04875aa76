"""Reads `providers/`, each file once a process. What is wrong with one is a ConfigError that names the field."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from datetime import date
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, TypeVar

from tuneport.errors import ConfigError
from tuneport.manifests.catalogue import GPUCatalogue, ModelCatalogue, RivalCatalogue
from tuneport.manifests.schema import AnyModel, Billing, Manifest, OfferedModel
from tuneport.manifests.sources import Confidence, Source, Sourced
from tuneport.types import Method
from tuneport.validation import validate_toml_file, validate_toml_table

FACTS = ("models", "gpus", "rivals")
"""The files in `providers/` that are not a provider's."""
ENTRY_POINTS = "tuneport.backends"

F = TypeVar("F", bound=Sourced)


@cache
def _folder() -> Path:
    """Return `tuneport/providers` in an installed wheel, `providers/` beside `src/` in a checkout."""
    installed = Path(str(files("tuneport"))) / "providers"
    checkout = Path(__file__).parents[3] / "providers"
    for folder in (installed, checkout):
        if folder.is_dir():
            return folder
    raise ConfigError(f"the provider facts are missing: neither {installed} nor {checkout} is a folder; reinstall")


def manifest_names() -> list[str]:
    """Return every backend that has a manifest and is not hidden: those in `providers/`, then those of other
    packages."""
    own = sorted(path.stem for path in _folder().glob("*.toml") if path.stem not in FACTS and not _own(path).hidden)
    return own + sorted(name for name in _outside() if name not in own)


@cache
def load_manifest(name: str) -> Manifest:
    """Return the facts of one backend. Raises ConfigError if there is no such backend, or its file is wrong."""
    path = _folder() / f"{name}.toml"
    if name not in FACTS and path in _folder().glob("*.toml"):
        return _own(path)
    if name not in manifest_names():
        raise ConfigError(f"there is no backend {name!r}; the backends are: {', '.join(manifest_names())}")
    return _from_entry_point(_outside()[name])


@cache
def _own(path: Path) -> Manifest:
    manifest = read_manifest(path)
    if manifest.name != path.stem:
        raise ConfigError(f"{path}: name is {manifest.name!r} but the file is {path.name}; make them agree")
    return manifest


@cache
def load_models() -> ModelCatalogue:
    return validate_toml_file(ModelCatalogue, _folder() / "models.toml")


@cache
def load_gpus() -> GPUCatalogue:
    return validate_toml_file(GPUCatalogue, _folder() / "gpus.toml")


@cache
def load_rivals() -> RivalCatalogue:
    return validate_toml_file(RivalCatalogue, _folder() / "rivals.toml")


def read_manifest(path: Path) -> Manifest:
    """Read a manifest from any file, as `load_manifest` does for those in `providers/`."""
    return validate_toml_file(Manifest, path)


def derive_manifest(
    name: str,
    like: Manifest,
    *,
    today: date,
    base_url: str | None = None,
    api_key_env: str | None = None,
    orders: Literal["no_body", "empty_object"] | None = None,
    models: Sequence[Mapping[str, Any]] = (),
) -> Manifest:
    """Derive a manifest for another server that speaks `like`'s wire format.

    It holds no prices, models, limits, dates or notices of `like`, because they do not apply to it. Raises ConfigError
    if `like` needs a key and `api_key_env` names no other variable. `models` are the rows of the models that it tunes
    (`OfferedModel`; the project's file is the source of rows without one). If a row has a training price, it bills by
    tokens; without rows, it takes every model name. `orders` as in `Manifest`: `like`'s, unless given.
    """
    if like.api_key_env is not None and api_key_env is None:
        raise ConfigError(
            f"tuneport.toml: backends.{name} needs base_url and api_key_env, the variable of that server's own key; "
            f"{like.api_key_env} is for {like.title} and is not sent elsewhere unless that line names it"
        )
    # Not the address: it may hold a password, and sources are shown.
    source = Source(url="tuneport.toml", read=today, confidence=Confidence.UNVERIFIED, note="the project's own file")
    rows = tuple(_own_model(name, row, today) for row in models)
    methods = tuple(word for word in Method if any(word in row.methods for row in like.models))
    answers_only = like.no_training and like.no_training.model_copy(update={"source": "project"})
    if answers_only is None:
        methods = methods or (Method.SFT, Method.DPO)
    any_model = AnyModel(any_name=True, methods=methods, adapters=(), source="project")
    priced = any(row.training for row in rows)
    return Manifest(
        name=name,
        title=f"{name} (speaks like {like.title})",
        backend=like.backend,
        base_url=base_url,
        api_key_env=api_key_env,
        extra=like.extra,
        packages=like.packages,
        key_pattern=like.key_pattern,
        option_names=like.option_names,
        third_party=like.third_party,
        data_format=like.data_format,
        also_takes=like.also_takes,
        training=like.training.sourced("project"),
        key_header=like.key_header,
        orders=orders or like.orders,
        no_training=answers_only,
        billing=Billing(unit="tokens", source="project") if priced else None,
        any_model=None if rows else any_model,
        models=rows,
        sources={"project": source},
    )


def _own_model(backend: str, row: Mapping[str, Any], today: date) -> OfferedModel:
    """Return a row of the project's file. Its prices are as old as the file, which is read now."""

    def sourced(value: Any) -> Any:
        return {"source": "project", "as_of": today, **value} if isinstance(value, Mapping) else value

    filled = {"source": "project", **row}
    if isinstance(row.get("training"), list):
        filled["training"] = [sourced(price) for price in row["training"]]
    if "inference" in row:
        filled["inference"] = sourced(row["inference"])
    return validate_toml_table(OfferedModel, filled, f"backends.{backend}.models")


def _outside() -> Mapping[str, EntryPoint]:
    return _registered(tuple(sys.path))


@cache
def _registered(path: tuple[str, ...]) -> Mapping[str, EntryPoint]:
    """Return the registered entry points. Looking into every installed package takes a tenth of a second, so it is done
    once for each search path."""
    return {entry.name: entry for entry in entry_points(group=ENTRY_POINTS)}


def _from_entry_point(entry: EntryPoint) -> Manifest:
    """Load an entry point, which names a Manifest, or the path of its TOML file."""
    try:
        value = entry.load()
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"the backend {entry.name} ({entry.value}) cannot be imported: {error}") from error
    manifest = value if isinstance(value, Manifest) else read_manifest(Path(value))
    if manifest.name != entry.name:
        raise ConfigError(f"the backend {entry.name} ({entry.value}) has a manifest named {manifest.name!r}")
    return manifest
