"""The answer of a comparison and its cards: never dearer than any row that fits the question."""

from __future__ import annotations

import re
from datetime import date
from typing import Any

import pytest

from tests.support.folders import FIXTURES
from tuneport import compare
from tuneport.manifests import Confidence
from tuneport.workflows.compare import Comparison
from tuneport.workflows.comparison.serving_forms import is_lasting_offer

TRAIN = FIXTURES / "datasets" / "support_intents.train.jsonl"
DAY = date(2026, 11, 28)
LLAMA = "llama-3.1-8b-instruct"


def compared(**given: Any) -> Comparison:
    return compare(TRAIN, today=DAY, **given)


def test_the_cheapest_card_that_fits_is_found_without_being_named() -> None:
    """The dearest form was once all that was looked at: an endpoint for 2,913 USD, and "never pays back"."""
    found = compared(model=LLAMA, requests=200_000, instead_of="gpt-4.1")
    months = {row.name: row.month(found.break_even.unit) for row in found.break_even.rows if row.compared}
    assert months.pop(f"{LLAMA} (together)") > 2_900
    assert min(months.values()) < 170
    assert all(card.month <= 511 for card in found.cards)
    assert "2,913" not in found.answer and "2,912" not in found.answer


@pytest.mark.parametrize("requests", [100, 25_000, 2_000_000])
@pytest.mark.parametrize("model", [(), (LLAMA,), ("gpt-4.1-mini", LLAMA)])
def test_no_row_beats_a_card_at_its_own_question(requests: int, model: tuple[str, ...]) -> None:
    found = compared(model=model, requests=requests)
    unit = found.break_even.unit
    rows = [row for row in found.break_even.rows if row.compared and not row.choice.inference.vague]  # type: ignore[union-attr]
    cards = {title: card for card in found.cards for title in card.titles}
    assert all(cards["cheapest now"].row.year(unit) <= row.year(unit) for row in rows)
    for row in rows:
        lasting = not row.ends and (row.offer is None or is_lasting_offer(row.offer))
        if lasting:
            assert cards["cheapest that lasts"].row.year(unit) <= row.year(unit)
        if row.choice.backend == "local":
            assert cards["cheapest that you host"].row.year(unit) <= row.year(unit)


def test_a_price_that_nobody_verified_and_a_machine_that_may_go_are_said() -> None:
    cards = compared(model=LLAMA, requests=200_000).cards
    offers = [(card, card.row.offer) for card in cards if card.row.offer is not None]
    assert any(offer.confidence is Confidence.UNVERIFIED for _, offer in offers)
    for card, offer in offers:
        notes = " ".join(card.notes)
        assert ("not verified" in notes) == (offer.confidence is Confidence.UNVERIFIED)
        assert ("may be taken away" in notes) == (offer.kind in ("community", "marketplace"))


def test_a_card_is_rented_whole_and_holds_the_model() -> None:
    found = compared(requests=25_000)
    rented = [row for row in found.break_even.rows if row.offer is not None]
    assert len(rented) > 20 and all(row.choice.allowed for row in rented)
    assert not any(row.offer.kind == "part" for row in rented if row.offer)
    large = compared(model="llama-3.3-70b-instruct", requests=25_000)
    assert all(
        re.match(r"[2-9] x |.*(H200|B200)", row.choice.inference.serving)  # type: ignore[union-attr]
        for row in large.break_even.rows
        if row.offer is not None
    )


def test_the_answer_holds_todays_cost_against_the_cheapest() -> None:
    keep = compared(model=LLAMA, requests=1_000, instead_of="$1")
    assert keep.answer.startswith("Keep what you use ($1.00 a month): at 1,000 requests a month every option costs as")
    move = compared(model=LLAMA, requests=200_000, instead_of="$5000")
    assert move.answer.startswith("Instead of what you use ($5,000.00 a month)")
    assert compared(model=LLAMA).answer.startswith("Cheapest that lasts, at 25,000 requests a month: ")


def test_own_figures_stand_in_place_of_rented_cards() -> None:
    found = compared(model=LLAMA, own_gpu="RTX 4090", own_hour=0.2)
    assert [row.name for row in found.break_even.rows if row.choice.backend == "local"] == [f"{LLAMA} (local)"]


def test_bounds_that_decide_nothing_are_no_price() -> None:
    found = compared(model=LLAMA, requests=200_000)
    row = found.break_even.rows[-1]
    month = row.choice.inference
    assert month is not None
    assert not month.vague
    assert month.model_copy(update={"low": 2.07, "high": 4_008.0}).vague
    assert month.model_copy(update={"low": 0.0, "high": 1.0}).vague
    assert not month.model_copy(update={"low": 0.0, "high": 0.0}).vague
