"""What training and inference cost, by each provider's own rule as its manifest states it. Pure; no number is invented.

A quote that cannot be made is `Quote.unknown` with the reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from math import ceil

from tuneport.errors import ConfigError
from tuneport.estimate.duration import Duration
from tuneport.manifests import InferencePrice, Manifest, Offer, OfferedModel, TrainingPrice
from tuneport.types import Adapter, Method, Quote

HOURS_PER_MONTH = 730
"""365 x 24 / 12, the hours by which providers bill a month."""
SERVING_HEADROOM = 1.2
"""A served model needs its bf16 weights (2 bytes a parameter) and about a fifth more for the cache: an assumption."""


@dataclass(frozen=True)
class Traffic:
    """What a tuned model is asked to do in a month. `cached_share` of the input tokens come from a prompt cache.

    ConfigError for a share that is not within 0 and 1, and for negative tokens.
    """

    input_tokens: int
    output_tokens: int
    cached_share: float = 0.0

    def __post_init__(self) -> None:
        for name in ("input_tokens", "output_tokens"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; a month's traffic is 0 tokens or more")
        if not 0 <= self.cached_share <= 1:
            raise ConfigError(f"cached_share is {self.cached_share:g}; it is a share of the input, from 0 to 1")


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
    offer: Offer | None = None,
) -> Quote:
    """What training would cost.

    Tokens are those of the file, once. `evaluations`: how often the validation tokens are gone through.
    `packing=False` bills `rows` x `max_length` instead, where the provider packs by default. Where the tokens are
    approximate, `approximate_because` says why, and what is billed lies between `low` and `high` times the tokens.
    `duration` and `offer` are for a machine that is rented by the hour.
    """
    if manifest.billing is None:
        return Quote.unknown(manifest.name, model.id, f"{manifest.title}: no rule of billing is known")
    if manifest.billing.unit == "machine_hours":
        return _machine_quote(manifest, model, duration, offer)
    price = training_price(manifest, model, method, adapter)
    if price is None or price.usd_per_mtok is None:
        return Quote.unknown(manifest.name, model.id, _why_unpriced(manifest, model, method, adapter))
    if not packing:
        if rows is None or max_length is None:
            reason = "without packing, rows and max_length decide the price; set max_length"
            return Quote.unknown(manifest.name, model.id, reason)
        # Every example is filled up to the same length, so that its own tokens do not matter.
        tokens_per_epoch, validation_tokens = rows * max_length, validation_rows * max_length
        low, high, approximate_because = 1.0, 1.0, ""
    if tokens_per_epoch is None:
        return Quote.unknown(manifest.name, model.id, "the tokens of the dataset were not counted")
    quote = _token_quote(manifest, model, price, tokens_per_epoch, epochs, validation_tokens, evaluations, low, high)
    if not approximate_because:
        return quote
    bounds = f"${quote.low:.2f} to ${quote.high:.2f}" if quote.low != quote.high else "which makes no difference here"
    return quote.model_copy(
        update={"explanation": f"{quote.explanation}; approximate, {bounds}: {approximate_because}"}
    )


def training_price(manifest: Manifest, model: OfferedModel, method: Method, adapter: Adapter) -> TrainingPrice | None:
    """The model's own row; where it has none at all, that of its bracket by total parameters."""
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
    explanation += f" at ${price.usd_per_mtok:.2f} per 1M"
    minimum = model.minimum or manifest.billing.minimum
    least = 0.0 if minimum is None else minimum.usd
    if cost < least:
        explanation += f" = ${cost:.2f}, below the minimum of ${least:.2f} a job"
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


def _machine_quote(manifest: Manifest, model: OfferedModel, duration: Duration | None, offer: Offer | None) -> Quote:
    if offer is None:
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
        return Quote.unknown(manifest.name, model.id, f"a rented GPU is paid by the hour, and {because}")
    hours = duration.expected_seconds / 3600
    low, high = duration.low_seconds or duration.expected_seconds, duration.high_seconds or duration.expected_seconds
    return Quote(
        backend=manifest.name,
        model=model.id,
        expected=hours * offer.usd_per_gpu_hour,
        low=low / 3600 * offer.usd_per_gpu_hour,
        high=high / 3600 * offer.usd_per_gpu_hour,
        authority="local",
        explanation=f"{hours:.2f} h x ${offer.usd_per_gpu_hour:.2f} ({offer.provider} {offer.instance})".replace(
            " )", ")"
        ),
        source=offer.note or offer.source,
        as_of=offer.as_of,
    )


def _why_unpriced(manifest: Manifest, model: OfferedModel, method: Method, adapter: Adapter) -> str:
    if method.value in manifest.unpriced:
        return manifest.unpriced[method.value]
    if model.training:
        return f"{manifest.title} has no {method} price for {adapter} of {model.id}"
    if not manifest.training_brackets:
        return f"{manifest.title} publishes no {method} price for {model.id}"
    if model.params_b is None:
        return f"the size of {model.id} is not known, and the price goes by size; ask {manifest.title}'s own estimate"
    top = manifest.training_brackets[-1].up_to_params_b
    return (
        f"{model.id} has {model.params_b:g} B parameters and the published brackets end at {top:g} B; "
        f"ask {manifest.title}'s own estimate"
    )


def inference_quote(manifest: Manifest, model: OfferedModel, traffic: Traffic, *, offer: Offer | None = None) -> Quote:
    """What a month of `traffic` to the tuned model would cost: per token, or an endpoint that is always up.

    `offer`: a GPU to serve from, for a backend that is one's own machine.
    """
    if model.inference is not None:
        return _per_token_quote(manifest, model, model.inference, traffic)
    if manifest.hosting:
        return _endpoint_quote(manifest, model)
    if manifest.billing is not None and manifest.billing.unit == "machine_hours":
        if offer is None:
            return _machine_quote(manifest, model, None, None)
        month = HOURS_PER_MONTH * offer.usd_per_gpu_hour
        return Quote(
            backend=manifest.name,
            model=model.id,
            expected=month,
            low=0.0,
            high=month,
            authority="local",
            explanation=f"one {offer.provider} GPU at ${offer.usd_per_gpu_hour:.2f} x {HOURS_PER_MONTH} h, always up",
            source=offer.note or offer.source,
            as_of=offer.as_of,
        )
    return Quote.unknown(manifest.name, model.id, f"{manifest.title} publishes no inference price for {model.id}")


def _per_token_quote(manifest: Manifest, model: OfferedModel, price: InferencePrice, traffic: Traffic) -> Quote:
    cached = 0.0 if price.usd_per_mtok_cached_input is None else traffic.cached_share
    cached_rate = price.usd_per_mtok_cached_input or price.usd_per_mtok_input
    per_input = (1 - cached) * price.usd_per_mtok_input + cached * cached_rate
    cost = (traffic.input_tokens * per_input + traffic.output_tokens * price.usd_per_mtok_output) / 1e6
    explanation = (
        f"{traffic.input_tokens:,} in at ${per_input:.3g} and {traffic.output_tokens:,} out at "
        f"${price.usd_per_mtok_output:.3g} per 1M a month"
    )
    return Quote(
        backend=manifest.name,
        model=model.id,
        expected=cost,
        low=cost,
        high=cost,
        explanation=explanation,
        source=manifest.sources[price.source].url,
        as_of=price.as_of,
    )


def _endpoint_quote(manifest: Manifest, model: OfferedModel) -> Quote:
    """A dedicated endpoint for the whole month, on the cheapest set of GPUs whose memory holds the model in bf16."""
    if model.params_b is None:
        return Quote.unknown(
            manifest.name, model.id, f"the size of {model.id} is not known, so neither are the GPUs of its endpoint"
        )
    needed_gib = model.params_b * 2 * SERVING_HEADROOM
    sets = [(ceil(needed_gib / row.vram_gib), row) for row in manifest.hosting]
    count, row = min(sets, key=lambda pair: pair[0] * pair[1].usd_per_hour)
    month = count * row.usd_per_hour * HOURS_PER_MONTH
    high = count * (row.usd_per_hour_high or row.usd_per_hour) * HOURS_PER_MONTH
    disputed = "" if row.usd_per_hour_high is None else f"; another page says ${row.usd_per_hour_high:.2f}"
    return Quote(
        backend=manifest.name,
        model=model.id,
        expected=month,
        low=month,
        high=high,
        explanation=(
            f"a dedicated endpoint on {count} x {row.gpu} at ${row.usd_per_hour:.2f} x {HOURS_PER_MONTH} h, always up "
            f"whatever the traffic (tuned models are not served per token){disputed}; one replica assumed"
        ),
        source=manifest.sources[row.source].url,
        as_of=row.as_of,
    )


def oldest(*quotes: Quote) -> date | None:
    """The day of the oldest price among `quotes`."""
    return min((quote.as_of for quote in quotes if quote.as_of is not None), default=None)
