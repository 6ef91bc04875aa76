"""The cheapest model to prompt, by the installed table of prices."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from tuneport.estimate.cost import Traffic
from tuneport.manifests import load_base_price_manifest, load_rivals
from tuneport.workflows.comparison.rivals import cheapest_rival

DAY = date(2026, 11, 28)


def test_the_cheapest_is_the_cheapest_of_the_list_and_its_price_is_the_tables() -> None:
    traffic = Traffic.of_requests(200_000, 400, 80)
    rival = cheapest_rival(traffic, today=DAY)
    assert rival is not None and rival.quote.expected is not None
    rates = [load_base_price_manifest().find(each.name) for each in load_rivals().rivals]
    months = [
        80 * row.price.usd_per_mtok_input + 16 * row.price.usd_per_mtok_output for row in rates if row is not None
    ]
    assert len(months) >= 4, "the table no longer has most of the rivals: look for their successors"
    assert rival.quote.expected == pytest.approx(min(months))
    assert str(rival).startswith(f"prompting {rival.name} costs about $") and "200,000 requests" in str(rival)


def test_a_choice_of_long_ago_says_so() -> None:
    later = DAY + timedelta(days=load_rivals().max_age_days + 1)
    rival = cheapest_rival(Traffic.of_requests(1, 1, 1), today=later)
    assert rival is not None and rival.old and "this choice is old" in str(rival)
