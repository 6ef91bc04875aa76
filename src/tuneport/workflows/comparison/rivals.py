"""The standing rival of every tuned model: the same requests, prompted to a cheap model of today."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from tuneport.estimate.cost import InferenceQuote, Traffic, per_token_quote
from tuneport.formatting import money
from tuneport.manifests import load_base_price_manifest, load_rivals


@dataclass(frozen=True)
class PromptRival:
    """`quote` is that of `traffic`, with today's prompt whole. `usd_per_mtok`: in and out. `old`: the model was chosen
    long ago."""

    name: str
    quote: InferenceQuote
    traffic: Traffic
    usd_per_mtok: tuple[float, float]
    priced_on: date | None
    old: bool

    def __str__(self) -> str:
        """Return one sentence with the price."""
        words = f"{money(self.usd_per_mtok[0])} in and {money(self.usd_per_mtok[1])} out per 1M tokens"
        read = "" if self.priced_on is None else f" on {self.priced_on}"
        old = "; look for a newer one, this choice is old" if self.old else ""
        return (
            f"prompting {self.name} costs about {money(self.quote.expected)} for {self.traffic.request_count:,.0f} "
            f"requests ({words}{read}){old}"
        )

    def as_dict(self) -> dict[str, Any]:
        return {
            "model": self.name,
            "usd": self.quote.expected,
            "requests": self.traffic.request_count,
            "usd_per_mtok_input": self.usd_per_mtok[0],
            "usd_per_mtok_output": self.usd_per_mtok[1],
            "priced_on": None if self.priced_on is None else self.priced_on.isoformat(),
            "old": self.old,
        }


def cheapest_rival(traffic: Traffic, *, today: date) -> PromptRival | None:
    """Return the rival that answers `traffic` at the lowest price, or None if the table of prices has none of them."""
    prices, catalogue = load_base_price_manifest(), load_rivals()
    found = []
    for each in catalogue.rivals:
        row = prices.find(each.name)
        if row is None or (row.retires is not None and row.retires <= today):
            continue
        quote = per_token_quote("rival", each.name, row.price, traffic, source=prices.url, as_of=prices.as_of)
        per_token = row.price.usd_per_mtok_input, row.price.usd_per_mtok_output
        old = today - each.as_of > timedelta(days=catalogue.max_age_days)
        found.append(PromptRival(each.name.rpartition("/")[2], quote, traffic, per_token, prices.as_of, old))
    return min(found, key=lambda rival: (rival.quote.expected or 0.0, rival.name), default=None)
