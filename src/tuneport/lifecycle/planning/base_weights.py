"""Finds out before there is a job whether the base model's weights are on the machine that is to train."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tuneport.backends.local.presence import describe_download, find_base_model_presence
from tuneport.backends.routing import BackendCatalogue
from tuneport.errors import ConfigError, ModelNotOfferedError
from tuneport.manifests import Manifest
from tuneport.settings import Settings
from tuneport.types import TuneSpec


@dataclass(frozen=True)
class AbsentBaseModels:
    """Base models that are not on this machine, by backend: why a job cannot start without one (`refusals`), or the
    note that it is downloaded first (`downloads`)."""

    refusals: Mapping[str, str] = field(default_factory=dict)
    downloads: Mapping[str, str] = field(default_factory=dict)


def find_absent_base_models(
    spec: TuneSpec, settings: Settings, manifests: Sequence[Manifest], *, ask_hub: bool
) -> AbsentBaseModels:
    """Look for the weights of `spec.model`, for the backends that train on this machine: a cluster has other disks."""
    refusals: dict[str, str] = {}
    downloads: dict[str, str] = {}
    for manifest in manifests:
        if not _trains_here(spec, settings, manifest):
            continue
        try:
            model = BackendCatalogue(settings).resolve_model(spec.model, manifest.name)
        except ModelNotOfferedError:
            continue  # which the router tells
        presence = find_base_model_presence(model, home=settings.home, ask_hub=ask_hub)
        if presence.refusal:
            refusals[manifest.name] = presence.refusal
        elif not presence.here:
            downloads[manifest.name] = describe_download(model, presence.download_bytes)
    return AbsentBaseModels(refusals, downloads)


def refuse_absent_base_model(spec: TuneSpec, settings: Settings, manifest: Manifest) -> None:
    """Raise ConfigError for a base model that is not on this machine and that cannot be downloaded to it."""
    found = find_absent_base_models(spec, settings, [manifest], ask_hub=True)
    if manifest.name in found.refusals:
        raise ConfigError(found.refusals[manifest.name])


def _trains_here(spec: TuneSpec, settings: Settings, manifest: Manifest) -> bool:
    if manifest.extra != "local":
        return False
    table = settings.project.backends.get(manifest.name)
    usual = "process" if table is None else table.options.get("executor", "process")
    return spec.provider_options.get("executor", usual) in (None, "process")
