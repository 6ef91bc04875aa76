"""Prices of answers: of this evaluation before it is sent, and of a thousand requests once they are measured."""

from __future__ import annotations

from datetime import date

from tuneport.backends import backend_manifest
from tuneport.estimate.cost import InferenceQuote, Traffic, base_inference_quote, inference_quote
from tuneport.formatting import money
from tuneport.manifests import find_manifest_model, load_base_price_manifest
from tuneport.settings import Settings
from tuneport.workflows.evaluation.models.asked_models import EvaluatedModel


def evaluation_price_of_requests(
    asked: EvaluatedModel,
    settings: Settings,
    *,
    requests: int,
    input_tokens: float,
    output_tokens: float,
    in_batches: bool = False,
) -> tuple[float | None, str]:
    """Return US dollars of so many requests with so many tokens in all and how they are computed, or None with the
    reason. `in_batches`: at the provider's price for batches."""
    manifest = backend_manifest(asked.backend, settings)
    if not manifest.third_party:
        return 0.0, "your own machine; electricity not counted"
    offered = find_manifest_model(manifest, asked.base)
    if offered is None:
        return None, f"{manifest.title} lists no {asked.base}"
    share = 1.0 if in_batches else 0.0
    traffic = Traffic(round(input_tokens), round(output_tokens), requests=requests, batch_share=share)
    quote: InferenceQuote
    if asked.tuned:
        quote = inference_quote(manifest, offered, traffic)
    else:
        quote = base_inference_quote(manifest, offered, traffic, load_base_price_manifest(), today=date.today())
    if quote.expected is None:
        return None, quote.unavailable or ""
    if quote.parts is not None and quote.parts.machine:  # a month's rent says nothing of a few prompts
        return None, f"{manifest.title} bills an endpoint for {asked.model} by the hour, not by the token"
    return quote.expected, quote.explanation


def evaluation_price_per_thousand(
    asked: EvaluatedModel,
    settings: Settings,
    *,
    prompt_tokens: float | None,
    completion_tokens: float | None,
    seconds: float | None,
) -> tuple[float | None, str]:
    """Return the price of a thousand requests as they were measured. `seconds`: of one that is asked by itself, which
    prices the user's own machine (`TUNEPORT_LOCAL_USD_PER_HOUR`): batches share the time, and cost less."""
    if not backend_manifest(asked.backend, settings).third_party:
        hourly = settings.local_usd_per_hour
        if hourly is None:
            return None, "your own machine: TUNEPORT_LOCAL_USD_PER_HOUR says what an hour of it costs"
        if seconds is None:
            return None, "no answer was timed"
        return 1000 * seconds / 3600 * hourly, f"{seconds:.3g} s each, one at a time, at {money(hourly)} an hour"
    if prompt_tokens is None or completion_tokens is None:
        return None, f"{asked.backend} did not say how many tokens there were"
    return evaluation_price_of_requests(
        asked, settings, requests=1000, input_tokens=1000 * prompt_tokens, output_tokens=1000 * completion_tokens
    )
