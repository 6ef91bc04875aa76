"""The cost of the same month from the base model, not tuned, by a table of base models' prices: tuning is measured
against it. Pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

from tuneport.estimate.cost.inference import InferenceQuote, inference_quote, per_token_quote
from tuneport.estimate.cost.own_gpu import OwnGPUCost
from tuneport.estimate.cost.traffic import Traffic
from tuneport.manifests import Manifest, OfferedModel
from tuneport.manifests.base_prices import BasePriceManifest


def base_inference_quote(
    manifest: Manifest,
    model: OfferedModel,
    traffic: Traffic,
    prices: BasePriceManifest,
    *,
    own: OwnGPUCost | None = None,
    today: date | None = None,
) -> InferenceQuote:
    """Return what a month of `traffic`, its long prompts included, would cost from the base model of `model`.

    Your own machine serves the base model as it serves the tuned one, and a provider that tunes nothing has only base
    models. Elsewhere the price per token is that of the table; a model that is not in it is unavailable. A model that
    was shut down before `today` is served from an endpoint, if the provider has any.
    """
    whole = replace(traffic, saved_per_request=0)
    if (manifest.own_machine and model.inference is None) or (manifest.no_training is not None and model.inference):
        return inference_quote(manifest, model, whole, own=own)

    def unknown(because: str) -> InferenceQuote:
        return InferenceQuote(backend=manifest.name, model=model.id, unavailable=because)

    found = prices.find(*price_table_names(manifest, model.id))
    if found is None:
        return unknown(f"{prices.title} has no price per token for {model.id} at {manifest.title}")
    if found.retires is not None and today is not None and today >= found.retires:
        ended = f"{manifest.title} has not served {found.name} by the token since {found.retires}"
        if not manifest.hosting or model.inference is not None:
            return unknown(ended)
        endpoint = inference_quote(manifest, model, whole)
        return endpoint.model_copy(update={"explanation": f"{ended}: {endpoint.explanation}"})
    quote = per_token_quote(manifest.name, found.name, found.price, whole, source=prices.url, as_of=prices.as_of)
    return quote.model_copy(
        update={"explanation": f"{quote.explanation} ({prices.title}, {found.name})", "model": model.id}
    )


def price_table_names(manifest: Manifest, model_id: str) -> list[str]:
    """Return the names that the table may have for a model. Together tunes "-Reference" weights and serves the same as
    "-Turbo"."""
    return [manifest.price_table_prefix + name for name in (model_id, f"{model_id.removesuffix('-Reference')}-Turbo")]
