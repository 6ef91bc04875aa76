"""Prices of base models, by the token: the table that litellm ships, read by path; litellm is not imported."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tuneport.manifests.schema import InferencePrice

FILE = "model_prices_and_context_window_backup.json"
SOURCE = "https://github.com/BerriAI/litellm/blob/main/model_prices_and_context_window.json"
RELEASED = {"1.110.2": date(2026, 11, 20)}
"""The table bears no day; that of the release is known of the versions that were looked up."""


@dataclass(frozen=True)
class BasePrice:
    """`name` is the table's own. `retires` is the first day without the model, where the table has one."""

    name: str
    price: InferencePrice
    retires: date | None


@dataclass(frozen=True)
class BasePriceManifest:
    """`version` of litellm; `as_of` None: the day of its release is not known here."""

    rows: Mapping[str, Mapping[str, Any]]
    version: str
    as_of: date | None

    def find(self, *names: str) -> BasePrice | None:
        """Return the first of `names` that the table prices by the token."""
        for name in names:
            row = self.rows.get(name)
            if row and row.get("input_cost_per_token") is not None and row.get("output_cost_per_token") is not None:
                return BasePrice(name, _price(row, self.as_of), _day(row.get("deprecation_date")))
        return None


@cache
def load_base_price_manifest() -> BasePriceManifest | None:
    """Return the installed litellm's table, or None if it is not installed or has no such file."""
    spec = find_spec("litellm")
    if spec is None or not spec.submodule_search_locations:
        return None
    try:
        rows = json.loads((Path(spec.submodule_search_locations[0]) / FILE).read_bytes())
        number = version("litellm")
    except (OSError, ValueError, PackageNotFoundError):
        return None
    return BasePriceManifest(rows, number, RELEASED.get(number))


def _price(row: Mapping[str, Any], as_of: date | None) -> InferencePrice:
    def per_million(name: str) -> float | None:
        value = row.get(name)
        return None if value is None else round(value * 1e6, 6)

    return InferencePrice(
        usd_per_mtok_input=per_million("input_cost_per_token") or 0.0,
        usd_per_mtok_cached_input=per_million("cache_read_input_token_cost"),
        usd_per_mtok_output=per_million("output_cost_per_token") or 0.0,
        usd_per_mtok_batch_input=per_million("input_cost_per_token_batches"),
        usd_per_mtok_batch_output=per_million("output_cost_per_token_batches"),
        source="litellm",
        as_of=as_of or date.min,
    )


def _day(text: Any) -> date | None:
    try:
        return date.fromisoformat(str(text))
    except ValueError:
        return None
