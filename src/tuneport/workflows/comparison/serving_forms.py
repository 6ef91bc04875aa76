"""The ways to serve a tuned model that one ranking does not show: rented cards, and machines that stop when idle."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from tuneport.estimate.cost import InferenceQuote, OwnGPUCost, Traffic, inference_quote, quote_stopped_when_idle
from tuneport.manifests import (
    CatalogueGPU,
    Confidence,
    Manifest,
    Offer,
    OfferedModel,
    find_manifest_model,
    load_gpus,
)
from tuneport.router import BackendChoice, Machine

Rank = Callable[[Machine], BackendChoice]
"""Judges the same model on another machine of one's own."""


def machine_of_card(card: CatalogueGPU, own: OwnGPUCost) -> Machine:
    """Return a machine with this card."""
    return Machine(
        memory_gib=card.vram_gib,
        bf16_tflops=card.bf16_tflops,
        gpu=card.name,
        bandwidth_gbps=card.bandwidth_gbps,
        own=own,
    )


def serving_forms(
    manifest: Manifest, rank: Rank, machine: Machine, traffic: Traffic, *, rents: bool
) -> Iterator[BackendChoice]:
    """Yield the model on this backend in each form in which it can be served, the usual one first. `rents`: cards are
    rented where the backend is a machine of one's own whose cost is not known."""
    usual = rank(machine)
    yield usual
    yield from stopped_when_idle(usual, traffic)
    model = None if usual.model is None else find_manifest_model(manifest, usual.model)
    if manifest.own_machine and model is not None and rents and machine.own is None:
        yield from on_rented_cards(manifest, model, traffic, rank)


def stopped_when_idle(choice: BackendChoice, traffic: Traffic) -> Iterator[BackendChoice]:
    """Yield the choice with its machine stopped when idle, if that is possible and pays."""
    quote = None if choice.inference is None else quote_stopped_when_idle(choice.inference, traffic)
    if quote is not None:
        yield replace(choice, inference=quote)


def on_rented_cards(manifest: Manifest, model: OfferedModel, traffic: Traffic, rank: Rank) -> Iterator[BackendChoice]:
    """Yield the model trained on and served from rented cards that can train it: on the cheapest of all, and on the
    cheapest whose price was verified and whose machine stays, if that is another one."""
    found = sorted(
        _offers(manifest, model, traffic), key=lambda each: (each[0], each[1].name, each[2].provider, each[3])
    )
    for lasting in (False, True):
        for _, card, offer, stops in found:
            if lasting and not is_lasting_offer(offer):
                continue
            choice = rank(machine_of_card(card, OwnGPUCost(card, offer=offer)))
            if not choice.allowed or choice.inference is None or choice.inference.expected is None:
                continue
            if stops:
                choice = next(stopped_when_idle(choice, traffic))
            yield choice
            if not lasting and is_lasting_offer(offer):
                return
            break


def is_lasting_offer(offer: Offer) -> bool:
    """Return whether its price was verified and its machine is not taken away."""
    return offer.confidence is not Confidence.UNVERIFIED and offer.kind in ("on demand", "serverless")


def _offers(
    manifest: Manifest, model: OfferedModel, traffic: Traffic
) -> Iterator[tuple[float, CatalogueGPU, Offer, bool]]:
    """Yield each offer of a card that serves the model, with US dollars of the month, and whether it stops when idle
    for that."""
    for card in load_gpus().gpus:
        for offer in card.offers:
            if offer.kind == "part":
                continue
            quote = inference_quote(manifest, model, traffic, own=OwnGPUCost(card, offer=offer))
            for each, stops in ((quote, False), (_stopped(quote, traffic), True)):
                if each is not None and each.expected is not None:
                    yield each.expected, card, offer, stops


def _stopped(quote: InferenceQuote, traffic: Traffic) -> InferenceQuote | None:
    return None if quote.expected is None else quote_stopped_when_idle(quote, traffic)
