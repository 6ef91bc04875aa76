"""How far BLEU and chrF of resampled corpora are from sacrebleu's own, and how many texts a second are counted.

The pairs are neighbouring paragraphs of the descriptions of installed packages. `PYTHONPATH=TREE/src python
benchmarks/libraries/overlap_metrics.py` prints one line of JSON.
"""

from __future__ import annotations

import json
import time
from importlib.metadata import distributions
from itertools import pairwise

import numpy as np
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from tuneport.scoring.examples import Answer, Example
from tuneport.scoring.metrics import METRICS
from tuneport.scoring.statistics.paired import measure_paired_difference
from tuneport.scoring.statistics.tally import weighted_tally_sums

files = ["src/tuneport/scoring/metrics/overlap.py"]
PAIRS, CORPORA, SIZE = 1000, 50, 40
texts = [
    paragraph[:500]
    for each in sorted(distributions(), key=lambda each: each.metadata["Name"].casefold())
    for paragraph in (each.metadata.get_payload() or "").split("\n\n")
    if len(paragraph) > 100
]
pairs = list(pairwise(texts))[:: max(1, len(texts) // PAIRS)][:PAIRS]
rows = [Example([], expected) for expected, _ in pairs]
answers = [Answer(said) for _, said in pairs]
others = [Answer(expected[:-50]) for expected, _ in pairs]
random = np.random.default_rng(1)
measures = {}
for name, library in (("bleu", BLEU()), ("chrf", CHRF())):
    tally, apart = METRICS[name].tally(rows, answers), 0.0
    for _ in range(CORPORA):
        drawn = random.integers(0, len(rows), SIZE)
        counts = np.bincount(tally.of[drawn], minlength=len(tally.table))[None, :].astype(float)
        ours = tally.value(weighted_tally_sums(counts, tally.table))[0]
        said, expected = [answers[index].text for index in drawn], [rows[index].expected for index in drawn]
        apart = max(apart, abs(ours - library.corpus_score(said, [expected]).score))
    measures[f"largest difference of {name} from sacrebleu, of {CORPORA} corpora"] = round(apart, 9)
for name in ("bleu", "chrf", "rougeL"):
    METRICS[name].tally(rows[:1], answers[:1])  # imports its library
    begun = time.process_time()
    tally = METRICS[name].tally(rows, answers)
    measures[f"texts a second, {name}"] = round(len(rows) / (time.process_time() - begun))
    if name != "rougeL":
        other = METRICS[name].tally(rows, others)
        begun = time.process_time()
        measure_paired_difference(tally, other)
        measures[f"processor seconds for a comparison by {name}"] = round(time.process_time() - begun, 2)
print(json.dumps({"part": "overlap metrics", "measures": measures}))
