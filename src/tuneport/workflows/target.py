"""The model that data is meant for, on the backend that is to train it."""

from __future__ import annotations

from dataclasses import dataclass

from tuneport.backends import backend_names, manifest_of
from tuneport.backends.local_request import model_name_or_path, require_libraries
from tuneport.base_models import locate_tokenizer
from tuneport.data.tokenizer import Vocabulary, context_length
from tuneport.errors import ConfigError, ModelNotOfferedError
from tuneport.jobs.planning import DEFAULT_ENCODING
from tuneport.manifests import Manifest, load_models, resolve_model
from tuneport.settings import Settings
from tuneport.types import Method


@dataclass(frozen=True)
class Target:
    """`model` is the backend's own id."""

    manifest: Manifest
    model: str

    def vocabulary(self, settings: Settings, method: Method = Method.SFT) -> Vocabulary:
        """The model's own tokenizer where it is at hand, else OpenAI's that comes nearest, and what it trains on.

        ConfigError where a local model's tokenizer is not on this machine.
        """
        if self.manifest.extra == "local":
            require_libraries()
            folder = locate_tokenizer(model_name_or_path(self.model), home=settings.home)
            return Vocabulary(self.model, folder, context_length(folder))
        offered = self.manifest.offered(self.model)
        encoding = (offered and offered.encoding) or DEFAULT_ENCODING
        return Vocabulary(encoding, context=offered.context_for(method.value) if offered else None)


def find_target(model: str, backend: str | None, settings: Settings) -> Target:
    """The backend that was named, by whatever means; else this machine, or the first backend that has the model.

    Backends whose address is the user's own come last: most people have none there.
    """
    named = backend or settings.backend
    refused: ModelNotOfferedError | None = None
    manifests = {name: manifest_of(name, settings) for name in ([named] if named else backend_names(settings))}
    for name, manifest in sorted(
        manifests.items(),
        key=lambda item: (item[0] != "local", settings.base_url(item[0], item[1].base_url) is None),
    ):
        try:
            return Target(manifest, resolve_model(model, name, manifest, load_models(), settings.aliases(model)))
        except ModelNotOfferedError as error:
            refused = refused or error
    raise refused or ConfigError("no backend has the model; name one with --backend")
