"""A loss as a line of bars."""

from __future__ import annotations

import pytest

from tuneport.cli.views.curve import loss_sparkline


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0, 0.0], "█▇▆▅▄▃▂▁"),
        ([1.0, 1.0, 1.0], "▁▁▁"),
        ([1000.0, 10.0, 0.1, 0.001], "█▆▃▁"),  # by its logarithm: else █▁▁▁
        ([3.0, 1.0, 2.0], "█▁▅"),
    ],
)
def test_the_highest_loss_is_the_highest_bar(values: list[float], expected: str) -> None:
    assert loss_sparkline(values) == expected


def test_many_values_are_drawn_by_their_means() -> None:
    assert loss_sparkline([8.0, 6.0, 4.0, 2.0, 1.0, 1.0], width=3) == "█▃▁"
    assert len(loss_sparkline([float(1 + number % 7) for number in range(1001)])) == 48
