"""The reference card's decision tree, branch by branch, and its pitfalls."""

from __future__ import annotations

import pytest

from tuneport.advisor import Approach, Need, Situation, Task, Tried, recommend_approach
from tuneport.errors import ConfigError

TRIED = {"prompt": Tried.FAILS, "few_shot": Tried.PARTLY}


@pytest.mark.parametrize(
    ("situation", "approach"),
    [
        (Situation([Need.TASK], prompt=Tried.WORKS), Approach.PROMPT),
        (Situation([Need.STYLE], examples=5000), Approach.PROMPT),
        (Situation([Need.FORMAT], prompt=Tried.FAILS, examples=100), Approach.FEW_SHOT),
        (Situation([Need.KNOWLEDGE], facts_change=True, examples=9000, prompt=Tried.FAILS), Approach.RAG),
        (Situation([Need.STYLE], task=Task.STYLE, examples=800, **TRIED), Approach.FINE_TUNE),
        (Situation([Need.STYLE], task=Task.STYLE, examples=30, **TRIED), Approach.FEW_SHOT),
        (Situation([Need.BEHAVIOUR], examples=2000, inconsistent=0.4, **TRIED), Approach.FEW_SHOT),
        (Situation([Need.COST], prompt=Tried.WORKS, examples=2000, requests=900_000), Approach.SMALLER_MODEL),
        (Situation([Need.COST], prompt=Tried.WORKS, examples=2000, requests=500), Approach.PROMPT),
        (Situation([Need.LANGUAGE], text_tokens=10**9), Approach.CONTINUED_PRETRAINING),
    ],
)
def test_the_branches_of_the_tree(situation: Situation, approach: Approach) -> None:
    advice = recommend_approach(situation)
    assert advice.approach is approach and advice.reason
    assert advice.fine_tune is approach.trains
    assert [option.approach for option in advice.options] == list(Approach)


@pytest.mark.parametrize("few_shot", list(Tried))
@pytest.mark.parametrize("prompt", [Tried.FAILS, Tried.PARTLY])
@pytest.mark.parametrize("need", [Need.TASK, Need.STYLE, Need.BEHAVIOUR, Need.FORMAT])
def test_advice_to_tune_claims_only_what_was_tried(prompt: Tried, few_shot: Tried, need: Need) -> None:
    advice = recommend_approach(Situation([need], prompt=prompt, few_shot=few_shot, examples=20_000, requests=200_000))
    if advice.approach is Approach.FINE_TUNE:
        assert ("examples in it were tried" in advice.reason) == (few_shot is not Tried.NO)
        assert ("were not tried" in advice.reason) == (few_shot is Tried.NO)


def test_retrieval_stands_beside_tuning_where_both_are_lacking() -> None:
    style = recommend_approach(Situation([Need.STYLE, Need.KNOWLEDGE], task=Task.STYLE, examples=800, **TRIED))
    assert (style.approach, style.beside) == (Approach.FINE_TUNE, Approach.RAG)
    facts = recommend_approach(Situation([Need.KNOWLEDGE, Need.STYLE], sources=True, examples=800, **TRIED))
    assert (facts.approach, facts.beside) == (Approach.RAG, Approach.FINE_TUNE)
    assert {option.verdict for option in facts.options if option.approach is facts.beside} == {"together with this one"}
    assert recommend_approach(Situation([Need.STYLE], task=Task.STYLE, examples=800, **TRIED)).beside is None
    few = recommend_approach(Situation([Need.KNOWLEDGE, Need.STYLE], sources=True, examples=10, **TRIED))
    assert few.beside is None, "too few examples to tune with"


def test_a_small_classifier_is_advised_only_where_it_was_measured_to_do_it() -> None:
    known = {"task": Task.CLASSIFICATION, "examples": 3000, **TRIED}
    good = recommend_approach(Situation([Need.TASK], classifier=(0.96, 0.97, 0.98), **known))
    assert good.approach is Approach.CLASSIFIER and "97% (96% to 98%)" in good.reason and not good.fine_tune
    weak = recommend_approach(Situation([Need.TASK], classifier=(0.70, 0.74, 0.78), **known))
    assert weak.approach is Approach.FINE_TUNE
    assert "measured: 74% right" in {option.verdict for option in weak.options}


def test_the_pitfalls_are_judged_by_what_is_known() -> None:
    advice = recommend_approach(
        Situation([Need.STYLE], examples=800, epochs=12, has_evaluation=False, generated_only=True, **TRIED)
    )
    applies = {pitfall.name: pitfall.applies for pitfall in advice.pitfalls}
    assert applies["too many epochs"] and applies["no evaluation set"] and applies["generated data only"]
    assert applies["too few examples"] is False and applies["inconsistent format"] is None
    assert any("tuneport split" in step for step in advice.first)


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ConfigError, match="say what has to change"):
        Situation([])
    with pytest.raises(ConfigError, match="a share"):
        Situation([Need.TASK], inconsistent=3)


def test_a_price_decides_where_cost_is_the_need() -> None:
    """What it saves in a year tells more than how many requests there are."""
    solved = {"prompt": Tried.WORKS, "examples": 2_000}
    dear = recommend_approach(Situation([Need.COST], requests=900_000, saving=-120.0, **solved))
    assert dear.approach is Approach.PROMPT and "$120 more in its first year" in dear.reason
    cheap = recommend_approach(Situation([Need.COST], requests=5_000, saving=700.0, **solved))
    assert cheap.approach is Approach.SMALLER_MODEL and "saves $700" in cheap.reason
    assert recommend_approach(Situation([Need.LATENCY], saving=-120.0, **solved)).approach is Approach.SMALLER_MODEL
