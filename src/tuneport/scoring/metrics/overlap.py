"""The overlap with the reference's wording: BLEU, chrF and ROUGE, as their libraries have them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tuneport.scoring.examples import Answer, Example
from tuneport.scoring.extra import require_metric_package
from tuneport.scoring.statistics.tally import Floats, Tally, tally_means, tally_sums


def tally_bleu(rows: Sequence[Example], answers: Sequence[Answer]) -> Tally:
    """Compute corpus BLEU, 0 to 100, with sacrebleu's defaults (13a tokens, exponential smoothing): its signature is
    `nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp`. `per_row` is sentence BLEU with effective order."""
    with require_metric_package("sacrebleu"):
        from sacrebleu.metrics.bleu import BLEU
    # `force` silences a warning about texts that look tokenized.
    return _tally_sacrebleu(rows, answers, BLEU(force=True), BLEU(effective_order=True))


def tally_chrf(rows: Sequence[Example], answers: Sequence[Answer]) -> Tally:
    """Compute corpus chrF (chrF2), 0 to 100, with sacrebleu's defaults:
    `nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no`."""
    with require_metric_package("sacrebleu"):
        from sacrebleu.metrics.chrf import CHRF
    return _tally_sacrebleu(rows, answers, CHRF(), CHRF())


def _tally_sacrebleu(rows: Sequence[Example], answers: Sequence[Answer], corpus: Any, sentence: Any) -> Tally:
    """Count by sacrebleu, and score sums of the counts by it.

    Both methods are private, and what its own significance tests use; `tests/scoring/metrics/test_overlap.py` says what
    to do if a release moves them.
    """
    counts = corpus._extract_corpus_statistics([said.text for said in answers], [[row.expected for row in rows]])

    def score(metric: Any, sums: Floats) -> Floats:
        return np.array([metric._compute_score_from_stats(line).score for line in sums])

    table = np.array(counts, np.float64)
    return tally_sums(table, lambda sums: score(corpus, sums), per_row=score(sentence, table), best=100.0)


def tally_rouge(rows: Sequence[Example], answers: Sequence[Answer], *, kind: str) -> Tally:
    """Compute the mean F1 of `rouge1`, `rouge2` or `rougeL` as rouge-score has it, 0 to 1, without stemming.

    Its tokens are Latin letters and digits; for other scripts use chrF.
    """
    with require_metric_package("rouge-score-rs"):
        from rouge_score_rs import RougeScorer
    scorer = RougeScorer([kind])
    return tally_means(
        [scorer.score(row.expected, said.text)[kind].fmeasure for row, said in zip(rows, answers, strict=True)]
    )
