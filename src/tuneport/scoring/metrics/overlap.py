"""The overlap with the reference's wording: BLEU, chrF and ROUGE, as their reference libraries have them.

The libraries count; the score is computed here from sums of their counts, so that it can be computed again for a
thousand resampled datasets. `tests/scoring/metrics/test_overlap.py` holds it to what the libraries themselves say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from tuneport.scoring.examples import Answer, Example
from tuneport.scoring.extra import require_metric_package
from tuneport.scoring.statistics.tally import Floats, Tally, tally_means, tally_sums

_ORDERS = 4  # BLEU's words in a row
_CHARACTERS, _BETA = 6, 2  # chrF's characters in a row, and how much more recall weighs


def tally_bleu(rows: Sequence[Example], answers: Sequence[Answer]) -> Tally:
    """Compute corpus BLEU, 0 to 100, with sacrebleu's defaults (13a tokens, exponential smoothing): its signature is
    `nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp`. `per_row` is sentence BLEU with effective order."""
    with require_metric_package("sacrebleu"):
        from sacrebleu.metrics.bleu import BLEU
    bleu = BLEU(effective_order=True)  # of a sentence; its counts are those of the corpus
    counts, scores = [], []
    for row, said in zip(rows, answers, strict=True):
        found = bleu.sentence_score(said.text, [row.expected])
        counts.append((found.sys_len, found.ref_len, *found.counts, *found.totals))
        scores.append(found.score)
    return tally_sums(np.array(counts, np.float64), _bleu, per_row=np.array(scores), best=100.0)


def _bleu(sums: Floats) -> Floats:
    lengths, references = sums[:, 0], sums[:, 1]
    right, totals = sums[:, 2 : 2 + _ORDERS], sums[:, 2 + _ORDERS :]
    # Orders without a match get half, a quarter ... of one; those after the first without any n-gram count as nothing.
    misses = np.cumsum((right == 0) & (totals > 0), axis=1)
    there = np.cumprod(totals > 0, axis=1) > 0
    smoothed = np.where(right > 0, right, 0.5**misses)
    logs = np.where(there, np.log(100 * smoothed / np.maximum(totals, 1e-12)), -1e10)
    with np.errstate(divide="ignore", over="ignore"):
        shortness = np.minimum(0.0, 1 - references / lengths)
    score = np.exp(shortness + logs.mean(axis=1))
    return np.asarray(np.where(right.any(axis=1), score, 0.0))


def tally_chrf(rows: Sequence[Example], answers: Sequence[Answer]) -> Tally:
    """Compute corpus chrF (chrF2), 0 to 100, with sacrebleu's defaults:
    `nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no`."""
    counts = np.array(
        [_chrf_counts(said.text, row.expected) for row, said in zip(rows, answers, strict=True)], np.float64
    )
    return tally_sums(counts, _chrf, per_row=_chrf(counts), best=100.0)


def _chrf_counts(answer: str, reference: str) -> list[int]:
    """Count n-grams for each order: in the answer, in the reference, in both."""
    answer, reference = "".join(answer.split()), "".join(reference.split())
    found = []
    for order in range(1, _CHARACTERS + 1):
        got = Counter(answer[start : start + order] for start in range(len(answer) - order + 1))
        want = Counter(reference[start : start + order] for start in range(len(reference) - order + 1))
        found += [got.total() if want else 0, want.total(), (got & want).total()]
    return found


def _chrf(sums: Floats) -> Floats:
    got, want, both = sums[:, 0::3], sums[:, 1::3], sums[:, 2::3]
    counted = (got > 0) & (want > 0)
    orders = np.maximum(counted.sum(axis=1), 1)
    precision = (np.where(counted, both, 0) / np.maximum(got, 1)).sum(axis=1) / orders
    recall = (np.where(counted, both, 0) / np.maximum(want, 1)).sum(axis=1) / orders
    below = _BETA**2 * precision + recall
    return np.asarray(100 * (1 + _BETA**2) * precision * recall / np.where(below > 0, below, 1))


def tally_rouge(rows: Sequence[Example], answers: Sequence[Answer], *, kind: str) -> Tally:
    """Compute the mean F1 of `rouge1`, `rouge2` or `rougeL` of rouge-score, 0 to 1, without stemming.

    Its tokens are Latin letters and digits; for other scripts use chrF.
    """
    with require_metric_package("rouge-score"):
        from rouge_score.rouge_scorer import RougeScorer
    scorer = RougeScorer([kind])
    return tally_means(
        [scorer.score(row.expected, said.text)[kind].fmeasure for row, said in zip(rows, answers, strict=True)]
    )
