"""Resolution of a client's model name to an alias of the operator, or a model that a backend lists.

It never leads to a folder of the machine, and to weights of the hub only if the operator has allowed that.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from tuneport.backends import backend_names
from tuneport.backends.routing import BackendCatalogue, BackendOffers, NotPermittedError
from tuneport.errors import ModelNotOfferedError
from tuneport.manifests import ANY_BACKEND, load_models
from tuneport.serve.permitted import HUB_MODELS
from tuneport.settings import Settings


class ClientCatalogue(BackendCatalogue):
    """The catalogue for clients: the same precedence, but names that only the operator may use are refused.

    A client's name is never a path: only the operator names folders, in `tuneport.toml` or by `--map`.
    """

    def find_offers(self, name: str, backend: str | None = None) -> BackendOffers:
        refuse_client_model_path(name, self.settings)
        return super().find_offers(name, backend)

    def resolve_model(self, name: str, backend: str) -> str:
        """Return the model's id if the backend lists it or an alias leads to it. Raises ModelNotOfferedError if not."""
        refuse_client_model_path(name, self.settings)
        found = super().resolve_model(name, backend)
        manifest, models = self.manifest(backend), load_models()
        by_alias = backend in (self.settings.aliases(name) or {}) or backend in models.aliases.get(name, {})
        if not by_alias and os.path.isabs(found):
            raise client_model_not_offered(name)
        takes_any_weights = manifest.any_model is not None and not manifest.any_model.any_name
        listed = models.find(found) is not None or found in {row.id for row in manifest.models}
        opened = self.settings.project.gateway.client_options
        if takes_any_weights and not by_alias and not listed and HUB_MODELS not in opened:
            raise NotPermittedError(
                f"only the operator of this gateway may name {name}: its weights would be downloaded from the hub; the "
                f'operator lets clients name any with client_options = ["{HUB_MODELS}"] under [gateway] in '
                f"tuneport.toml, or this one with serve --map {name}={backend}/{found}",
                model=name,
                backend=backend,
            )
        return found

    def _knows_unlisted(self, name: str, backend: str) -> bool:
        return False  # the account's deployments and tuned models are not for every client

    def _nobody(self, name: str, refused: Sequence[ModelNotOfferedError]) -> ModelNotOfferedError:
        error = super()._nobody(name, refused)
        return error if error.nearest else client_model_not_offered(name)


def route_client_model(name: str, settings: Settings) -> BackendOffers:
    """Return the offers of the model that a client calls `name`. Raises ModelNotOfferedError if there are none, or
    if clients may not use them."""
    return ClientCatalogue(settings).find_offers(name)


def refuse_client_model_path(name: str, settings: Settings) -> None:
    """Raise ModelNotOfferedError for a name that would open a folder of this machine, also behind `backend/`."""
    if settings.aliases(name) is None and any(map(_is_path, _without_backends(name, settings))):
        raise client_model_not_offered(name)


def client_model_not_offered(name: str) -> ModelNotOfferedError:
    return ModelNotOfferedError(
        f"no backend offers {name!r}; GET /v1/models lists the names that are there, and the operator of this gateway "
        "adds one with serve --map NAME=BACKEND/MODEL",
        model=name,
        backend=ANY_BACKEND,
    )


def _without_backends(name: str, settings: Settings) -> Iterator[str]:
    """Yield the name, and its remainders without leading backend names: `resolve_model` strips these, too."""
    names = backend_names(settings)
    yield name
    while (parts := name.partition("/"))[0] in names and parts[1]:
        name = parts[2]
        yield name


def _is_path(name: str) -> bool:
    # `Path.exists` raises for a name that is longer than the file system takes.
    return name.startswith(("/", "~", ".")) or any(part in name for part in ("\\", "..", "://")) or os.path.exists(name)
