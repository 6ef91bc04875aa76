"""How examples come together in a step."""

from __future__ import annotations

import pytest

from tuneport.estimate.batching import Batching, TrainedRows, choose_batching, list_batchings

SMALL = TrainedRows(rows=77, tokens=3_273, longest=60)


@pytest.mark.parametrize(
    ("batching", "steps"),
    [
        (Batching(False, 4), 100),  # 77 / 4 = 20, the last one not full
        (Batching(True, 8, 131_072), 5),  # the whole file is one sequence
        (Batching(True, 1, 1_024), 20),  # four sequences
        (Batching(False, 4, full_only=True), 95),
        (Batching(False, 100, full_only=True), 5),
    ],
)
def test_steps_of_five_epochs(batching: Batching, steps: int) -> None:
    assert batching.steps(SMALL, 5) == steps


def test_packed_examples_cannot_be_counted_without_tokens() -> None:
    assert Batching(True, 1, 1_024).steps(TrainedRows(77), 5) is None
    assert Batching(True, 1, None).examples(SMALL) is None


def test_a_step_holds_the_examples_of_its_sequences() -> None:
    assert Batching(True, 2, 1_024).examples(SMALL) == pytest.approx(2 * 77 / 4)
    assert Batching(True, 8, 131_072).examples(SMALL) == 77
    assert Batching(False, 4).examples(SMALL) == 4


def test_examples_that_are_not_split_fill_more_sequences() -> None:
    packed = Batching(True, 1, 1_024)
    long = TrainedRows(rows=100, tokens=60_000, longest=700)
    assert packed.steps(long, 1) == 59
    assert packed.most_steps(long, 1) == 83


def test_steps_come_first_then_the_price() -> None:
    candidates = list(list_batchings(packing=(True, False), lengths=[1_024], packed_lengths=[1_024], batches=[1, 4]))
    assert len(candidates) == 4
    chosen = choose_batching(candidates, SMALL, 5, 100, lambda each: 1.0 if each.packing else 9.0)
    assert chosen == Batching(False, 4, 1_024)
    dear = choose_batching(candidates, SMALL, 5, 25, lambda each: 1.0 if each.packing else 9.0)
    assert dear == Batching(True, 1, 1_024)
    assert choose_batching([Batching(True, 1, 1_024)], TrainedRows(77), 5, 100, lambda each: None) is None
