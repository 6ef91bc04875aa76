"""The facts about providers, models and GPUs: reads and validates `providers/`, whose path only this room knows.

`sources`, `schema` and `catalogue` say what a fact looks like, `loading` reads the files, and `resolution` turns a
user's word into a backend's model id.
"""

from tuneport.manifests.base_prices import BasePriceManifest, load_base_price_manifest
from tuneport.manifests.catalogue import CatalogueGPU, ModelCatalogue, ModelDimensions, Offer, Weights
from tuneport.manifests.loading import (
    derive_manifest,
    load_gpus,
    load_manifest,
    load_models,
    load_rivals,
    manifest_names,
)
from tuneport.manifests.resolution import (
    ANY_BACKEND,
    find_manifest_model,
    model_not_offered_error,
    resolve_manifest_model,
    resolve_manifest_model_id,
)
from tuneport.manifests.schema import HostingPrice, InferencePrice, Limit, Manifest, OfferedModel, TrainingPrice
from tuneport.manifests.sources import Confidence

__all__ = [
    "ANY_BACKEND",
    "CatalogueGPU",
    "BasePriceManifest",
    "Confidence",
    "ModelDimensions",
    "HostingPrice",
    "InferencePrice",
    "Limit",
    "Manifest",
    "ModelCatalogue",
    "Offer",
    "OfferedModel",
    "TrainingPrice",
    "Weights",
    "derive_manifest",
    "load_base_price_manifest",
    "load_gpus",
    "load_manifest",
    "load_models",
    "load_rivals",
    "manifest_names",
    "find_manifest_model",
    "model_not_offered_error",
    "resolve_manifest_model",
    "resolve_manifest_model_id",
]

OPEN_TO_OTHER_ROOMS = (
    "base_prices",
    "schema",
)
"""The files here that other rooms import. The rest may change without a look elsewhere."""
