"""litellm's price file, read by path, and what it says about our own prices."""

from __future__ import annotations

import subprocess
import sys
from datetime import date

import pytest

from tuneport.estimate.base_prices import base_inference_quote, base_price, price_table
from tuneport.estimate.cost import Traffic
from tuneport.manifests import OfferedModel, load_manifest

# Where the official page's stored copy and litellm 1.110.2 differ, or litellm has no number: ours is the page's.
KNOWN_DIFFERENCES = {
    ("gpt-4o-2024-08-06", "usd_per_mtok_batch_input"),  # the same today, seen as 1.875 in other releases
    ("gpt-3.5-turbo-0125", "usd_per_mtok_batch_input"),  # litellm has it on ft:gpt-3.5-turbo only
    ("gpt-3.5-turbo-0125", "usd_per_mtok_batch_output"),
    ("gpt-4o-2024-11-20", "usd_per_mtok_cached_input"),  # litellm files it under cache creation
}
FIELDS = {
    "usd_per_mtok_input": "input_cost_per_token",
    "usd_per_mtok_cached_input": "cache_read_input_token_cost",
    "usd_per_mtok_output": "output_cost_per_token",
    "usd_per_mtok_batch_input": "input_cost_per_token_batches",
    "usd_per_mtok_batch_output": "output_cost_per_token_batches",
}
OPENAI_MODELS = load_manifest("openai").models


@pytest.mark.parametrize("model", OPENAI_MODELS, ids=lambda model: model.id)
def test_inference_prices_and_last_days_agree_with_litellm(model: OfferedModel) -> None:
    row = price_table().get(f"ft:{model.id}")
    if row is None:
        pytest.skip(f"this release of litellm has no ft:{model.id}")
    assert model.inference is not None
    for ours, theirs in FIELDS.items():
        if (model.id, ours) in KNOWN_DIFFERENCES:
            continue
        own = getattr(model.inference, ours)
        assert own == (None if theirs not in row else pytest.approx(row[theirs] * 1e6)), ours
    if "deprecation_date" in row:
        assert model.retires == date.fromisoformat(row["deprecation_date"])


def test_litellm_has_no_training_prices() -> None:
    """The reason why the manifests hold them; when this fails, they can be cross-checked."""
    assert not [key for row in price_table().values() for key in row if "train" in key and "cost" in key]


def test_a_base_models_price() -> None:
    price = base_price("gpt-4.1-mini-2025-04-14")
    assert price is not None
    assert (price.usd_per_mtok_input, price.usd_per_mtok_cached_input, price.usd_per_mtok_output) == (0.4, 0.1, 1.6)
    assert price.source.startswith("litellm ")
    assert base_price("no-such-model") is None
    assert base_price("Qwen/Qwen2.5-7B-Instruct-Turbo") is None
    assert base_price("Qwen/Qwen2.5-7B-Instruct-Turbo", "together") is not None


def test_a_base_models_month() -> None:
    quote = base_inference_quote("gpt-4.1-mini-2025-04-14", "openai", Traffic(10_000_000, 2_000_000))
    assert quote.expected == pytest.approx(10 * 0.4 + 2 * 1.6)
    assert base_inference_quote("no-such-model", "openai", Traffic(1, 1)).unavailable


def test_litellm_is_not_imported_for_it() -> None:
    script = (
        "import sys; from tuneport.estimate.base_prices import base_price\n"
        "assert base_price('gpt-4.1-mini') is not None\nprint('litellm' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
