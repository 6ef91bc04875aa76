"""The cost of training, by each provider's own rule as its manifest states it. Pure; no number is invented.

A quote that cannot be made is `Quote.unknown` with the reason.
"""

from __future__ import annotations

from datetime import date

from tuneport.errors import ConfigError
from tuneport.estimate.cost.own_gpu import OwnGPUCost
from tuneport.estimate.duration import Duration
from tuneport.formatting import money
from tuneport.manifests import Manifest, OfferedModel, TrainingPrice
from tuneport.types import Adapter, Method, Quote

MOST_HOURS = 1000
"""No provider lets a job run longer; more tells of minutes or seconds."""


def training_quote(
    manifest: Manifest,
    model: OfferedModel,
    *,
    tokens_per_epoch: int | None,
    epochs: int,
    validation_tokens: int = 0,
    evaluations: int = 0,
    method: Method = Method.SFT,
    adapter: Adapter = Adapter.LORA,
    rows: int | None = None,
    validation_rows: int = 0,
    packing: bool = True,
    max_length: int | None = None,
    low: float = 1.0,
    high: float = 1.0,
    approximate_because: str = "",
    duration: Duration | None = None,
    own: OwnGPUCost | None = None,
    hours: float | None = None,
) -> Quote:
    """Quote the training cost.

    Tokens are those of the file, once. `evaluations`: how often the validation tokens are read. `packing=False` bills
    `rows` x `max_length` instead, for a provider that packs by default. If the tokens are approximate,
    `approximate_because` says why, and the billed amount lies between `low` and `high` times the tokens. `duration` and
    `own` are for a machine billed by the hour, `hours` for a method that the provider bills by the hour (OpenAI's
    reinforcement: of its core loop, to the hundredth).
    """
    if manifest.billing is None:
        return Quote.unknown(manifest.name, model.id, f"{manifest.title}: how it bills is not known")
    if manifest.own_machine:
        return _machine_quote(manifest, model, duration, own)
    if not packing:
        if rows is None or max_length is None:
            reason = "without packing, rows and max_length decide the price; set max_length"
            return Quote.unknown(manifest.name, model.id, reason)
        # Every example is filled up to the same length, so that its own tokens do not matter.
        tokens_per_epoch, validation_tokens = rows * max_length, validation_rows * max_length
        low, high, approximate_because = 1.0, 1.0, ""
    price = training_price(manifest, model, method, adapter)
    if price is not None and price.usd_per_hour is not None:
        return _hourly_quote(manifest, model, price, price.usd_per_hour, method, hours)
    if price is None or price.usd_per_mtok is None:
        unknown = Quote.unknown(manifest.name, model.id, _why_unpriced(manifest, model, method, adapter))
        return unknown if tokens_per_epoch is None else _with_tokens(unknown, tokens_per_epoch, low, high)
    if tokens_per_epoch is None:
        return Quote.unknown(manifest.name, model.id, "the tokens of the dataset were not counted")
    quote = _token_quote(manifest, model, price, tokens_per_epoch, epochs, validation_tokens, evaluations, low, high)
    quote = _with_tokens(quote, tokens_per_epoch, low, high)
    if not approximate_because:
        return quote
    same = quote.low == quote.high
    bounds = "which makes no difference here" if same else f"{money(quote.low)} to {money(quote.high)}"
    return quote.model_copy(
        update={"explanation": f"{quote.explanation}; approximate, {bounds}: {approximate_because}"}
    )


def _with_tokens(quote: Quote, tokens_per_epoch: int, low: float, high: float) -> Quote:
    return quote.model_copy(
        update={
            "billed_tokens_per_epoch": tokens_per_epoch,
            "billed_tokens_per_epoch_low": round(tokens_per_epoch * low),
            "billed_tokens_per_epoch_high": round(tokens_per_epoch * high),
        }
    )


def training_price(manifest: Manifest, model: OfferedModel, method: Method, adapter: Adapter) -> TrainingPrice | None:
    """Return the model's own price row, else that of its bracket by total parameters."""
    rows = model.training
    if not rows and model.params_b is not None:
        # Brackets are told in whole billions ("up to 16B", "17B-69B"), so 16.4 belongs to the first.
        size = round(model.params_b)
        rows = next((row.prices for row in manifest.training_brackets if size <= row.up_to_params_b), ())
    return next((row for row in rows if row.method == method and row.adapter in (None, adapter)), None)


def _token_quote(
    manifest: Manifest,
    model: OfferedModel,
    price: TrainingPrice,
    tokens_per_epoch: int,
    epochs: int,
    validation_tokens: int,
    evaluations: int,
    low: float,
    high: float,
) -> Quote:
    assert manifest.billing is not None and price.usd_per_mtok is not None
    billed = tokens_per_epoch * epochs
    explanation = f"{tokens_per_epoch:,} tokens x {epochs} epochs"
    if manifest.billing.validation_billed and validation_tokens and evaluations:
        billed += validation_tokens * evaluations
        explanation += f" + {validation_tokens:,} validation tokens x {evaluations} evaluations"
    cost = billed / 1e6 * price.usd_per_mtok
    explanation += f" at {money(price.usd_per_mtok)} per 1M"
    minimum = model.minimum or manifest.billing.minimum
    least = 0.0 if minimum is None else minimum.usd
    if cost < least:
        explanation += f" = {money(cost)}, below the minimum of {money(least)} a job"
    return Quote(
        backend=manifest.name,
        model=model.id,
        expected=max(cost, least),
        low=max(cost * low, least),
        high=max(cost * high, least),
        explanation=explanation,
        source=manifest.sources[price.source].url,
        as_of=price.as_of,
    )


def _hourly_quote(
    manifest: Manifest, model: OfferedModel, price: TrainingPrice, rate: float, method: Method, hours: float | None
) -> Quote:
    if hours is None:
        because = f"{manifest.title} bills {method} by the hour ({money(rate)}); the hours depend on the answers"
        return Quote.unknown(manifest.name, model.id, f"{because}; give the hours to see the price")
    if not 0 <= hours <= MOST_HOURS:
        raise ConfigError(f"{hours:g} is not a duration; give hours, from 0 to {MOST_HOURS}")
    cost = round(hours, 2) * rate
    return Quote(
        backend=manifest.name,
        model=model.id,
        expected=cost,
        low=cost,
        high=cost,
        explanation=f"{hours:.2f} h x {money(rate)}, the hours as given; a model that grades is billed besides",
        source=manifest.sources[price.source].url,
        as_of=price.as_of,
    )


def _machine_quote(manifest: Manifest, model: OfferedModel, duration: Duration | None, own: OwnGPUCost | None) -> Quote:
    if own is None or own.usd_hourly is None:
        return Quote(
            backend=manifest.name,
            model=model.id,
            expected=0.0,
            low=0.0,
            high=0.0,
            authority="local",
            explanation="your own machine; electricity not counted",
        )
    if duration is None or duration.expected_seconds is None:
        because = duration.unavailable if duration and duration.unavailable else "the duration is not known"
        return Quote.unknown(manifest.name, model.id, f"{own.name} is billed by the hour, and {because}")
    hours = duration.expected_seconds / 3600
    low, high = duration.low_seconds or duration.expected_seconds, duration.high_seconds or duration.expected_seconds
    offer = own.rental_offer
    return Quote(
        backend=manifest.name,
        model=model.id,
        expected=hours * own.usd_hourly,
        low=low / 3600 * own.usd_hourly,
        high=high / 3600 * own.usd_hourly,
        authority="local",
        explanation=f"{hours:.2f} h x {money(own.usd_hourly)} of {own.name}"
        + (f" ({offer.instance})" if offer is not None and offer.instance else ""),
        source=None if offer is None else offer.note or offer.source,
        as_of=None if offer is None else offer.as_of,
    )


def _why_unpriced(manifest: Manifest, model: OfferedModel, method: Method, adapter: Adapter) -> str:
    if method in manifest.unpriced:
        return manifest.unpriced[method]
    if model.training:
        return f"{manifest.title} has no {method} price for {adapter} of {model.id}"
    if not manifest.training_brackets:
        return f"{manifest.title} publishes no {method} price for {model.id}"
    if model.params_b is None:
        return f"the size of {model.id} is not known, and the price depends on it; ask {manifest.title}'s own estimate"
    top = manifest.training_brackets[-1].up_to_params_b
    return (
        f"{model.id} has {model.params_b:g} B parameters and the published brackets end at {top:g} B; "
        f"ask {manifest.title}'s own estimate"
    )


def oldest_price_date(*quotes: Quote) -> date | None:
    """Return the day of the oldest price among `quotes`."""
    return min((quote.as_of for quote in quotes if quote.as_of is not None), default=None)
