"""The facts about providers, models and GPUs: reads and validates `providers/`, and alone knows where it lies.

`sources`, `schema` and `catalogue` say what a fact looks like, `loading` reads the files, and `resolution` turns a
user's word into a backend's model id.
"""

from tuneport.manifests.base_prices import BasePrices, load_base_prices
from tuneport.manifests.catalogue import GPU, Dimensions, Gpus, Models, Offer, Weights
from tuneport.manifests.loading import (
    derive_manifest,
    load_gpus,
    load_manifest,
    load_models,
    manifest_names,
    read_manifest,
)
from tuneport.manifests.resolution import find_offered, nearest_names, resolve_model, resolve_without_aliases
from tuneport.manifests.schema import (
    AnyModel,
    Billing,
    HostingPrice,
    InferencePrice,
    Limit,
    Limits,
    Manifest,
    MoneyLimit,
    Notice,
    OfferedModel,
    Option,
    Range,
    TrainingBracket,
    TrainingPrice,
)
from tuneport.manifests.sources import Confidence, Source, Sourced

__all__ = [
    "GPU",
    "AnyModel",
    "BasePrices",
    "Billing",
    "Confidence",
    "Dimensions",
    "Gpus",
    "HostingPrice",
    "InferencePrice",
    "Limit",
    "Limits",
    "Manifest",
    "Models",
    "MoneyLimit",
    "Notice",
    "Offer",
    "OfferedModel",
    "Option",
    "Range",
    "Source",
    "Sourced",
    "TrainingBracket",
    "TrainingPrice",
    "Weights",
    "derive_manifest",
    "load_base_prices",
    "load_gpus",
    "load_manifest",
    "load_models",
    "manifest_names",
    "find_offered",
    "nearest_names",
    "read_manifest",
    "resolve_model",
    "resolve_without_aliases",
]

OPEN_TO_OTHER_ROOMS = (
    "base_prices",
    "schema",
)
"""The files here that other rooms import. The rest may change without a look elsewhere."""
