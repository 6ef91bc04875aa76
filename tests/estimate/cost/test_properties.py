"""What holds of every price, whatever the numbers."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuneport.errors import ConfigError
from tuneport.estimate.cost import OwnGPUCost, Traffic, inference_quote, training_quote
from tuneport.estimate.duration import Duration
from tuneport.manifests import Manifest, OfferedModel, find_manifest_model, load_gpus, load_manifest
from tuneport.types import Quote

OFFERS = {
    "by the token": ("openai", "gpt-4.1-mini-2025-04-14"),
    "a bracket, with a minimum": ("together", "meta-llama/Meta-Llama-3.1-8B-Instruct-Reference"),
    "dear and in many GPUs": ("together", "meta-llama/Llama-3.3-70B-Instruct-Reference"),
    "one's own": ("local", "llama-3.1-8b-instruct"),
}
H100 = OwnGPUCost(gpu=load_gpus().find("H100"), usd_per_hour=2.0)
tokens, counts = st.integers(0, 10**10), st.integers(1, 50)
shares = st.floats(0, 1)


def offer(name: str) -> tuple[Manifest, OfferedModel]:
    backend, model_id = OFFERS[name]
    manifest = load_manifest(backend)
    model = find_manifest_model(manifest, model_id)
    assert model is not None
    return manifest, model


def ordered(quote: Quote) -> float:
    """The expected price, once it is known to lie between its bounds, none of which is negative."""
    assert quote.low is not None and quote.expected is not None and quote.high is not None
    assert 0 <= quote.low <= quote.expected * (1 + 1e-9) and quote.expected <= quote.high * (1 + 1e-9)
    assert quote.explanation
    return quote.expected


@pytest.mark.parametrize("name", OFFERS)
@settings(deadline=None, max_examples=60)
@given(
    tokens,
    counts,
    st.integers(0, 10**8),
    st.integers(0, 20),
    st.integers(1, 10**6),
    st.integers(8, 32_768),
    st.booleans(),
)
def test_training_grows_with_all_that_it_is_billed_for(
    name: str, each: int, epochs: int, held_out: int, evaluations: int, rows: int, length: int, packing: bool
) -> None:
    manifest, model = offer(name)

    def price(**changed: object) -> float:
        given = {
            "tokens_per_epoch": each,
            "epochs": epochs,
            "validation_tokens": held_out,
            "evaluations": evaluations,
            "rows": rows,
            "validation_rows": rows // 10,
            "packing": packing,
            "max_length": length,
            "low": 0.9,
            "high": 1.5,
            "approximate_because": "of a test",
            "own": H100,
        } | changed
        seconds = given["tokens_per_epoch"] * given["epochs"] / 5_000  # type: ignore[operator]
        return ordered(
            training_quote(manifest, model, duration=Duration(seconds, seconds / 1.5, seconds * 1.5), **given)  # type: ignore[arg-type]
        )

    now = price()
    for more in (
        {"tokens_per_epoch": each * 2 + 1},
        {"epochs": epochs + 1},
        {"validation_tokens": held_out * 2 + 1},
        {"evaluations": evaluations + 1},
        {"rows": rows + 1},
        {"max_length": length * 2},
    ):
        assert price(**more) >= now * (1 - 1e-12), more
    if name == "by the token" and packing and each:
        assert price(epochs=2 * epochs) == pytest.approx(2 * now)


@pytest.mark.parametrize("name", OFFERS)
@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**8), st.integers(1, 20_000), st.integers(0, 4_000), shares, shares, shares)
def test_a_month_grows_with_requests_and_tokens_and_shrinks_with_every_saving(
    name: str, requests: int, tokens_in: int, tokens_out: int, cached: float, batch: float, saved: float
) -> None:
    manifest, model = offer(name)

    def price(requests: int = requests, given_in: int = tokens_in, given_out: int = tokens_out, **more: float) -> float:
        given = {"cached_share": cached, "batch_share": batch} | more
        traffic = Traffic.of_requests(requests, given_in, given_out, **given)  # type: ignore[arg-type]
        quote = inference_quote(manifest, model, traffic, own=H100)
        assert quote.parts is not None and quote.parts.at() == quote.expected
        for less, greater in pairwise((0.0, 0.5, 1.0, 3.7)):
            assert quote.parts.at(less) <= quote.parts.at(greater)
        return ordered(quote)

    now = price()
    assert price(requests=requests + 1) >= now * (1 - 1e-9)
    assert price(given_in=tokens_in * 2) >= now * (1 - 1e-9)
    assert price(given_out=tokens_out * 2 + 1) >= now * (1 - 1e-9)
    assert price(saved_per_request=int(tokens_in * saved)) <= now * (1 + 1e-9)
    assert price(batch_share=0.0, cached_share=0.0) >= price(batch_share=0.0) * (1 - 1e-9)


@settings(deadline=None)
@given(st.floats(allow_nan=True))
def test_a_share_is_a_share(share: float) -> None:
    if 0 <= share <= 1:
        Traffic(10, 10, share, share)
        return
    for wrong in ({"cached_share": share}, {"batch_share": share}):
        with pytest.raises(ConfigError):
            Traffic(10, 10, **wrong)
