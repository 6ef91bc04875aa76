"""The reference card's cost table beside today's sourced figures, and what differs.

    python benchmarks/cost.py

The card's numbers are a rule of thumb that many guides repeat; ours are those of `providers/`, each with its page and
its day. Nothing is fetched.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from tuneport.estimate.cost import OwnGPUCost, Traffic, inference_quote, training_price, training_quote
from tuneport.estimate.cost.serving import estimated_speed
from tuneport.manifests import Manifest, OfferedModel, find_manifest_model, load_gpus, load_manifest, load_models
from tuneport.types import Adapter, Method

LLAMA = "meta-llama/Meta-Llama-3.1-8B-Instruct-Reference"
MILLION = 1_000_000


@dataclass(frozen=True)
class Line:
    """One cell of the card, in its words; ours, in the same unit where there is one; and why they differ."""

    what: str
    card: str
    ours: str
    as_of: date | None
    difference: str


def main() -> None:
    print("| | the card | sourced | of | difference |\n| --- | --- | --- | --- | --- |")
    for line in lines():
        print(f"| {line.what} | {line.card} | {line.ours} | {line.as_of or '-'} | {line.difference} |")


def lines() -> list[Line]:
    openai, together, local = (load_manifest(name) for name in ("openai", "together", "local"))
    llama = offered(together, LLAMA)
    found = []
    for title, model_id, train, given_in, given_out in (
        ("GPT-4o mini", "gpt-4o-mini-2024-07-18", 3.00, 0.60, 2.40),
        ("GPT-4o", "gpt-4o-2024-08-06", 25.00, 3.75, 15.00),
    ):
        model = offered(openai, model_id)
        quote = training_quote(openai, model, tokens_per_epoch=MILLION, epochs=1)
        price = model.inference
        assert quote.expected is not None and price is not None
        found.append(
            Line(
                f"{title}, training, per 1M tokens",
                f"${train:.2f}",
                f"${quote.expected:.2f}",
                quote.as_of,
                ("the same" if quote.expected == train else f"{quote.expected / train:.2g} times the card's")
                + "; the last published rate, no new jobs from 2027-01-06",
            )
        )
        same = (price.usd_per_mtok_input, price.usd_per_mtok_output) == (given_in, given_out)
        found.append(
            Line(
                f"{title}, inference, per 1M in / out",
                f"${given_in:.2f} / ${given_out:.2f}",
                f"${price.usd_per_mtok_input:.2f} / ${price.usd_per_mtok_output:.2f}",
                price.as_of,
                "the same"
                if same
                else f"the card has {given_in / price.usd_per_mtok_input:g} times the vendor's price of a tuned model",
            )
        )
    price = training_price(together, llama, Method.SFT, Adapter.LORA)
    minimum = together.billing and together.billing.minimum
    assert price is not None and price.usd_per_mtok is not None and minimum
    found.append(
        Line(
            "Together, Llama 8B, training",
            "about $0.50 an hour (one A100)",
            f"${price.usd_per_mtok:.2f} per 1M tokens, at least ${minimum.usd:.2f} a job",
            price.as_of,
            f"billed by the token, not by the hour; the cheapest A100 in gpus.toml is ${cheapest_a100():.2f} an hour",
        )
    )
    month = inference_quote(together, llama, Traffic.of_requests(25_000, 400, 80))
    assert month.expected is not None and month.parts is not None
    row = together.hosting[0]
    full = estimated_speed(
        load_gpus().find(row.gpu),
        Traffic.of_requests(25_000, 400, 80),
        params_b=llama.params_b,
        dimensions=load_models().weights["llama-3.1-8b-instruct"].dimensions,
    )
    assert full.seconds is not None
    per_million = row.usd_per_hour / 3600 * full.seconds / 480 * MILLION
    found.append(
        Line(
            "Together, Llama 8B, inference",
            "$0.20 per 1M",
            f"${row.usd_per_hour:.2f} an hour of one {row.gpu}: ${month.expected:,.0f} a month",
            month.as_of,
            f"an endpoint for each tuned model: 12M tokens a month come to ${month.expected / 12:,.0f} per 1M, "
            f"a full one (estimated) to ${per_million:.2f}",
        )
    )
    found.append(own_gpu(local))
    return found


def cheapest_a100() -> float:
    offers = [gpu.cheapest() for gpu in load_gpus().gpus if gpu.name.startswith("A100")]
    return min(offer.usd_per_gpu_hour for offer in offers if offer is not None)


def own_gpu(local: Manifest) -> Line:
    card = load_gpus().find("A100-80GB SXM")
    offer = card.cheapest()
    assert offer is not None
    month = inference_quote(
        local,
        offered(local, "llama-3.1-8b-instruct"),
        Traffic.of_requests(25_000, 400, 80),
        own=OwnGPUCost(card, None, offer),
    )
    assert month.expected is not None
    return Line(
        "self-hosted, any open model",
        "GPU only",
        f"{card.name} from ${offer.usd_per_gpu_hour:.2f} an hour ({offer.provider}): ${month.expected:,.0f} a month",
        offer.as_of,
        "agrees: the GPU's hours; electricity and work come on top of a card of one's own",
    )


def offered(manifest: Manifest, model_id: str) -> OfferedModel:
    model = find_manifest_model(manifest, model_id)
    if model is None:
        raise SystemExit(f"{manifest.title} does not offer {model_id} any more; name another model in {__file__}")
    return model


if __name__ == "__main__":
    main()
