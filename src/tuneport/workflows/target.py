"""The target of data: a model on the backend that is to train it."""

from __future__ import annotations

from dataclasses import dataclass

from tuneport.backends import backend_manifest
from tuneport.backends.local.request import local_model_name_or_path, require_local_libraries
from tuneport.backends.routing import BackendCatalogue
from tuneport.base_models import locate_base_tokenizer
from tuneport.data.tokens.tokenizer import TokenizerVocabulary, tokenizer_context_length
from tuneport.lifecycle.planning.planning import DEFAULT_ENCODING
from tuneport.manifests import Manifest, find_manifest_model
from tuneport.settings import Settings
from tuneport.types import Method


@dataclass(frozen=True)
class TargetModel:
    """`model` is the backend's own id."""

    manifest: Manifest
    model: str

    def nearest_tokenizer(self, settings: Settings, method: Method = Method.SFT) -> TokenizerVocabulary:
        """Return the model's own tokenizer if it is on this machine, else OpenAI's nearest one, and what it trains on.

        Raises ConfigError if a local model's tokenizer is not on this machine.
        """
        if self.manifest.extra == "local":
            require_local_libraries()
            folder = locate_base_tokenizer(local_model_name_or_path(self.model), home=settings.home)
            return TokenizerVocabulary(self.model, folder, tokenizer_context_length(folder))
        offered = find_manifest_model(self.manifest, self.model)
        encoding = (offered and offered.encoding) or DEFAULT_ENCODING
        return TokenizerVocabulary(encoding, context=offered.context_for(method.value) if offered else None)


def find_target_model(model: str, backend: str | None, settings: Settings) -> TargetModel:
    """Return the model on the backend that `BackendCatalogue.route_model` chooses; nothing is asked of it, so it needs
    no key."""
    found = BackendCatalogue(settings).route_model(model, backend, asks=False)
    return TargetModel(backend_manifest(found.backend, settings), found.model)
