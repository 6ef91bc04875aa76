"""Scores of a harness, compared by the strictest test that they allow."""

from __future__ import annotations

import math

import pytest

from tuneport.scoring.benchmarks import BenchmarkScore, compare_scores


def score(
    task: str, value: float, *, rows: list[float] | None = None, stderr: float | None = None, more: bool = True
) -> BenchmarkScore:
    return BenchmarkScore(task, "acc", "", value, stderr, more, 100, None if rows is None else tuple(rows))


def test_rows_are_paired_else_errors_are_weighed_else_nothing_is_said() -> None:
    right, half = [1.0] * 80 + [0.0] * 20, [1.0] * 40 + [0.0] * 60
    base = [
        score("paired", 0.8, rows=right, stderr=0.04),
        score("graded", 0.5, rows=[0.5] * 100),
        score("unpaired", 10.0, stderr=0.3, more=False),
        score("near", 10.0, stderr=0.3, more=False),
        score("bare", 3.0),
        score("only the base", 1.0),
    ]
    tuned = [
        score("paired", 0.4, rows=half, stderr=0.05),
        score("graded", 0.6, rows=[0.6] * 100),
        score("unpaired", 12.0, stderr=0.4, more=False),
        score("near", 10.5, stderr=0.4, more=False),
        score("bare", 9.0),
    ]
    found = {each.base.task: each for each in compare_scores(base, tuned)}
    assert {task: each.verdict for task, each in found.items()} == {
        "paired": "worse",
        "graded": "better",
        "unpaired": "worse",
        "near": "no difference shown",
        "bare": "not tested",
    }
    tests = {task: each.difference.test for task, each in found.items() if each.difference is not None}
    assert tests["paired"] == "McNemar, exact" and tests["graded"] == "randomisation" and "z of" in tests["near"]
    moved = found["unpaired"].difference
    assert moved is not None and moved.p == pytest.approx(math.erfc(4 / math.sqrt(2)))
    assert (moved.low, moved.high) == pytest.approx((2 - 1.96 * 0.5, 2 + 1.96 * 0.5), abs=1e-3)
    near = found["near"].difference
    assert near is not None and near.adjusted_p == near.p and moved.adjusted_p == pytest.approx(3 * moved.p), "Holm"
