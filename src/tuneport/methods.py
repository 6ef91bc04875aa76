"""The training methods: what each trains on and what its trainer does. One row a method.

A new method is a row here, its trainer in `train/methods/` and its place in `train/recipe.py`, and its name in the
manifest of each provider that offers it (`providers/local.toml`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

Records = Literal["chats", "pairs", "labelled", "questions", "graded"]
"""Conversations with answers; a better and a worse answer; an answer marked good or bad; questions alone; questions
with what a grader compares answers with."""

Examples = Literal["single", "pairs", "labelled", "ranked", "rollouts"]
"""What goes through the model in a micro-step; see `estimate.memory.Run`."""


@dataclass(frozen=True)
class Traits:
    """The traits that distinguish a method.

    `texts` of one row go through the model together, and `least_rows` rows must. `further_passes`: forward passes
    without gradients over every example. `beta`: weight of the penalty for leaving the base model; None if the method
    has none; TRL's and Together's default for dpo is 0.1, GRPO's paper (Shao et al. 2024, section 4.2) has 0.04, and
    TRL's default for rloo is 0.05. `generations`: answers that the model writes per question and step, and that `judge`
    scores. `token_loss`: its loss is that of an answer's tokens, so it takes `loss_on` and `prompt_loss_weight`, and
    the lowest one on a validation file marks the best epoch. `scores`: the result is a reward model, which writes
    nothing. `openai`: the method's name in OpenAI's API, if it has one.
    """

    records: Records
    examples: Examples
    texts: int = 1
    least_rows: int = 1
    further_passes: int = 0
    beta: float | None = None
    generations: int | None = None
    judge: Literal["reward", "grader"] | None = None
    token_loss: bool = False
    scores: bool = False
    openai: Literal["supervised", "dpo", "reinforcement"] | None = None


class Method(StrEnum):
    traits: Traits

    def __new__(cls, value: str, traits: Traits | None = None) -> Method:
        assert traits is not None, f"the row of {value} lacks its traits"
        member = str.__new__(cls, value)
        member._value_ = value
        member.traits = traits
        return member

    SFT = "sft", Traits("chats", "single", token_loss=True, openai="supervised")
    DPO = "dpo", Traits("pairs", "pairs", texts=2, further_passes=1, beta=0.1, openai="dpo")
    # How far the model has moved is estimated on prompts with their neighbours' answers: two rows at least, and two
    # passes over mismatched answers.
    KTO = "kto", Traits("labelled", "labelled", texts=2, least_rows=2, further_passes=3, beta=0.1)
    REWARD = "reward", Traits("pairs", "ranked", texts=2, scores=True)
    # Generations: TRL's default for GRPO; for RLOO the larger of the two numbers that its paper trains with.
    GRPO = "grpo", Traits("questions", "rollouts", beta=0.04, generations=8, judge="reward")
    RLOO = "rloo", Traits("questions", "rollouts", beta=0.05, generations=4, judge="reward")
    RFT = "rft", Traits("graded", "rollouts", beta=0.04, generations=8, judge="grader", openai="reinforcement")

    @classmethod
    def of_openai(cls, word: str) -> Method | None:
        """Return the method that OpenAI's API calls so, or None."""
        return next((method for method in cls if method.traits.openai == word), None)

    @property
    def trains_on_pairs(self) -> bool:
        return self.traits.records == "pairs"

    @property
    def writes_answers(self) -> bool:
        """Return whether the model answers the data's questions itself, and learns from the rewards of its answers."""
        return self.traits.generations is not None

    @property
    def takes_reward(self) -> bool:
        return self.traits.judge == "reward"

    @property
    def takes_grader(self) -> bool:
        return self.traits.judge == "grader"

    @property
    def has_reference(self) -> bool:
        """Return whether the model is compared with its initial weights; the method then takes `beta`."""
        return self.traits.beta is not None


def methods_where(test: Callable[[Method], bool]) -> tuple[Method, ...]:
    """Return the methods that pass `test`, in the order of the table."""
    return tuple(method for method in Method if test(method))
