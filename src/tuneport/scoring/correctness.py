"""The correctness of an answer, by task: what a program can judge, and what only a person can."""

from __future__ import annotations

from dataclasses import dataclass

from tuneport.scoring.accuracy import Same
from tuneport.scoring.metrics.normalisation import is_same_answer, same_json
from tuneport.scoring.metrics.token_f1 import token_f1

MIN_TOKEN_F1 = 0.5
"""From this share of words in common (F1) on, an open answer counts as close to the reference: a judgement."""


@dataclass(frozen=True)
class Correctness:
    """`decides`: it tells right from wrong. Where it does not, it only tells how close the words are."""

    name: str
    same: Same
    decides: bool


def is_close_answer(expected: str, answer: str) -> bool:
    return token_f1(expected, answer) >= MIN_TOKEN_F1


def scored_correctness_for(task: str | None) -> Correctness:
    if task == "classification":
        return Correctness("exact match", is_same_answer, decides=True)
    if task == "extraction":
        return Correctness("the same JSON, or text", same_json, decides=True)
    return Correctness(f"at least {MIN_TOKEN_F1:.0%} of the words shared (F1)", is_close_answer, decides=False)
