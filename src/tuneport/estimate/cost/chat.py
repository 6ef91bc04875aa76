"""The cost of one chat, by its tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tuneport.estimate.cost.base_prices import price_table_names
from tuneport.manifests import InferencePrice, Manifest
from tuneport.manifests.base_prices import BasePriceManifest


def chat_cost(manifest: Manifest, model: str, usage: Mapping[str, Any], prices: BasePriceManifest) -> float | None:
    """Return US dollars, or None if the tokens or a price are unknown or tokens are not what is billed (your own
    machine, an endpoint by the hour).

    `model` is the backend's own name, `usage` has OpenAI's fields.
    """
    prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens")
    price = _price(manifest, model, prices)
    if price is None or not isinstance(prompt, int) or not isinstance(completion, int):
        return None
    details = usage.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, Mapping) else None
    cached_price = price.usd_per_mtok_cached_input
    if not isinstance(cached, int) or cached_price is None:
        cached, cached_price = 0, 0.0
    new = max(0, prompt - cached)
    return (new * price.usd_per_mtok_input + cached * cached_price + completion * price.usd_per_mtok_output) / 1e6


def _price(manifest: Manifest, model: str, prices: BasePriceManifest) -> InferencePrice | None:
    if model.startswith("ft:"):  # `ft:BASE:...`: the manifest has BASE's price
        base = model.split(":")[1]
        return next((offered.inference for offered in manifest.models if offered.id == base), None)
    found = prices.find(*price_table_names(manifest, model))
    return None if found is None else found.price
