"""Terms that bind users of a provider or of its models: shown once, before the first job there."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from tuneport.errors import ConfigError
from tuneport.lifecycle.store.store import Store
from tuneport.manifests import Manifest, load_manifest, load_models


@dataclass(frozen=True)
class BindingTerm:
    """One term in our words, with the page that has theirs. `confidence` is how sure we are of our words."""

    subject: str
    text: str
    url: str
    confidence: str

    @property
    def digest(self) -> str:
        """Return a short name of this text, so that a job is told of it only once."""
        return f"terms {hashlib.sha256(str(self).encode()).hexdigest()[:16]}"

    def __str__(self) -> str:
        checked = "" if self.confidence == "primary" else f" ({self.confidence}: read the page)"
        return f"{self.subject}: {self.text} {self.url}{checked}"


def list_backend_terms(manifest: Manifest) -> list[BindingTerm]:
    found = []
    for term in manifest.terms:
        source = manifest.sources[term.source]
        found.append(BindingTerm(manifest.title, term.text, source.url, source.confidence.value))
    return found


def job_model_licence_term(manifest: Manifest, model: str) -> BindingTerm | None:
    """Return the licence of the weights behind a backend's model, or None for closed weights, which the provider's
    terms cover."""
    models = load_models()
    name = models.name_of(manifest.name, model)
    weights = None if name is None else models.weights[name]
    if weights is None or weights.licence == "proprietary":
        return None
    source = models.sources[weights.source]
    url = source.url if weights.hub is None else f"https://huggingface.co/{weights.hub}"
    text = f"its licence ({weights.licence}) binds what is tuned from it, too."
    return BindingTerm(weights.title, text, url, source.confidence.value)


def list_job_terms(backend: str, model: str) -> list[BindingTerm]:
    """Return the backend's terms and the base model's licence; none of a backend that the project defines itself."""
    try:
        manifest = load_manifest(backend)
    except ConfigError:
        return []
    licence = job_model_licence_term(manifest, model)
    return list_backend_terms(manifest) if licence is None else [*list_backend_terms(manifest), licence]


def list_unshown_terms(store: Store, manifest: Manifest, model: str, *, mark: bool) -> list[BindingTerm]:
    """Return the provider's terms and the base model's licence, each only if it was never shown. `mark`: from now on
    they count as shown."""
    found = []
    terms = list_backend_terms(manifest)
    if terms and store.terms.first_showing(f"backend {manifest.name}", [str(term) for term in terms], mark=mark):
        found += terms
    licence = job_model_licence_term(manifest, model)
    if licence is not None and store.terms.first_showing(f"weights {licence.subject}"[:200], [str(licence)], mark=mark):
        found.append(licence)
    return found


def job_term_documents(terms: list[BindingTerm]) -> list[dict[str, Any]]:
    return [vars(term).copy() for term in terms]
