"""Intervals hold the truth as often as they say, tests do not cry wolf, and all of it is quick on 200,000 rows."""

from __future__ import annotations

import time

import numpy as np
import pytest
from scipy import stats

from tuneport.scoring.statistics import intervals
from tuneport.scoring.statistics.intervals import confidence_interval, expanded_tail, wilson
from tuneport.scoring.statistics.paired import correct_holm, measure_paired_difference, sign_test
from tuneport.scoring.statistics.tally import tally_means, tally_right, tally_sums


def ratio(sums: np.ndarray) -> np.ndarray:
    return np.asarray(sums[:, 0] / sums[:, 1])


def test_the_interval_of_shares_is_wilsons() -> None:
    found = stats.binomtest(10, 30).proportion_ci(method="wilson")
    assert wilson(10, 30) == pytest.approx((found.low, found.high), abs=1e-12)
    assert confidence_interval(tally_right([True] * 10 + [False] * 20)).method == "Wilson"
    assert wilson(30, 30) == pytest.approx((0.88649, 1.0), abs=1e-5)


@pytest.mark.parametrize("rows", [25, 100])
def test_bootstrap_intervals_hold_the_truth_nineteen_times_in_twenty(rows: int) -> None:
    """Of skewed row values (mean 0.2), and of a ratio of two sums, as F1, BLEU and perplexity are."""
    rng, held = np.random.default_rng(5), np.zeros(2)
    for trial in range(400):
        values = rng.beta(1, 4, rows)
        weights = rng.integers(1, 10, rows).astype(float)
        sums = np.stack((values * weights, weights), axis=1)
        for place, tally in enumerate((tally_means(values), tally_sums(sums, ratio))):
            found = confidence_interval(tally, seed=trial, resamples=400)
            held[place] += found.low <= 0.2 <= found.high
    # 400 trials at 95 % are 91.8 to 97.5 % nineteen times in twenty.
    assert (0.92 <= held / 400).all() and (held / 400 <= 0.98).all(), held / 400


def test_small_samples_have_wider_tails() -> None:
    for rows in (5, 30, 1000):
        exact = stats.norm.cdf(-np.sqrt(rows / (rows - 1)) * stats.t.ppf(0.975, rows - 1))
        assert expanded_tail(rows) == pytest.approx(exact, rel=0.03)


def test_rows_that_are_all_alike_do_not_make_an_interval_of_nothing() -> None:
    found = confidence_interval(tally_means([1.0] * 20))
    assert found.low == pytest.approx(wilson(20, 20)[0]) and found.high == 1.0 and "alike" in found.method
    nothing = confidence_interval(tally_sums(np.array([[0.0, 1.0], [0.0, 2.0]] * 10), ratio))
    assert (nothing.low, nothing.high) == pytest.approx(wilson(0, 20))


def test_many_rows_are_resampled_like_few() -> None:
    """From `_MANY` rows on by Poisson's distribution: the spread is that of theory for a mean."""
    values = np.random.default_rng(1).random(20_000)
    found = confidence_interval(tally_means(values))
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.08)


def test_mcnemars_test_is_the_exact_binomial_one() -> None:
    for gained, lost in ((0, 0), (0, 5), (10, 30), (7, 7), (50_000, 50_900)):
        exact = stats.binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
        assert sign_test(gained, lost) == pytest.approx(exact, rel=1e-6)


def test_the_randomisation_test_agrees_with_scipys() -> None:
    rng = np.random.default_rng(3)
    one = rng.random(40)
    other = one + rng.normal(0.04, 0.1, 40)
    found = measure_paired_difference(tally_means(one), tally_means(other), seed=1)
    exact = stats.permutation_test(
        (one, other),
        lambda a, b: np.mean(a - b),
        permutation_type="samples",
        n_resamples=20_000,
        rng=rng,
    )
    assert found.p == pytest.approx(exact.pvalue, abs=0.01) and found.test == "randomisation"
    assert found.low < np.mean(one - other) < found.high


def test_no_difference_is_seen_where_there_is_none() -> None:
    """At most one in twenty of 200 comparisons of alike models, within chance; and a real one is seen."""
    rng, alarms = np.random.default_rng(8), 0
    for trial in range(200):
        hard = rng.random(60)
        one, other = (tally_means(np.clip(hard + rng.normal(0, 0.2, 60), 0, 1)) for _ in range(2))
        alarms += measure_paired_difference(one, other, seed=trial, resamples=400).verdict != "no difference shown"
    assert alarms <= 18, alarms
    right = rng.random(300) < 0.6
    better = measure_paired_difference(tally_right(list(right | (rng.random(300) < 0.3))), tally_right(list(right)))
    assert better.verdict == "better" and better.low > 0


def test_the_verdict_of_many_models_is_corrected() -> None:
    """Holm's by hand: 0.01 * 3, then 0.02 * 2, then the larger of that and 0.04 * 1."""
    base = tally_right([True] * 50 + [False] * 50)
    one = measure_paired_difference(base, base)
    ps = [0.04, 0.01, 0.02]
    found = correct_holm([type(one)(0.1, 0.0, 0.2, p, "by hand") for p in ps])
    assert [each.adjusted_p for each in found] == pytest.approx([0.04, 0.03, 0.04])
    lower = type(one)(-0.1, -0.2, 0.0, 0.001, "by hand", higher_is_better=False)
    assert correct_holm([lower] * 60)[0].verdict == "no difference shown" and lower.verdict == "better"


def test_the_same_seed_gives_the_same_interval() -> None:
    tally = tally_means(np.random.default_rng(0).random(300))
    assert (
        confidence_interval(tally, seed=4) == confidence_interval(tally, seed=4) != confidence_interval(tally, seed=5)
    )


def test_200_000_rows_take_seconds() -> None:
    """BLEU's ten columns: 1,000 resamples took 2.1 s of processor. The limit is for what would take minutes."""
    rng = np.random.default_rng(1)
    tally = tally_sums(rng.integers(1, 50, (200_000, 10)).astype(float), ratio)
    begun = time.process_time()
    confidence_interval(tally, resamples=intervals.RESAMPLES // 5)
    assert time.process_time() - begun < 30
