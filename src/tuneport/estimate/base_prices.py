"""What a base model's tokens cost, where the manifest does not say: read from the price file that litellm ships.

The file is read by its path; litellm itself takes seconds to import and is not.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tuneport.estimate.cost import Traffic
from tuneport.types import Quote

FILE = "model_prices_and_context_window_backup.json"


@dataclass(frozen=True)
class BasePrice:
    """US dollars per million tokens. `source` names the file and its release."""

    model: str
    usd_per_mtok_input: float
    usd_per_mtok_output: float
    usd_per_mtok_cached_input: float | None
    source: str


def base_price(model: str, backend: str = "") -> BasePrice | None:
    """The price of `model`, or None where the file has none. `backend` "together" looks among Together's own names."""
    table = price_table()
    keys = [f"together_ai/{model}", model] if backend == "together" else [model]
    for key in keys:
        row = table.get(key)
        if row and row.get("input_cost_per_token") is not None and row.get("output_cost_per_token") is not None:
            cached = row.get("cache_read_input_token_cost")
            return BasePrice(
                model=model,
                usd_per_mtok_input=_per_million(row["input_cost_per_token"]),
                usd_per_mtok_output=_per_million(row["output_cost_per_token"]),
                usd_per_mtok_cached_input=None if cached is None else _per_million(cached),
                source=f"litellm {_version()}, {FILE}",
            )
    return None


def base_inference_quote(model: str, backend: str, traffic: Traffic) -> Quote:
    """A month of `traffic` to the base model, untuned, per token."""
    price = base_price(model, backend)
    if price is None:
        return Quote.unknown(backend, model, f"no price per token of {model} is known")
    cached_rate = price.usd_per_mtok_cached_input
    cached = 0.0 if cached_rate is None else traffic.cached_share
    per_input = (1 - cached) * price.usd_per_mtok_input + cached * (cached_rate or 0.0)
    cost = (traffic.input_tokens * per_input + traffic.output_tokens * price.usd_per_mtok_output) / 1e6
    return Quote(
        backend=backend,
        model=model,
        expected=cost,
        low=cost,
        high=cost,
        explanation=f"the base model, untuned: ${per_input:.3g} in, ${price.usd_per_mtok_output:.3g} out per 1M",
        source=price.source,
    )


@cache
def price_table() -> dict[str, dict[str, Any]]:
    """litellm's rows by model, prices per token; empty where litellm is not installed."""
    spec = find_spec("litellm")
    if spec is None or not spec.submodule_search_locations:
        return {}
    path = Path(next(iter(spec.submodule_search_locations))) / FILE
    if not path.is_file():
        return {}
    rows: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return rows


def _per_million(per_token: float) -> float:
    return round(per_token * 1e6, 6)


def _version() -> str:
    try:
        return version("litellm")
    except PackageNotFoundError:
        return "of unknown version"
