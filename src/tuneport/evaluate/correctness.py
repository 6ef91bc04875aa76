"""When an answer is right, by task: what a program can judge, and what only a person can."""

from __future__ import annotations

from dataclasses import dataclass

from tuneport.evaluate.marks import Same
from tuneport.evaluate.metrics.normalisation import equal, same_json
from tuneport.evaluate.metrics.words import words_shared

WORDS_SHARED = 0.5
"""From this share of words in common (F1) on, an open answer counts as close to the reference: a judgement."""


@dataclass(frozen=True)
class Correctness:
    """`decides`: it tells right from wrong. Where it does not, it only tells how close the words are."""

    name: str
    same: Same
    decides: bool


def close(expected: str, answer: str) -> bool:
    return words_shared(expected, answer) >= WORDS_SHARED


def correctness_for(task: str | None) -> Correctness:
    if task == "classification":
        return Correctness("exact match", equal, decides=True)
    if task == "extraction":
        return Correctness("the same JSON, or text", same_json, decides=True)
    return Correctness(f"at least {WORDS_SHARED:.0%} of the words shared (F1)", close, decides=False)
