"""Intervals hold the truth as often as they say, tests do not cry wolf, and all of it is quick on 200,000 rows."""

from __future__ import annotations

import re
import sys
import time

import numpy as np
import pytest
from scipy import stats

from tuneport.errors import ConfigError
from tuneport.installation import install_extra
from tuneport.scoring.accuracy import score_accuracy
from tuneport.scoring.judge import JudgeRequest, score_answers_by_judge
from tuneport.scoring.statistics import intervals
from tuneport.scoring.statistics.intervals import confidence_interval, wilson
from tuneport.scoring.statistics.paired import correct_holm, measure_paired_difference, sign_test
from tuneport.scoring.statistics.tally import tally_means, tally_right, tally_sums


def ratio(sums: np.ndarray) -> np.ndarray:
    return np.asarray(sums[:, 0] / sums[:, 1])


def test_the_interval_of_shares_is_wilsons() -> None:
    found = stats.binomtest(10, 30).proportion_ci(method="wilson")
    assert wilson(10, 30) == pytest.approx((found.low, found.high), abs=1e-12)
    assert confidence_interval(tally_right([True] * 10 + [False] * 20)).method == "Wilson"
    assert wilson(30, 30) == pytest.approx((0.88649, 1.0), abs=1e-5)


def test_shares_need_no_scipy(monkeypatch: pytest.MonkeyPatch) -> None:
    """`migrate` and `advise`, which core has, tell accuracies; `evaluate` wants scipy before it asks a model."""
    monkeypatch.setitem(sys.modules, "scipy", None)
    score = score_accuracy(["?"] * 30, ["yes"] * 30, ["yes"] * 10 + ["no"] * 20)
    assert (score.low, score.high) == wilson(10, 30)
    asked: list[object] = []
    for use in (lambda: sign_test(1, 2), lambda: score_answers_by_judge(JudgeRequest(([],), 1), asked.extend)):
        with pytest.raises(ConfigError, match=re.escape(f"need scipy: {install_extra('eval')}")):
            use()
    assert not asked


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


def test_small_samples_have_wider_tails_than_plain_percentiles() -> None:
    """By t, 2.26 at 10 rows, beside 1.96, and sqrt(10 / 9): 1.2 times as wide; at 1,000 rows alike."""
    for rows, wider in ((10, 1.2), (1000, 1.0)):
        values = np.random.default_rng(2).random(rows)
        found = confidence_interval(tally_means(values), resamples=20_000)
        plain = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=20_000, rng=1).confidence_interval
        assert (found.high - found.low) / (plain.high - plain.low) == pytest.approx(wider, abs=0.05)


def test_rows_that_are_all_alike_do_not_make_an_interval_of_nothing() -> None:
    found = confidence_interval(tally_means([1.0] * 20))
    assert found.low == pytest.approx(wilson(20, 20)[0]) and found.high == 1.0 and "alike" in found.method
    nothing = confidence_interval(tally_sums(np.array([[0.0, 1.0], [0.0, 2.0]] * 10), ratio))
    assert (nothing.low, nothing.high) == pytest.approx(wilson(0, 20))
    alone = confidence_interval(tally_means([0.4]))
    assert (alone.low, alone.high) == pytest.approx(wilson(0.4, 1)) and "alike" in alone.method


@pytest.mark.filterwarnings("error")
def test_values_that_are_no_number_have_no_interval_and_no_verdict() -> None:
    unknown, known = tally_means([0.1, float("nan"), 0.3, 0.2]), tally_means([0.1, 0.2, 0.3, 0.2])
    assert np.isnan(confidence_interval(unknown).low)
    assert measure_paired_difference(unknown, known).verdict == "no difference shown"


def test_many_rows_are_resampled_like_few() -> None:
    """In parts, so that memory stays small: the spread is that of theory for a mean."""
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
    """BLEU's ten columns: 1,000 resamples took 2.4 s of processor. The limit is for what would take minutes."""
    rng = np.random.default_rng(1)
    tally = tally_sums(rng.integers(1, 50, (200_000, 10)).astype(float), ratio)
    begun = time.process_time()
    confidence_interval(tally, resamples=intervals.RESAMPLES // 5)
    assert time.process_time() - begun < 30
