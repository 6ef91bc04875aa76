"""A month of inference from a tuned model: by the token, from an endpoint by the hour, or from a GPU of one's own.

Every quote separates the fixed part from the part that grows with the traffic. Pure; no number is invented.
"""

from __future__ import annotations

from datetime import date
from math import inf
from typing import Literal

from tuneport.errors import ConfigError
from tuneport.estimate.cost.own_gpu import OwnGPUCost
from tuneport.estimate.cost.serving import (
    ServingSpeed,
    estimated_speed,
    find_weight_dimensions,
    gpus_needed,
    measured_speed,
)
from tuneport.estimate.cost.traffic import HOURS_PER_MONTH, MonthlyCost, Traffic
from tuneport.formatting import money
from tuneport.manifests import HostingPrice, InferencePrice, Manifest, Offer, OfferedModel, load_gpus
from tuneport.types import Quote

SERVERLESS_IDLE_MINUTES = 1.0
"""A serverless GPU waits so long for the next request before it stops: Modal's default `scaledown_window`, 60 s
(modal.com/docs/guide/cold-start)."""


class InferenceQuote(Quote):
    """US dollars of a month. `expected`, `low` and `high` are those of `parts`, `parts_low`, `parts_high` at the stated
    traffic; at another one ask `at`. `prompt_saving`: what the shorter prompt of a tuned model saves here a month.

    `serving` names what answers, empty if the tokens are billed; `offer` is that of a rented card. `idle_stop_minutes`:
    it can stop after so long without a request; with `stops_when_idle` it does, and the price is right for the stated
    traffic only.
    """

    parts: MonthlyCost | None = None
    parts_low: MonthlyCost | None = None
    parts_high: MonthlyCost | None = None
    prompt_saving: float | None = None
    serving: str = ""
    offer: Offer | None = None
    idle_stop_minutes: float | None = None
    stops_when_idle: bool = False

    def at(self, scale: float = 1.0) -> float | None:
        """Return expected dollars at `scale` times the stated traffic, or None if the price is unknown."""
        return None if self.parts is None else self.parts.at(scale)


def inference_quote(
    manifest: Manifest, model: OfferedModel, traffic: Traffic, *, own: OwnGPUCost | None = None
) -> InferenceQuote:
    """Return what a month of `traffic` to the tuned model would cost, without the prompt tokens that it no longer
    needs.

    `own`: the GPU to serve from, for a backend that is your own machine.
    """
    quote = _quote(manifest, model, traffic.tuned(), own)
    if traffic.saved_tokens and quote.expected is not None:
        longer = _quote(manifest, model, traffic, own)
        if longer.expected is not None:
            return quote.model_copy(update={"prompt_saving": longer.expected - quote.expected})
    return quote


def _quote(manifest: Manifest, model: OfferedModel, traffic: Traffic, own: OwnGPUCost | None) -> InferenceQuote:
    if model.inference is not None:
        return per_token_quote(
            manifest.name,
            model.id,
            model.inference,
            traffic,
            source=manifest.sources[model.inference.source].url,
            as_of=model.inference.as_of,
        )
    if manifest.hosting:
        return _endpoint_quote(manifest, model, traffic)
    if manifest.own_machine:
        return _own_machine_quote(manifest, model, traffic, own)
    return _unknown(manifest, model, f"{manifest.title} publishes no inference price for {model.id}")


def per_token_quote(
    backend: str, model_id: str, price: InferencePrice, traffic: Traffic, *, source: str, as_of: date | None
) -> InferenceQuote:
    """Quote a month by the token. Discounts for cache and batch are not combined: batch requests are not cached.

    Without a price for cached tokens or for batches, the usual price applies.
    """
    batch = traffic.batch_share if price.usd_per_mtok_batch_input is not None else 0.0
    batch_in = price.usd_per_mtok_input if price.usd_per_mtok_batch_input is None else price.usd_per_mtok_batch_input
    batch_out = (
        price.usd_per_mtok_output if price.usd_per_mtok_batch_output is None else price.usd_per_mtok_batch_output
    )
    cached = 0.0 if price.usd_per_mtok_cached_input is None else traffic.cached_share
    cached_in = price.usd_per_mtok_input if price.usd_per_mtok_cached_input is None else price.usd_per_mtok_cached_input
    at_once_in = (1 - cached) * price.usd_per_mtok_input + cached * cached_in
    per_input = (1 - batch) * at_once_in + batch * batch_in
    per_output = (1 - batch) * price.usd_per_mtok_output + batch * batch_out
    cost = (traffic.input_tokens * per_input + traffic.output_tokens * per_output) / 1e6
    explanation = (
        f"{traffic.input_tokens:,} in at {money(per_input)} and {traffic.output_tokens:,} out at "
        f"{money(per_output)} per 1M a month"
    )
    without = [
        word
        for word, share, priced in (
            ("cached tokens", traffic.cached_share, price.usd_per_mtok_cached_input is not None),
            ("batches", traffic.batch_share, price.usd_per_mtok_batch_input is not None),
        )
        if share and not priced
    ]
    if without:
        explanation += f"; no price of {' and '.join(without)} is known, so they are counted in full"
    parts = MonthlyCost(growing=cost)
    return _quoted(backend, model_id, parts, parts, parts, explanation, source=source, as_of=as_of)


def endpoint_hourly_price(manifest: Manifest, model: OfferedModel) -> float | None:
    """Return US dollars an hour of the cheapest endpoint that holds the model, or None if no price or size is known."""
    if model.params_b is None:
        return None
    prices = [row.usd_per_hour * gpus_needed(model.params_b, row.vram_gib) for row in manifest.hosting]
    return min(prices, default=None)


def _endpoint_quote(manifest: Manifest, model: OfferedModel, traffic: Traffic) -> InferenceQuote:
    """Quote dedicated endpoints for the whole month, on the set of GPUs that serves the traffic at the lowest cost."""
    if model.params_b is None:
        return _unknown(manifest, model, f"the GPUs of its endpoint are not known: the size of {model.id} is not known")
    sets = [_endpoint_on(manifest, model, model.params_b, row, traffic) for row in manifest.hosting]
    return min(sets, key=lambda quote: inf if quote.expected is None else quote.expected)


def _endpoint_on(
    manifest: Manifest, model: OfferedModel, params_b: float, row: HostingPrice, traffic: Traffic
) -> InferenceQuote:
    count = gpus_needed(params_b, row.vram_gib)
    try:
        gpu = load_gpus().find(row.gpu)
        speed = estimated_speed(
            gpu, traffic, params_b=params_b, dimensions=find_weight_dimensions(manifest.name, model.id), count=count
        )
    except ConfigError:
        speed = ServingSpeed(unavailable=f"the speed of {row.gpu} is not known")
    loads = _loads(speed, traffic)
    if loads is None:
        return _unknown(manifest, model, f"the capacity of an endpoint is not known: {speed.unavailable}")
    month = count * row.usd_per_hour * HOURS_PER_MONTH
    dearest = count * (row.usd_per_hour_high or row.usd_per_hour) * HOURS_PER_MONTH
    low, expected, high = (
        MonthlyCost(machine=usd, load=load) for usd, load in zip((month, month, dearest), loads, strict=True)
    )
    replicas = f"{expected.machines()} replica{'s' if expected.machines() > 1 else ''}"
    capacity = f"{replicas}: {speed.explanation or speed.unavailable}"
    disputed = "" if row.usd_per_hour_high is None else f"; another page says {money(row.usd_per_hour_high)}"
    return _quoted(
        manifest.name,
        model.id,
        low,
        expected,
        high,
        f"a dedicated endpoint on {count} x {row.gpu} at {money(row.usd_per_hour)} x {HOURS_PER_MONTH} h, always up "
        f"whatever the traffic (tuned models are not served per token){disputed}; {capacity}",
        source=manifest.sources[row.source].url,
        as_of=row.as_of,
    ).model_copy(
        update={"serving": f"{manifest.title}'s endpoint, always up", "idle_stop_minutes": row.idle_stop_minutes}
    )


def _own_machine_quote(
    manifest: Manifest, model: OfferedModel, traffic: Traffic, own: OwnGPUCost | None
) -> InferenceQuote:
    if own is None or own.usd_hourly is None:
        nothing = MonthlyCost()
        return _quoted(
            manifest.name,
            model.id,
            nothing,
            nothing,
            nothing,
            "your own machine; electricity not counted",
            authority="local",
        )
    count, speed = 1, ServingSpeed(unavailable="neither its GPU nor its speed is given")
    if own.gpu is not None:
        if model.params_b is None:
            return _unknown(manifest, model, f"the number of GPUs is not known: the size of {model.id} is not known")
        count = gpus_needed(model.params_b, own.gpu.vram_gib)
        dimensions = find_weight_dimensions(manifest.name, model.id)
        speed = estimated_speed(own.gpu, traffic, params_b=model.params_b, dimensions=dimensions, count=count)
    if own.tokens_per_second is not None:
        speed = measured_speed(own.tokens_per_second, traffic)
    loads, offer = _loads(speed, traffic), own.rental_offer
    if loads is None:
        because = f"{own.name} is billed by the hour, and its capacity is not known: {speed.unavailable}"
        return _unknown(manifest, model, f"{because}; give --own-speed or --own-gpu")
    month = (1 if own.whole_machine else count) * own.usd_hourly * HOURS_PER_MONTH
    low, expected, high = (MonthlyCost(machine=month, load=load) for load in loads)
    machines = f"{expected.machines() * count} x {own.name}"
    if own.whole_machine and own.gpu is not None:
        machines = f"{expected.machines()} x your own machine with {count} x {own.gpu.name}"
    serverless = offer is not None and offer.kind == "serverless"
    return _quoted(
        manifest.name,
        model.id,
        low,
        expected,
        high,
        f"{machines} at {money(own.usd_hourly)} x {HOURS_PER_MONTH} h, always up; "
        f"{speed.explanation or speed.unavailable}",
        authority="local",
        source=None if offer is None else offer.note or offer.source,
        as_of=None if offer is None else offer.as_of,
    ).model_copy(
        update={
            "serving": f"{'' if count == 1 or own.whole_machine else f'{count} x '}{own.name}, always up",
            "offer": offer,
            "idle_stop_minutes": SERVERLESS_IDLE_MINUTES if serverless else None,
        }
    )


def _loads(speed: ServingSpeed, traffic: Traffic) -> tuple[float, float, float] | None:
    """Return `ServingSpeed.loads`; no traffic is no work, whatever the speed."""
    return speed.loads(traffic) if traffic.input_tokens or traffic.output_tokens else (0.0, 0.0, 0.0)


def _quoted(
    backend: str,
    model_id: str,
    low: MonthlyCost,
    expected: MonthlyCost,
    high: MonthlyCost,
    explanation: str,
    *,
    authority: Literal["manifest", "local"] = "manifest",
    source: str | None = None,
    as_of: date | None = None,
) -> InferenceQuote:
    return InferenceQuote(
        backend=backend,
        model=model_id,
        expected=expected.at(),
        low=low.at(),
        high=high.at(),
        authority=authority,
        explanation=explanation,
        source=source,
        as_of=as_of,
        parts=expected,
        parts_low=low,
        parts_high=high,
    )


def _unknown(manifest: Manifest, model: OfferedModel, because: str) -> InferenceQuote:
    return InferenceQuote(backend=manifest.name, model=model.id, unavailable=because)
