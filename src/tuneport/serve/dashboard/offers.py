"""The cost comparison as a choice: a row for each backend and model, the available ones first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from tuneport.lifecycle.proposing.terms import BindingTerm, list_job_terms
from tuneport.router import BackendChoice
from tuneport.workflows.compare import Comparison

OF_EACH_BACKEND = 3


@dataclass(frozen=True)
class DashboardOfferRow:
    """An offer of the comparison. `missing` says what must be set up before it can be chosen. `goes_to`: the third
    party that gets the rows, or None."""

    choice: BackendChoice
    priced_on: date | None
    stale: bool
    missing: str | None
    goes_to: str | None = None

    @property
    def value(self) -> str:
        return f"{self.choice.backend}/{self.choice.model}"

    @property
    def highest_price(self) -> float | None:
        """Return the most that training may cost, in US dollars, or None if that is not known."""
        return self.choice.highest_price

    @property
    def terms(self) -> list[BindingTerm]:
        """Return the terms of the backend, and the licence of the base model."""
        return list_job_terms(self.choice.backend, self.choice.model or "")

    @property
    def can_be_chosen(self) -> bool:
        return self.choice.allowed and self.missing is None


def list_dashboard_offers(
    comparison: Comparison, backends: Sequence[Mapping[str, Any]], third_parties: Mapping[str, str]
) -> tuple[list[DashboardOfferRow], list[DashboardOfferRow]]:
    """Return the best offer of every backend, and all others, each model of a backend once: a job is the same however
    the model is served, and does not rent a card. In both, offers that cannot be chosen here come last, else in the
    comparison's order. `third_parties`: the titles of backends that get the rows."""
    missing = {row["name"]: _missing(row) for row in backends}
    found = [
        DashboardOfferRow(choice, day, stale, missing.get(choice.backend), third_parties.get(choice.backend))
        for choice, day, stale in zip(comparison.choices, comparison.priced_on, comparison.stale, strict=True)
        if choice.inference is None or choice.inference.offer is None
    ]
    found.sort(key=lambda offer: not offer.can_be_chosen)
    found = list({(each.choice.backend, each.choice.model): each for each in reversed(found)}.values())[::-1]
    seen: Counter[str] = Counter()
    best: list[DashboardOfferRow] = []
    others: list[DashboardOfferRow] = []
    for offer in found:
        seen[offer.choice.backend] += offer.choice.allowed
        first = offer.choice.allowed and seen[offer.choice.backend] <= OF_EACH_BACKEND
        (best if first else others).append(offer)
    return best, others


def _missing(row: Mapping[str, Any]) -> str | None:
    if row["configured"]:
        return None
    if row["install"]:
        return str(row["install"])
    if row["key_set"] is False:
        return f"{row['api_key_env']} is not set"
    return "its address is not set"
