"""Lists what `--set` and `--option` take, by backend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tuneport.backends import backend_manifest, load_backend_class
from tuneport.errors import TuneportError
from tuneport.settings import Settings
from tuneport.types import Adapter, Hyperparameters, Method
from tuneport.validation import describe_type


@dataclass(frozen=True)
class KnownOption:
    """`takes`: its values and what it does; `backends`: those that take it."""

    name: str
    takes: str
    backends: tuple[str, ...]


def list_hyperparameters(settings: Settings, backends: Sequence[str]) -> list[KnownOption]:
    """Return each name that `--set` takes, with those of the backends that take it with any method and adapter."""
    taken: dict[str, list[str]] = {name: [] for name in Hyperparameters.model_fields}
    for backend in backends:
        try:
            names_of = load_backend_class(backend, settings).hyperparameter_names
        except TuneportError:
            continue  # its packages are missing; `--option help` says so
        found = {name for method in Method for adapter in ("auto", *Adapter) for name in names_of(method, adapter)}
        for name in found & taken.keys():
            taken[name].append(backend)
    fields = Hyperparameters.model_fields
    return [
        KnownOption(name, f"{describe_type(fields[name].annotation)}: {fields[name].description}", tuple(found))
        for name, found in taken.items()
    ]


def list_backend_options(settings: Settings, backends: Sequence[str]) -> tuple[list[KnownOption], dict[str, str]]:
    """Return each name that `--option` takes, backend by backend; and why a backend cannot be asked, by its name."""
    found, missing = [], {}
    for backend in backends:
        try:
            told = load_backend_class(backend, settings).describe_options(backend_manifest(backend, settings))
        except TuneportError as error:
            missing[backend] = str(error)
            continue
        found += [KnownOption(name, takes, (backend,)) for name, takes in told.items()]
    return found, missing
