"""What a model could do before it was tuned, and whether it still can: the built-in general-ability set.

`items` are written for this project; `asking` puts them to a model, by likelihood where a backend has it; `comparison`
says of a base and a tuned model which abilities were forgotten, and whether the tuned one grew less safe.
"""

from tuneport.evaluate.general.asking import (
    ANSWER_TOKENS,
    Judged,
    general_ability,
    general_ability_of,
    gives_likelihoods,
    written_prompts,
)
from tuneport.evaluate.general.comparison import AbilityChange, GeneralComparison, compare
from tuneport.evaluate.general.items import Item, Pair, load_items

__all__ = [
    "ANSWER_TOKENS",
    "AbilityChange",
    "GeneralComparison",
    "Item",
    "Judged",
    "Pair",
    "compare",
    "general_ability",
    "general_ability_of",
    "gives_likelihoods",
    "load_items",
    "written_prompts",
]
