"""The backends by name. Nothing of a provider is imported until its backend is opened."""

from __future__ import annotations

import importlib
from datetime import UTC, datetime
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from tuneport.backends.hosted.http.network import strip_url_credentials
from tuneport.errors import ConfigError
from tuneport.installation import install_extra, install_package
from tuneport.manifests import derive_manifest, load_manifest, manifest_names

if TYPE_CHECKING:
    from tuneport.backends.base import FineTuneBackend
    from tuneport.manifests import Manifest
    from tuneport.settings import Settings


def backend_names(settings: Settings) -> list[str]:
    """Return the backends in `providers/`, those that other packages register, and those that the project's file
    defines."""
    names = manifest_names()
    return names + [name for name, table in settings.project.backends.items() if table.like and name not in names]


def training_backend_manifests(settings: Settings, model: str | None = None) -> list[Manifest]:
    """Return the manifests of the backends that train, and of one that only answers as `model`, which says so."""
    manifests = [backend_manifest(name, settings) for name in backend_names(settings)]
    return [each for each in manifests if each.no_training is None or any(row.id == model for row in each.models)]


def backend_manifest(name: str, settings: Settings) -> Manifest:
    """Return the facts of one backend, with the address and the key's variable of its table in `tuneport.toml`.

    A backend that the project defines (`like`) has no prices of the provider that it is like. Raises ConfigError for an
    unknown name.
    """
    table = settings.project.backends.get(name)
    if table is None or table.like is None:
        if table is not None and table.models:
            raise ConfigError(f"tuneport.toml: backends.{name}.models needs like, the backend that it speaks like")
        if name not in backend_names(settings) and name in settings.project.backends:
            raise ConfigError(
                f'tuneport.toml: backends.{name} needs like = "openai" (or another backend to speak like)'
            )
        manifest = load_manifest(name)
        given: dict[str, Any] = {}
        if table is not None:
            given = {"base_url": _public(table.base_url), "api_key_env": table.api_key_env, "orders": table.orders}
        if manifest.base_url_env and not given.get("base_url"):
            given["base_url"] = _public(settings.get(manifest.base_url_env) or None)
        changes = {field: value for field, value in given.items() if value is not None}
        return manifest.model_copy(update=changes) if changes else manifest
    if name in manifest_names():
        raise ConfigError(f"tuneport.toml: backends.{name}.like: {name} exists already; give the new one another name")
    today = datetime.now(UTC).date()
    return derive_manifest(
        name,
        load_manifest(table.like),
        today=today,
        base_url=_public(table.base_url),
        api_key_env=table.api_key_env,
        orders=table.orders,
        models=table.models,
    )


def _public(url: str | None) -> str | None:
    """Return the manifest without an address that may hold a password: a manifest may be shown to anyone, and backends
    ask the settings for the address."""
    return None if url is None else strip_url_credentials(url)


def open_backend(name: str, settings: Settings) -> FineTuneBackend:
    """Open the backend called `name`, by its manifest. Sends nothing, and needs no key until its first call.

    Raises ConfigError for an unknown name, or if a package that the backend needs is not installed.
    """
    return load_backend_class(name, settings)(backend_manifest(name, settings), settings)


def load_backend_class(name: str, settings: Settings) -> type[FineTuneBackend]:
    """Return the class of a backend, for what it says without an address. Raises ConfigError as `open_backend` does."""
    manifest = backend_manifest(name, settings)
    module_name, _, class_name = manifest.backend.partition(":")
    try:
        for package in manifest.packages:  # looked for, not imported: some take seconds
            if find_spec(package) is None:
                raise ModuleNotFoundError(f"No module named {package!r}", name=package)
        module = importlib.import_module(module_name)
        # A manifest may name a backend's package: its file `backend` has the class, most of its files are needed
        # without it.
        is_package = hasattr(module, "__path__") and not hasattr(module, class_name)
        if is_package and find_spec(f"{module_name}.backend") is not None:
            module = importlib.import_module(f"{module_name}.backend")
    except ImportError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in manifest.packages:
            raise  # a fault in the backend's own code; saying "install" would mislead
        command = install_extra(manifest.extra) if manifest.extra else install_package(missing)
        raise ConfigError(f"backend {name} needs the {missing} package: {command}") from error
    backend: type[FineTuneBackend] | None = getattr(module, class_name, None)
    if backend is None:
        raise ConfigError(f"the manifest of {name} names {manifest.backend}, but {module_name} has no {class_name}")
    return backend


OPEN_TO_OTHER_ROOMS = (
    "base",
    "hosted.finding",
    "hosted.http.connection_errors",
    "hosted.http.loop_guard",
    "hosted.http.network",
    "hosted.http.rate_limit",
    "hosted.http.redirects",
    "hosted.provider_errors",
    "hosted.statuses",
    "local.lm_eval",
    "local.presence",
    "local.request",
    "local.runs.process",
    "openai.jobs",
    "openai.request",
    "provider_options",
    "routing",
    "secrets",
    "streaming",
)
"""The files here that other rooms import. The rest may change without a look elsewhere."""
