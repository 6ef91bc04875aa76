"""How often 95 % intervals miss the truth, how often alike models are told apart, and how long both take.

The rows are skewed ones that no interval was tuned for: log-normal lengths, and values that are mostly 0.
`PYTHONPATH=TREE/src python benchmarks/libraries/intervals_and_tests.py` prints one line of JSON.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import numpy as np

from tuneport.scoring.statistics.intervals import confidence_interval
from tuneport.scoring.statistics.paired import measure_paired_difference, sign_test
from tuneport.scoring.statistics.tally import Tally, tally_means, tally_sums

files = [
    "src/tuneport/scoring/statistics/intervals.py",
    "src/tuneport/scoring/statistics/paired.py",
    "src/tuneport/scoring/statistics/resampling.py",
]
SETS, ROWS = 1000, 20
random = np.random.default_rng(20261128)


def ratio(sums: np.ndarray) -> np.ndarray:
    return np.asarray(sums[:, 0] / sums[:, 1])


def ratio_of_lengths(rows: int) -> Tally:
    """Return a ratio of sums, as bits per byte are: 0.7 in the long run."""
    lengths = random.lognormal(3, 1, rows)
    return tally_sums(np.stack((random.gamma(1, 0.7, rows) * lengths, lengths), axis=1), ratio, best=None)


def mostly_nothing(rows: int) -> Tally:
    """Return a mean of 0, a half and 1, mostly 0: 0.075 in the long run."""
    return tally_means(random.choice([0.0, 0.5, 1.0], rows, p=[0.9, 0.05, 0.05]))


def missed(draw: Callable[[int], Tally], truth: float, rows: int) -> float:
    found = [confidence_interval(draw(rows), seed=number) for number in range(SETS)]
    return round(100 * sum(not each.low <= truth <= each.high for each in found) / SETS, 1)


def false_alarms() -> float:
    pairs = [(tally_means(random.random(ROWS)), tally_means(random.random(ROWS))) for _ in range(SETS)]
    found = [measure_paired_difference(*pair, resamples=200).verdict for pair in pairs]
    return round(100 * sum(each != "no difference shown" for each in found) / SETS, 1)


def seconds(work: Callable[[], object]) -> float:
    begun = time.process_time()
    work()
    return round(time.process_time() - begun, 3)


begun = time.process_time()
sign_test(3, 9)
first = round(time.process_time() - begun, 2)
few, many = [ratio_of_lengths(2000) for _ in range(2)], [ratio_of_lengths(200_000) for _ in range(2)]
measures = {
    "intervals of a ratio that miss it, % at 20 rows": missed(ratio_of_lengths, 0.7, ROWS),
    "intervals of a ratio that miss it, % at 300 rows": missed(ratio_of_lengths, 0.7, 300),
    "intervals of a mean of mostly 0 that miss it, % at 50 rows": missed(mostly_nothing, 0.075, 50),
    "alike models that are told apart, %": false_alarms(),
    "processor seconds for the first test of a process": first,
    "processor seconds for an interval of 2,000 rows": seconds(lambda: confidence_interval(few[0])),
    "processor seconds for a comparison of 2,000 rows": seconds(lambda: measure_paired_difference(*few)),
    "processor seconds for an interval of 200,000 rows": seconds(lambda: confidence_interval(many[0])),
    "processor seconds for a comparison of 200,000 rows": seconds(lambda: measure_paired_difference(*many)),
}
print(json.dumps({"part": "statistics", "measures": measures}))
