"""The provider's own quote beside ours."""

from __future__ import annotations

import pytest

from tuneport.lifecycle.worker.preparing import compare_job_with_our_quote
from tuneport.types import Quote

TABLE = Quote(backend="together", model="m", expected=4.80, low=4.32, high=7.20, billed_tokens_per_epoch=10_000_000)


def theirs(expected: float | None) -> Quote:
    return Quote(backend="together", model="m", expected=expected, authority="provider", explanation="their own")


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (6.00, "their own; the published table came to $4.80, so it is +25%"),
        (4.00, "their own; the published table came to $4.80, so it is -17%"),
        (4.80, "their own; as the published table has it"),
    ],
)
def test_theirs_wins_and_the_difference_is_kept(asked: float, told: str) -> None:
    quote = compare_job_with_our_quote(theirs(asked), TABLE)
    assert (quote.expected, quote.by_table, quote.explanation) == (asked, 4.80, told)
    assert quote.billed_tokens_per_epoch == 10_000_000
    again = compare_job_with_our_quote(theirs(asked), quote)  # prepared anew after a crash: ours is still the table's
    assert again == quote


def test_without_a_price_of_ours_theirs_stands_alone() -> None:
    for ours in (None, Quote.unknown("together", "m", "no bracket")):
        assert compare_job_with_our_quote(theirs(6.0), ours) == theirs(6.0)
