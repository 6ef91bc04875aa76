"""What finished runs teach: by hand-made histories whose truth is known."""

from __future__ import annotations

import random
from math import log

import pytest

from tuneport.estimate.duration import Duration, cpu_duration
from tuneport.estimate.learning import (
    FEW,
    DurationHistory,
    HostedRun,
    PastRun,
    correct_estimated_duration,
    estimate_hosted_duration,
)
from tuneport.types import Adapter

TOKENS, SIZE = 1_000_000, 0.1345
PLAIN = cpu_duration(TOKENS, params_b=SIZE)


def run(
    seconds: float, *, tokens: int = TOKENS, size: float = SIZE, adapter: str = "lora", device: str = "cpu"
) -> PastRun:
    expected = cpu_duration(tokens, params_b=size).expected_seconds
    assert expected is not None
    return PastRun(device, size, adapter, tokens, expected, seconds)


def learned(runs: list[PastRun], duration: Duration = PLAIN, *, adapter: Adapter = Adapter.LORA) -> Duration:
    return correct_estimated_duration(
        duration, runs, device="cpu", params_b=SIZE, adapter=adapter, tokens=TOKENS, proportional=True
    )  # fmt: skip


def ratio(duration: Duration) -> float:
    assert duration.expected_seconds is not None and PLAIN.expected_seconds is not None
    return duration.expected_seconds / PLAIN.expected_seconds


def width(duration: Duration) -> float:
    assert duration.high_seconds is not None and duration.low_seconds is not None
    return log(duration.high_seconds / duration.low_seconds)


PLAIN_SECONDS = PLAIN.expected_seconds or 0.0


def test_few_runs_move_it_a_little_and_many_all_the_way() -> None:
    assert learned([]) == PLAIN
    one, many = learned([run(PLAIN_SECONDS / 4)]), learned([run(PLAIN_SECONDS / 4)] * 40)
    assert ratio(one) == pytest.approx(0.5) and ratio(many) == pytest.approx(0.25, rel=0.05)
    assert "by 1 finished run on this machine (lora, models of this size)" in one.explanation
    assert "times 0.26 by 40 finished runs" in many.explanation and many.uncorrected_seconds == PLAIN_SECONDS
    assert (one.runs, many.runs) == (1, 40)


def test_one_odd_run_says_little() -> None:
    steady = [run(PLAIN_SECONDS / 2) for _ in range(9)]
    odd = learned([*steady, run(PLAIN_SECONDS * 100)])
    assert ratio(odd) == pytest.approx(ratio(learned(steady)), rel=0.05)


def test_bounds_narrow_only_as_far_as_the_runs_agree() -> None:
    two = learned([run(PLAIN_SECONDS / 2)] * 2)
    assert width(two) == pytest.approx(width(PLAIN)), "two runs say nothing of the spread"
    widths = [width(learned([run(PLAIN_SECONDS / 2)] * count)) for count in (FEW, 6, 20, 200)]
    assert widths == sorted(widths, reverse=True) and widths[0] < width(PLAIN) and widths[-1] > 2 * log(1.09)
    dice = random.Random(3)
    apart = [run(PLAIN_SECONDS * 4 ** dice.uniform(-1, 1)) for _ in range(40)]
    assert width(learned(apart)) > width(PLAIN), "who scatters more than was thought gets wider bounds"


def test_bounds_hold_nine_of_ten_of_the_next_runs() -> None:
    dice = random.Random(7)
    within = 0
    for _ in range(200):
        seconds = [PLAIN_SECONDS / 3 * 2 ** dice.gauss(0, 0.5) for _ in range(21)]
        told = learned([run(each) for each in seconds[:20]])
        assert told.low_seconds is not None and told.high_seconds is not None
        within += told.low_seconds <= seconds[20] <= told.high_seconds
    assert 165 <= within <= 200


def test_only_runs_like_it_count() -> None:
    other = [run(PLAIN_SECONDS / 4, device="gpu"), run(PLAIN_SECONDS / 4, size=SIZE * 50)]
    short = run(5.0, tokens=1000)
    assert learned([*other, short]) == PLAIN
    full = [run(PLAIN_SECONDS / 4, adapter="full")]
    assert learned(full) == PLAIN and learned(full * 2) == PLAIN
    like = learned(full * FEW)
    assert ratio(like) < 0.5 and "(other adapters or sizes)" in like.explanation
    both = learned([*full * FEW, run(PLAIN_SECONDS)])
    assert ratio(both) == pytest.approx(1.0) and "by 1 finished run " in both.explanation


def test_a_better_rate_today_makes_old_runs_no_less_true() -> None:
    """Runs of half the shipped rate; a probe says so, too: the estimate is right, and needs no correction."""
    slow = [run(PLAIN_SECONDS * 2)] * 20
    probed = cpu_duration(TOKENS, params_b=SIZE, tokens_per_second=TOKENS / (PLAIN_SECONDS * 2))
    again = learned(slow, probed)
    assert again.expected_seconds == pytest.approx(PLAIN_SECONDS * 2)


def test_what_is_unknown_stays_so() -> None:
    unknown = Duration.unknown("no size")
    assert learned([run(PLAIN_SECONDS)] * 9, unknown) == unknown


# --- providers ---


def test_a_provider_is_judged_by_jobs_of_about_the_same_size() -> None:
    jobs = [HostedRun("m", 100_000, seconds) for seconds in (900.0, 1000.0, 1300.0)]
    same = estimate_hosted_duration("OpenAI", jobs, model="m", tokens=100_000)
    assert same.expected_seconds == pytest.approx(1000.0) and "3 finished jobs of this model" in same.explanation
    assert same.low_seconds == pytest.approx(910, abs=1) and same.high_seconds == pytest.approx(1270, abs=1)
    larger = estimate_hosted_duration("OpenAI", jobs, model="m", tokens=400_000)
    assert larger.expected_seconds == pytest.approx(2000.0), "between its time and four times that"
    assert larger.high_seconds is not None and larger.high_seconds > 4 * 1200
    assert larger.low_seconds == same.low_seconds
    assert same.runs == 3
    other = estimate_hosted_duration("OpenAI", jobs, model="another", tokens=100_000)
    assert "3 finished jobs of any model" in other.explanation


@pytest.mark.parametrize(("count", "tokens", "words"), [
    (2, 100_000, "only 2 finished jobs are of about this size"),
    (1, 100_000, "only one finished job is of about this size"),
    (9, 100_000_000, "only 0 finished jobs are"),
    (9, None, "were not counted"),
])  # fmt: skip
def test_too_little_history_is_said_to_be_so(count: int, tokens: int | None, words: str) -> None:
    told = estimate_hosted_duration("OpenAI", [HostedRun("m", 100_000, 900.0)] * count, model="m", tokens=tokens)
    assert told.expected_seconds is None and words in str(told.unavailable)


def test_a_history_is_empty_unless_somebody_has_one() -> None:
    assert not DurationHistory().local and not DurationHistory().hosted
