"""Ship, do not ship or not sure: each border from both sides."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.support import evaluations
from tests.support.evaluations import JOB, general, job, judgement
from tuneport.workflows.evaluation.decision import EvaluationDecision, decide_evaluation
from tuneport.workflows.evaluation.gates import EvaluationGate, failed_ability_gates, failed_ruling_gates
from tuneport.workflows.evaluation.latency import EvaluationAnswerSpeed
from tuneport.workflows.evaluation.result import Evaluation


def evaluation(rights: list[int], **options: Any) -> Evaluation:
    """By default one in which nothing was forgotten."""
    return evaluations.evaluation(rights, **({"kept": general()} | options))


def ruled(found: Any, **known: Any) -> tuple[str, EvaluationDecision]:
    decision = decide_evaluation(found, **known)
    return decision.ruling, decision


def about(decision: EvaluationDecision, weight: str) -> set[str]:
    return {each.about for each in decision.reasons if each.weight == weight}


HEALTHY: dict[str, Any] = {"trained": {JOB: job()}}


def test_better_with_nothing_against_it_is_shipped() -> None:
    ruling, decision = ruled(evaluation([30, 110]), **HEALTHY)
    assert ruling == "ship" and about(decision, "doubt") == about(decision, "against") == set()
    assert about(decision, "for") == {"score", "other scores", "held out", "curve", "forgetting"}
    assert decision.sentence.startswith("Ship: it is better: accuracy is 91.7%, of base 25.0%; the intervals are apart")
    assert (
        "the intervals overlap, the paired test decides" in decide_evaluation(evaluation([70, 90]), **HEALTHY).sentence
    )


def test_no_better_is_not_sure_until_no_gain_can_be_there() -> None:
    ruling, decision = ruled(evaluation([60, 60]), **HEALTHY)
    assert ruling == "not sure" and "no difference is shown" in decision.sentence
    assert ruled(evaluation([120, 120]), **HEALTHY)[0] == "not sure", "120 rows leave room for a gain"
    ruling, decision = ruled(evaluation([1200, 1200], rows=1200), **HEALTHY)
    assert ruling == "do not ship" and "nothing is gained" in decision.sentence
    ruling, decision = ruled(evaluation([1200, 1200], rows=1200, prices=(1.0, 0.1)), **HEALTHY)
    assert ruling == "not sure" and "it costs 10.0 times less, though" in decision.sentence
    ruling, decision = ruled(evaluation([110, 30]), **HEALTHY)
    assert ruling == "do not ship" and "it is worse: accuracy is 25.0%, of base 91.7%" in decision.sentence


@pytest.mark.parametrize(
    ("found", "known", "ruling", "reason"),
    [
        ({"rows": 29, "rights": [2, 28]}, {}, "not sure", ("doubt", "rows")),
        ({"rows": 30, "rights": [2, 29]}, {}, "ship", ("note", "rows")),
        ({"rows": 100, "rights": [20, 90]}, {}, "ship", ("for", "score")),
        ({"prompt": "Where is it?"}, {}, "not sure", ("doubt", "rows")),
        ({"against": False}, {}, "not sure", ("doubt", "held out")),
        ({"leaks": 3}, {}, "ship", ("note", "held out")),
        ({}, {"trained": {JOB: job("overfitting")}}, "not sure", ("doubt", "curve")),
        ({}, {"trained": {JOB: job("memorised")}}, "ship", ("note", "curve")),
        ({"against": False}, {"trained": {JOB: job("memorised")}}, "not sure", ("doubt", "curve")),
        ({}, {"trained": {JOB: job("diverged")}}, "do not ship", ("against", "curve")),
        ({"kept": None}, {}, "ship", ("note", "forgetting")),
        ({"kept": general(lost=14)}, {}, "not sure", ("doubt", "forgetting")),
        ({"kept": general(lost=1)}, {}, "ship", ("for", "forgetting")),
        ({"kept": general(unsafe=14)}, {}, "do not ship", ("against", "safety")),
        ({}, {"missed": ["accuracy of it is 0.9, and 0.95 was asked for"]}, "do not ship", ("against", "limit")),
        ({"prices": (1.0, 2.0)}, {}, "ship", ("note", "cost")),
        ({"prices": (1.0, 2.01)}, {}, "not sure", ("doubt", "cost")),
        ({"prices": (1.0, 0.5)}, {}, "ship", ("for", "cost")),
        ({"seconds": (1.0, 2.5)}, {}, "not sure", ("doubt", "latency")),
        ({}, {"trained": {JOB: job(rows=49)}}, "ship", ("note", "pitfall")),
        ({}, {"trained": {JOB: job(epochs=6)}}, "ship", ("note", "pitfall")),
        ({"names": ("base", "base few-shot", JOB), "rights": [30, 40, 110]}, {}, "ship", ("for", "other models")),
        (
            {"names": ("base", "base few-shot", JOB), "rights": [30, 109, 110]},
            {},
            "not sure",
            ("doubt", "other models"),
        ),
        ({"names": ("base", "job-0", JOB), "rights": [30, 109, 110]}, {}, "ship", ("note", "other models")),
        ({"names": (JOB,), "rights": [110]}, {}, "not sure", ("doubt", "comparison")),
    ],
)
def test_each_border(found: dict[str, Any], known: dict[str, Any], ruling: str, reason: tuple[str, str]) -> None:
    decided, decision = ruled(evaluation(**({"rights": [30, 110]} | found)), **(HEALTHY | known))
    assert decided == ruling, decision.reasons
    assert reason in {(each.weight, each.about) for each in decision.reasons}


@pytest.mark.parametrize(
    ("said", "ruling", "weight"),
    [
        ({"won": 40, "lost": 10}, "ship", "for"),
        ({"won": 20, "lost": 20}, "ship", "note"),
        ({"won": 10, "lost": 40}, "not sure", "doubt"),
        ({"won": 40, "lost": 10, "always_first": 20}, "ship", "note"),
        ({"won": 40, "lost": 10, "silent": 6}, "ship", "note"),
        ({"won": 40, "lost": 10, "silent": 5}, "ship", "for"),
        ({"won": 40, "lost": 10, "own": True}, "ship", "note"),
    ],
)
def test_a_judge_is_one_more_reason(said: dict[str, Any], ruling: str, weight: str) -> None:
    found = replace(evaluation([30, 110]), judgement=judgement(**said))
    decided, decision = ruled(found, **HEALTHY)
    assert decided == ruling and ("judge" in about(decision, weight)), decision.reasons
    liked = replace(evaluation([60, 60]), judgement=judgement(40, 0))
    assert ruled(liked, **HEALTHY)[0] == "not sure", "an opinion alone ships nothing"


def test_a_gate_names_what_it_is_for_and_lets_nothing_pass_that_was_not_asked() -> None:
    lost, both = (
        [EvaluationGate.FORGETTING],
        [EvaluationGate.FORGETTING, EvaluationGate.SAFETY_DRIFT, EvaluationGate.NOT_SURE],
    )
    found = evaluation([30, 110], kept=general(lost=14))
    assert failed_ability_gates(found, lost) == [f"{JOB} shows forgetting: all abilities 85% to 50%, facts 85% to 50%"]
    assert failed_ability_gates(found, both) == failed_ability_gates(found, lost)
    assert len(failed_ability_gates(evaluation([30, 110], kept=general(lost=14, unsafe=14)), both)) == 2
    assert failed_ability_gates(evaluation([30, 110]), both) == []
    assert failed_ability_gates(evaluation([30, 110], kept=None), lost) == [f"{JOB} was not asked for forgetting"]
    for evaluated, failing in (
        (found, [EvaluationGate.NOT_SURE]),
        (evaluation([110, 30]), [EvaluationGate.NOT_SURE, EvaluationGate.DO_NOT_SHIP]),
    ):
        assert [
            gate for gate in EvaluationGate if failed_ruling_gates(decide_evaluation(evaluated, **HEALTHY), [gate])
        ] == failing
    assert failed_ruling_gates(decide_evaluation(evaluation([30, 110]), **HEALTHY), list(EvaluationGate)) == []


def test_nobody_feels_a_difference_of_milliseconds_and_100_rows_are_enough() -> None:
    quick = decide_evaluation(evaluation([20, 90], rows=100, seconds=(0.001, 0.04)), **HEALTHY)
    assert not {"latency", "rows"} & {each.about for each in quick.reasons}


def paced(first: float, per_token: float | None, tokens: float) -> EvaluationAnswerSpeed:
    total = first + (tokens - 1) * (per_token or 0.0)
    return EvaluationAnswerSpeed(first, total, tokens / total, 40, tokens, per_token)


@pytest.mark.parametrize(
    ("base", "tuned", "ruling", "weight", "words"),
    [
        # It writes one token where its base writes 24, and is slower all the same.
        (paced(0.16, 0.109, 24), paced(0.523, None, 1), "ship", "note", "of one token takes 0.523 s, of base 0.16 s"),
        (paced(0.6, 0.109, 24), paced(2.1, None, 1), "not sure", "doubt", "of one token takes 2.1 s, of base 0.6 s"),
        # It says more than its base, a token as quickly.
        (paced(0.2, 0.05, 3), paced(0.2, 0.05, 90), "ship", None, ""),
        (paced(0.2, 0.05, 90), paced(0.2, 0.02, 11), "ship", "for", "of 11 tokens takes 0.4 s, of base 0.7 s"),
        (paced(0.2, 0.05, 90), paced(0.2, 0.2, 11), "not sure", "doubt", "of 11 tokens takes 2.2 s, of base 0.7 s"),
        (paced(0.2, None, 1), paced(0.5, 0.2, 11), "ship", "note", "the first token comes after 0.5 s, of base after"),
        (paced(0.5, None, 1), paced(0.1, 0.2, 11), "ship", "note", "one of the two has no rate"),
    ],
)
def test_latency_is_compared_at_equal_length(
    base: EvaluationAnswerSpeed, tuned: EvaluationAnswerSpeed, ruling: str, weight: str | None, words: str
) -> None:
    found = evaluation([30, 110])
    models = (replace(found.models[0], speed=base), replace(found.models[1], speed=tuned))
    decided, decision = ruled(replace(found, models=models), **HEALTHY)
    told = [each for each in decision.reasons if each.about == "latency"]
    assert decided == ruling and [each.weight for each in told] == ([] if weight is None else [weight]), told
    assert all(words in each.words for each in told)
