"""The backends by name. Nothing of a provider is imported until its backend is opened."""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from typing import TYPE_CHECKING

from tuneport.errors import ConfigError
from tuneport.manifests import load_manifest, manifest_names

if TYPE_CHECKING:
    from tuneport.backends.base import FineTuneBackend
    from tuneport.settings import Settings

EXTRAS = {"openai": ("openai",), "together": ("together",), "local": ("torch", "transformers", "peft", "trl")}
"""The packages without which a backend of that extra cannot work. Looked for, not imported: some take seconds."""


def backend_names() -> list[str]:
    """Those in `providers/`, then those that other packages register (entry points `tuneport.backends`)."""
    return manifest_names()


def open_backend(name: str, settings: Settings) -> FineTuneBackend:
    """The backend called `name`, by its manifest. Asks nobody, and needs no key until its first call.

    ConfigError for an unknown name, or where a package that the backend needs is not installed.
    """
    manifest = load_manifest(name)
    packages = EXTRAS.get(manifest.extra or "", ())
    module_name, _, class_name = manifest.backend.partition(":")
    try:
        for package in packages:
            if find_spec(package) is None:
                raise ModuleNotFoundError(f"No module named {package!r}", name=package)
        module = importlib.import_module(module_name)
    except ImportError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in packages:
            raise  # a fault in the backend's own code; saying "install" would mislead
        raise ConfigError(
            f'backend {name} needs the {missing} package: pip install "tuneport[{manifest.extra}]"'
        ) from error
    backend: type[FineTuneBackend] | None = getattr(module, class_name, None)
    if backend is None:
        raise ConfigError(f"the manifest of {name} names {manifest.backend}, but {module_name} has no {class_name}")
    return backend(manifest, settings)
