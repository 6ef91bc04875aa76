"""Words in common: exact match's forgiving sister."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tuneport.evaluate.examples import Answer, Example
from tuneport.evaluate.metrics.normalisation import normalised
from tuneport.evaluate.statistics.tally import Tally, tally_means


def words_shared(expected: str, answer: str) -> float:
    """F1 of the words, each as often as it stands there, 0 to 1: as SQuAD's evaluation has it (Rajpurkar 2016)."""
    want, got = Counter(normalised(expected).split()), Counter(normalised(answer).split())
    common = (want & got).total()
    return 2 * common / max(1, want.total() + got.total())


def tally_words_shared(rows: Sequence[Example], answers: Sequence[Answer]) -> Tally:
    return tally_means([words_shared(row.expected, said.text) for row, said in zip(rows, answers, strict=True)])
