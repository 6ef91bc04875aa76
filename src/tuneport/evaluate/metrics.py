"""When an answer is right, by task: what a program can judge, and what only a person can."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from tuneport.data.checks.shapes import json_of, within_fence
from tuneport.evaluate.exact_match import equal, normalised

WORDS_SHARED = 0.5
"""From this share of words in common (F1) on, an open answer counts as close to the reference: a judgement."""


@dataclass(frozen=True)
class Metric:
    """`decides`: it tells right from wrong. Where it does not, it only tells how close the words are."""

    name: str
    same: Callable[[str, str], bool]
    decides: bool


def same_json(expected: str, answer: str) -> bool:
    """The same value in JSON, order of keys, space and a code fence aside; the same text where no JSON is expected."""
    want = _json(expected)
    return equal(expected, answer) if want is None else want == _json(answer)


def words_shared(expected: str, answer: str) -> float:
    """F1 of the words, each as often as it stands there, 0 to 1: as SQuAD's evaluation has it (Rajpurkar 2016)."""
    want, got = Counter(normalised(expected).split()), Counter(normalised(answer).split())
    common = (want & got).total()
    return 2 * common / max(1, want.total() + got.total())


def close(expected: str, answer: str) -> bool:
    return words_shared(expected, answer) >= WORDS_SHARED


def metric_for(task: str | None) -> Metric:
    if task == "classification":
        return Metric("exact match", equal, decides=True)
    if task == "extraction":
        return Metric("the same JSON, or text", same_json, decides=True)
    return Metric(f"at least {WORDS_SHARED:.0%} of the words shared (F1)", close, decides=False)


def _json(text: str) -> object:
    inside = within_fence(text)
    return json_of(text if inside is None else inside)
