"""Words in common: exact match's forgiving sister."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tuneport.scoring.examples import Answer, Example
from tuneport.scoring.metrics.normalisation import normalise_answer
from tuneport.scoring.statistics.tally import Tally, tally_means


def token_f1(expected: str, answer: str) -> float:
    """Return the F1 of the words, each as often as it occurs, 0 to 1, as in SQuAD's evaluation (Rajpurkar 2016)."""
    want, got = Counter(normalise_answer(expected).split()), Counter(normalise_answer(answer).split())
    common = (want & got).total()
    return 2 * common / max(1, want.total() + got.total())


def tally_token_f1(rows: Sequence[Example], answers: Sequence[Answer]) -> Tally:
    return tally_means([token_f1(row.expected, said.text) for row, said in zip(rows, answers, strict=True)])
