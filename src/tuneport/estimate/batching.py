"""Batches of examples or packed sequences, and the optimizer steps that they make. Pure arithmetic.

A provider's batch counts examples, or sequences of a fixed length that hold several packed examples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from math import ceil, inf

SEQUENCE_MIN = 1024
"""Tokens of the shortest sequence where a provider's own least one is not known: Together's."""
ENOUGH = 1.5
"""Steps between two thirds and three halves of those wanted count as equal; then the price decides."""


@dataclass(frozen=True)
class TrainedRows:
    """The data that is trained on, as one model counts it: examples, their tokens (once), and the longest of them.

    `usual`: the length that 99 of 100 examples stay below. Approximate tokens lie between `low` and `high` times
    `tokens`.
    """

    rows: int
    tokens: int | None = None
    longest: int | None = None
    usual: int | None = None
    low: float = 1.0
    high: float = 1.0


@dataclass(frozen=True)
class Batching:
    """A batch of `batch` sequences. With `packing` each is filled up to `length` tokens with several examples, else it
    holds one."""

    packing: bool
    batch: int
    length: int | None = None
    full_only: bool = False  # batches that are not full are left out

    def sequences(self, data: TrainedRows, times: float = 1.0) -> int | None:
        """Return the sequences of an epoch, or None if packed ones depend on tokens that are not known."""
        if not self.packing:
            return data.rows
        if data.tokens is None or self.length is None:
            return None
        return min(data.rows, max(1, ceil(data.tokens * times / self.length)))

    def steps(self, data: TrainedRows, epochs: int, times: float = 1.0) -> int | None:
        """Return the optimizer steps of all epochs, for `times` the tokens. None: see `sequences`."""
        sequences = self.sequences(data, times)
        if sequences is None:
            return None
        batch = min(self.batch, sequences) if self.full_only else self.batch
        return (sequences // batch if self.full_only else ceil(sequences / batch)) * epochs

    def examples(self, data: TrainedRows) -> float | None:
        """Return the examples of one step: what the learning rate goes by."""
        sequences = self.sequences(data)
        return None if sequences is None else min(data.rows, self.batch * data.rows / sequences)

    def most_steps(self, data: TrainedRows, epochs: int) -> int | None:
        """Return the steps if no example is split between sequences, so that each stays partly empty."""
        if not self.packing or data.tokens is None or self.length is None:
            return self.steps(data, epochs)
        lost = min(0.5, data.tokens / data.rows / 2 / self.length)
        return self.steps(data, epochs, data.high / (1 - lost))


def list_batchings(
    *, packing: Iterable[bool], lengths: Iterable[int], packed_lengths: Iterable[int], batches: Iterable[int]
) -> Iterator[Batching]:
    """Yield every combination; packed sequences may have other lengths than single examples."""
    sizes, longer = tuple(batches), tuple(packed_lengths)
    for packed in packing:
        for length in longer if packed else tuple(lengths):
            for batch in sizes:
                yield Batching(packed, batch, length)


def choose_batching(
    candidates: Iterable[Batching],
    data: TrainedRows,
    epochs: int,
    wanted: int,
    price: Callable[[Batching], float | None],
) -> Batching | None:
    """Choose the one whose steps are about `wanted`, then the cheapest, then the nearest, then a packed one.

    If none comes near, the nearest. Returns None if the steps of none are known.
    """
    best: tuple[tuple[float, ...], Batching] | None = None
    for each in candidates:
        steps = each.steps(data, epochs)
        if not steps:
            continue
        away, usd = max(steps / wanted, wanted / steps), price(each)
        usd = inf if usd is None else usd
        key = (0.0, usd, away, not each.packing) if away <= ENOUGH else (1.0, away, usd, not each.packing)
        if best is None or key < best[0]:
            best = key, each
    return None if best is None else best[1]
