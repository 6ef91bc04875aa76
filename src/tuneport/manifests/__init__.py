"""The facts about providers, models and GPUs: reads and validates `providers/`, and alone knows where it lies.

`sources`, `schema` and `catalogue` say what a fact looks like, `loading` reads the files, and `resolution` turns a
user's word into a backend's model id.
"""

from tuneport.manifests.base_prices import BasePriceManifest, load_base_price_manifest
from tuneport.manifests.catalogue import CatalogueGPU, GPUCatalogue, ModelCatalogue, ModelDimensions, Offer, Weights
from tuneport.manifests.loading import (
    derive_manifest,
    load_gpus,
    load_manifest,
    load_models,
    manifest_names,
    read_manifest,
)
from tuneport.manifests.resolution import (
    find_manifest_model,
    resolve_manifest_model,
    resolve_manifest_model_id,
)
from tuneport.manifests.schema import (
    AnyModel,
    Billing,
    HostingPrice,
    InferencePrice,
    Limit,
    Limits,
    Manifest,
    ManifestRange,
    MoneyLimit,
    Notice,
    OfferedModel,
    Option,
    TrainingBracket,
    TrainingPrice,
)
from tuneport.manifests.sources import Confidence, Source, Sourced

__all__ = [
    "CatalogueGPU",
    "AnyModel",
    "BasePriceManifest",
    "Billing",
    "Confidence",
    "ModelDimensions",
    "GPUCatalogue",
    "HostingPrice",
    "InferencePrice",
    "Limit",
    "Limits",
    "Manifest",
    "ModelCatalogue",
    "MoneyLimit",
    "Notice",
    "Offer",
    "OfferedModel",
    "Option",
    "ManifestRange",
    "Source",
    "Sourced",
    "TrainingBracket",
    "TrainingPrice",
    "Weights",
    "derive_manifest",
    "load_base_price_manifest",
    "load_gpus",
    "load_manifest",
    "load_models",
    "manifest_names",
    "find_manifest_model",
    "read_manifest",
    "resolve_manifest_model",
    "resolve_manifest_model_id",
]

OPEN_TO_OTHER_ROOMS = (
    "base_prices",
    "schema",
)
"""The files here that other rooms import. The rest may change without a look elsewhere."""
