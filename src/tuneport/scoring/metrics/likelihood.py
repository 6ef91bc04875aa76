"""The likelihood of the expected answer: what its loss on held-out rows means, without an answer being written.

Per byte and per word, so that models with different vocabularies can be compared (as lm-eval has them); the loss of a
token means something only within one vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tuneport.errors import ConfigError
from tuneport.scoring.examples import Answer, Example
from tuneport.scoring.statistics.tally import Floats, Tally, Value, tally_means, tally_sums


def tally_answer_loss(rows: Sequence[Example], answers: Sequence[Answer]) -> Tally:
    """Compute the mean negative log-likelihood of an expected answer, in nats, end of turn included."""
    return tally_means(-_likelihoods(answers), best=None)


def tally_bits_per_byte(rows: Sequence[Example], answers: Sequence[Answer]) -> Tally:
    return _tally(answers, [len(row.expected.encode("utf-8", "replace")) for row in rows], _bits)


def tally_word_perplexity(rows: Sequence[Example], answers: Sequence[Answer]) -> Tally:
    return _tally(answers, [len(row.expected.split()) for row in rows], _perplexity)


def _tally(answers: Sequence[Answer], units: Sequence[int], value: Value) -> Tally:
    counts = np.stack((-_likelihoods(answers), np.maximum(np.asarray(units, np.float64), 1)), axis=1)
    return tally_sums(counts, value, per_row=value(counts), best=None)


def _likelihoods(answers: Sequence[Answer]) -> Floats:
    found = [answer.log_likelihood for answer in answers]
    if any(each is None for each in found):
        raise ConfigError("this metric needs a backend with log-likelihoods, such as local")
    return np.array(found, np.float64)


def _bits(sums: Floats) -> Floats:
    return np.asarray(sums[:, 0] / sums[:, 1] / math.log(2))


def _perplexity(sums: Floats) -> Floats:
    with np.errstate(over="ignore"):
        return np.asarray(np.exp(sums[:, 0] / sums[:, 1]))
