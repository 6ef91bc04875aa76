"""Measures whether a tuned model can still do what its base could: the built-in general-ability set.

`items` are written for this project; `asking` puts them to a model, by likelihood if its backend has that; `comparison`
says of a base and a tuned model which abilities were forgotten, and whether the tuned one grew less safe.
"""

from tuneport.scoring.general.asking import (
    ANSWER_TOKENS,
    AnsweredItem,
    backend_scores_likelihoods,
    general_item_prompts,
    score_general_items,
)
from tuneport.scoring.general.comparison import GeneralAbilityComparison, compare_general_ability
from tuneport.scoring.general.items import load_general_items

__all__ = [
    "ANSWER_TOKENS",
    "GeneralAbilityComparison",
    "AnsweredItem",
    "compare_general_ability",
    "score_general_items",
    "backend_scores_likelihoods",
    "load_general_items",
    "general_item_prompts",
]
