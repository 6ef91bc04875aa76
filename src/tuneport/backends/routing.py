"""Finds the backend that has a model, and its id there. Every verb asks here, so that a name leads to one place.

The first rule that applies decides:

1. A job, or a tuned model that the store knows, is where the job ran. The store is above this module, so
   `JobService.locate` and the gateway look there first. A default backend does not move a tuned model; an argument that
   names another backend is refused.
2. The backend that the user names: by argument (`--backend`, `backend=`), else as `BACKEND/MODEL`, else by
   TUNEPORT_BACKEND, else by `backend` in `tuneport.toml`. It need not be set up: its own error says what is missing.
   `BACKEND/MODEL` is not taken apart where it is an alias of the project or an id that a backend lists.
3. This machine, where the name is a folder, or the model's weights are here already.
4. The only backend that offers the model and is set up here (key, packages, address).
5. Several, or none: `NoBackendChosenError` names them. A verb that sends nothing (`check`, `preview`, `advise`) needs
   no key: where none is set up, it takes the only one whose address is known.

For 3 to 5, a backend that takes any name, or any model of the hub, counts only where no other lists the model.

Verbs that choose by rank (`submit`, a job of the gateway) follow 1 and 2, and rank all backends instead of 3 to 5, of
which no third party is taken without being named, asked for or the only one that an alias leads to;
`compare` and `plan_job_on_backends` show all backends, or the one of `BACKEND/MODEL`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from tuneport.backends import backend_manifest, backend_names
from tuneport.base_models import locate_base_model
from tuneport.errors import ConfigError, ModelNotOfferedError, NoBackendChosenError
from tuneport.installation import install_extra
from tuneport.manifests import (
    ANY_BACKEND,
    Manifest,
    load_models,
    model_not_offered_error,
    resolve_manifest_model,
)
from tuneport.settings import Settings

HERE = "local"
"""The backend of this machine."""


class NotPermittedError(ModelNotOfferedError):
    """A backend has the model, and the caller may not name it."""


@dataclass(frozen=True)
class BackendRoute:
    """A backend and its own id of a model."""

    backend: str
    model: str


@dataclass(frozen=True)
class BackendOffers:
    """The backends that offer a model, each with its own id: `ids` has all of them, `usable` those that are set up.

    `model` is the name without `BACKEND/`. `named`: the user has named the backend, so there is no other.
    """

    model: str
    ids: Mapping[str, str]
    usable: tuple[str, ...]
    named: bool = False

    @property
    def backend(self) -> str | None:
        """Return the named backend, or the only usable one. Returns None if none is meant, or several could be."""
        only = tuple(self.ids) if self.named else self.usable
        return only[0] if len(only) == 1 else None


@dataclass(frozen=True)
class BackendCatalogue:
    """The models of all backends, under the names that the settings give them. Asks no store and no backend."""

    settings: Settings

    def manifest(self, backend: str) -> Manifest:
        return backend_manifest(backend, self.settings)

    def resolve_model(self, name: str, backend: str) -> str:
        """Return the id of `name` on `backend`, by the project's aliases first. Raises ModelNotOfferedError if it has
        none."""
        return resolve_manifest_model(name, backend, self.manifest(backend), load_models(), self.settings.aliases(name))

    def split_backend_name(self, name: str, backend: str | None = None) -> tuple[str | None, str]:
        """Return the backend that the user names, or None, and the name without `BACKEND/`: rule 2."""
        if backend is not None:
            return backend, name
        prefix, _, rest = name.partition("/")
        if rest and prefix in backend_names(self.settings) and not self._is_whole(name):
            return prefix, rest
        return self.settings.backend, name

    def find_offers(self, name: str, backend: str | None = None) -> BackendOffers:
        """Return the backends that offer the model, for verbs that rank. Raises ModelNotOfferedError if none does."""
        chosen, name = self.split_backend_name(name, backend)
        if chosen is not None:
            return BackendOffers(name, {chosen: self.resolve_model(name, chosen)}, (chosen,), named=True)
        ids: dict[str, str] = {}
        refused: list[ModelNotOfferedError] = []
        forbidden: NotPermittedError | None = None
        for other in backend_names(self.settings):
            try:
                ids[other] = self.resolve_model(name, other)
            except NotPermittedError as error:
                forbidden = error
            except ModelNotOfferedError as error:
                refused.append(error)
        if not ids:
            raise forbidden or self._nobody(name, refused)
        ids = {
            other: model for other, model in ids.items() if self.lists_model(name, BackendRoute(other, model))
        } or ids
        usable = tuple(other for other in ids if not missing_backend_setup(self.manifest(other), self.settings))
        if forbidden is not None and len(usable) != 1:
            raise forbidden  # a rank knows nothing of permissions, and might choose what is forbidden
        return BackendOffers(name, ids, usable)

    def route_model(self, name: str, backend: str | None = None, *, asks: bool = True) -> BackendRoute:
        """Return the one backend that is to serve `name`, and its id there.

        `asks`: the model is asked something now. Then its backend has to be set up, and a named backend may know names
        that no manifest has: deployments, and models that were tuned elsewhere. Raises NoBackendChosenError if it is
        not clear which backend is meant, ModelNotOfferedError if none has the model.
        """
        chosen, rest = self.split_backend_name(name, backend)
        if chosen is not None and asks and self._knows_unlisted(rest, chosen):
            try:
                return BackendRoute(chosen, self.resolve_model(rest, chosen))
            except ModelNotOfferedError:
                return BackendRoute(chosen, rest)
        if chosen is None and rest.startswith("ft:"):
            raise self._nobody(rest, [])  # a backend that takes any name has not tuned it
        offers = self.find_offers(name, backend)
        if offers.named:
            return BackendRoute(*next(iter(offers.ids.items())))
        if HERE in offers.usable and (len(offers.usable) == 1 or self._is_here(offers.ids[HERE])):
            return BackendRoute(HERE, offers.ids[HERE])
        able = offers.usable
        if not able and not asks:
            able = tuple(other for other in offers.ids if backend_has_address(self.manifest(other), self.settings))
        if len(able) != 1:
            raise self._undecided(offers, able)
        return BackendRoute(able[0], offers.ids[able[0]])

    def lists_model(self, name: str, found: BackendRoute) -> bool:
        """Return whether the backend lists the id behind `name`, rather than accepting any name."""
        if found.backend in (self.settings.aliases(name) or {}) or Path(found.model).is_absolute():
            return True  # an alias, or a folder
        listed = any(row.id == found.model for row in self.manifest(found.backend).models)
        return listed or load_models().name_of(found.backend, found.model) is not None

    def _is_whole(self, name: str) -> bool:
        """Return whether a name with a slash is an alias, or an id that a backend lists (openai/gpt-oss-20b, say)."""
        if self.settings.aliases(name) is not None:
            return True
        return any(row.id == name for other in backend_names(self.settings) for row in self.manifest(other).models)

    def _knows_unlisted(self, name: str, backend: str) -> bool:
        manifest = self.manifest(backend)
        return manifest.deployment is not None or manifest.no_training is not None or name.startswith("ft:")

    def _is_here(self, model: str) -> bool:
        if Path(model).expanduser().is_dir():
            return True
        weights = load_models().find(model)
        try:
            locate_base_model(
                model if weights is None or weights.hub is None else weights.hub,
                home=self.settings.home,
                download=False,
            )
        except ConfigError:
            return False
        return True

    def _nobody(self, name: str, refused: Sequence[ModelNotOfferedError]) -> ModelNotOfferedError:
        if name.startswith("ft:"):
            return ModelNotOfferedError(
                f"no job here has tuned {name}; name the backend that did, as BACKEND/{name} or with TUNEPORT_BACKEND",
                model=name,
                backend=ANY_BACKEND,
            )
        nearest = [(near, error.backend) for error in refused for near in error.nearest]
        return model_not_offered_error(name, nearest, self.settings.project.models)

    def _undecided(self, offers: BackendOffers, able: Sequence[str]) -> NoBackendChosenError:
        name = offers.model
        if able:
            message = (
                f"more than one backend has {name}: {', '.join(able)}; choose one as {able[0]}/{name}, with --backend "
                "or with TUNEPORT_BACKEND"
            )
        else:
            needs = "; ".join(
                f"{other} needs {missing_backend_setup(self.manifest(other), self.settings)}" for other in offers.ids
            )
            message = f"{name} is offered only by backends that are not set up here: {needs}"
        return NoBackendChosenError(message, model=name, backends=tuple(able))


def missing_backend_setup(manifest: Manifest, settings: Settings) -> str:
    """Return what a backend needs before it can be asked ("OPENAI_API_KEY"), or "" if it is set up."""
    missing = []
    if not is_backend_installed(manifest):
        missing.append(install_extra(manifest.extra) if manifest.extra else "its packages")
    if manifest.api_key_env and not backend_has_key(manifest, settings):
        missing.append(manifest.api_key_env)
    if not backend_has_address(manifest, settings):
        missing.append(f"TUNEPORT_{manifest.name.upper().replace('-', '_')}_BASE_URL")
    return " and ".join(missing)


def is_backend_installed(manifest: Manifest) -> bool:
    """Return whether the packages that a backend needs are here. Imports none of them."""
    return all(map(find_spec, manifest.packages))


def backend_has_key(manifest: Manifest, settings: Settings) -> bool:
    return manifest.api_key_env is not None and settings.secret(manifest.api_key_env) is not None


def backend_has_address(manifest: Manifest, settings: Settings) -> bool:
    return not manifest.api_key_env or settings.base_url(manifest.name, manifest.base_url) is not None
