"""Prices of base models, by the token: litellm's table if that is installed, else genai-prices'.

litellm's is read by path, since importing litellm takes seconds; the path is no part of its API, so a test looks there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from tuneport.installation import find_package_file
from tuneport.manifests.loading import load_manifest, manifest_names
from tuneport.manifests.schema import InferencePrice

FILE = "model_prices_and_context_window_backup.json"
URLS = {
    "litellm": "https://github.com/BerriAI/litellm/blob/main/model_prices_and_context_window.json",
    "genai-prices": "https://github.com/pydantic/genai-prices",
}
RELEASED = {("litellm", "1.110.2"): date(2026, 11, 20)}
"""The tables bear no day; that of the release is known of the versions that were looked up."""
PREFIXES = {
    "deepseek": "deepseek/",
    "fireworks": "fireworks_ai/",
    "google": "gemini/",
    "groq": "groq/",
    "mistral": "mistral/",
    "x-ai": "xai/",
}
"""Prefix of names in litellm's table, by genai-prices' name of a provider that has no manifest here."""


@dataclass(frozen=True)
class BasePrice:
    """`name` is the table's own. `retires` is the first day without the model, if the table has one."""

    name: str
    price: InferencePrice
    retires: date | None


@dataclass(frozen=True)
class BasePriceManifest:
    """A table of prices with litellm's names and fields. `version` is that of the `package`; `as_of` is None if the day
    of its release is not known here."""

    rows: Mapping[str, Mapping[str, Any]]
    version: str
    as_of: date | None
    package: str = "litellm"

    @property
    def title(self) -> str:
        return f"{self.package} {self.version}"

    @property
    def url(self) -> str:
        return URLS[self.package]

    def find(self, *names: str) -> BasePrice | None:
        """Return the first of `names` that the table prices by the token."""
        for name in names:
            row = self.rows.get(name)
            if row and row.get("input_cost_per_token") is not None and row.get("output_cost_per_token") is not None:
                return BasePrice(name, self._price(row), _day(row.get("deprecation_date")))
        return None

    def _price(self, row: Mapping[str, Any]) -> InferencePrice:
        def per_million(name: str) -> float | None:
            value = row.get(name)
            return None if value is None else round(value * 1e6, 6)

        return InferencePrice(
            usd_per_mtok_input=per_million("input_cost_per_token") or 0.0,
            usd_per_mtok_cached_input=per_million("cache_read_input_token_cost"),
            usd_per_mtok_output=per_million("output_cost_per_token") or 0.0,
            usd_per_mtok_batch_input=per_million("input_cost_per_token_batches"),
            usd_per_mtok_batch_output=per_million("output_cost_per_token_batches"),
            source=self.package,
            as_of=self.as_of or date.min,
        )


@cache
def load_base_price_manifest() -> BasePriceManifest:
    """Return the installed litellm's table, or that of genai-prices if litellm is not installed or has no such file."""
    try:
        table = BasePriceManifest(json.loads(find_package_file("litellm", FILE).read_bytes()), version("litellm"), None)
    except (OSError, ValueError, PackageNotFoundError):
        package = "genai-prices"
        table = BasePriceManifest(dict(_rows_of_genai_prices()), version(package), None, package)
    return BasePriceManifest(table.rows, table.version, RELEASED.get((table.package, table.version)), table.package)


def _rows_of_genai_prices() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield litellm's name and fields of each model of the providers with a known prefix, at today's price without
    tiers."""
    from genai_prices.data import providers
    from genai_prices.types import TieredPrices

    now = datetime.now(UTC)
    for provider in providers:
        prefix = _litellm_prefix(provider.id)
        if prefix is None:
            continue
        for model in provider.models:
            usual, batch = model.get_prices(now), model.get_prices(now, {"processing": "batch"})
            by_batch = batch.input_mtok != usual.input_mtok
            amounts = {
                "input_cost_per_token": usual.input_mtok,
                "cache_read_input_token_cost": usual.cache_read_mtok,
                "output_cost_per_token": usual.output_mtok,
                "input_cost_per_token_batches": batch.input_mtok if by_batch else None,
                "output_cost_per_token_batches": batch.output_mtok if by_batch else None,
            }
            row: dict[str, Any] = {"litellm_provider": prefix.removesuffix("/") or provider.id}
            for field, amount in amounts.items():
                if amount is not None:
                    row[field] = float(amount.base if isinstance(amount, TieredPrices) else amount) / 1e6
            for name in {model.id, *_exact_names(model.match)}:
                yield prefix + name, row


def _litellm_prefix(provider: str) -> str | None:
    """Return the prefix of a provider's names in litellm's table, or None if it is not known. `provider` is
    genai-prices' name, which is ours too where we have a manifest."""
    return load_manifest(provider).price_table_prefix if provider in manifest_names() else PREFIXES.get(provider)


def _exact_names(match: Any) -> Iterator[str]:
    """Yield the names that a rule of genai-prices takes for the model, as far as the rule lists them."""
    if (name := getattr(match, "equals", None)) is not None:
        yield name
    for rule in getattr(match, "or_", ()):
        yield from _exact_names(rule)


def _day(text: Any) -> date | None:
    try:
        return date.fromisoformat(str(text))
    except ValueError:
        return None
