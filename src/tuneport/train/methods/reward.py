"""A reward model: the base with a head of one number, which learns to rank the better answer of a pair higher.

Trained by TRL's RewardTrainer with the Bradley-Terry loss; what comes out scores answers and writes none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from datasets import Dataset
from trl import RewardConfig, RewardTrainer

from tuneport.data.templates.rendering import RenderedPreference, TemplateRenderer
from tuneport.train.methods.tokenized import TokenizedRows, complete_trainer
from tuneport.train.model.adapters import load_training_base, model_and_peft_config
from tuneport.train.model.arguments import TrainingRecipe, choose_micro_batch, training_arguments
from tuneport.train.run.reporting import TrainedTokenCounter
from tuneport.types import Adapter


def reward_trainer(
    recipe: TrainingRecipe,
    renderer: TemplateRenderer,
    rows: Sequence[RenderedPreference],
    valid: Sequence[RenderedPreference],
    counter: TrainedTokenCounter,
) -> RewardTrainer:
    model = load_training_base(recipe, scores=True)
    model.config.get_text_config().pad_token_id = renderer.tokenizer.pad_token_id  # the score stands before the padding
    longest = max(len(row.prompt_ids) + max(len(row.chosen_ids), len(row.rejected_ids)) for row in rows)
    arguments = training_arguments(recipe, model, choose_micro_batch(recipe, longest))
    arguments["train_sampling_strategy"] = "random"
    arguments["use_liger_kernel"] = False  # it would give the model a forward pass that writes instead of scoring
    parts = model_and_peft_config(model, recipe)
    config = parts["peft_config"]
    if config is not None:
        config.task_type, config.modules_to_save = (
            "SEQ_CLS",
            [*(config.modules_to_save or ()), "score"],
        )  # the head begins at random
        config.exclude_modules = ["score"]
    trainer = TokenizedRewardTrainer(
        **parts,
        args=RewardConfig(**arguments, max_length=None),
        train_dataset=_dataset(rows),
        eval_dataset=_dataset(valid) if valid else None,
        processing_class=renderer.tokenizer,
    )
    if recipe.adapter is not Adapter.FULL:
        # The head may be of another precision than what comes out of the base.
        head = trainer.model.get_base_model().score
        dtype = head.modules_to_save["default"].weight.dtype
        head.register_forward_pre_hook(lambda module, inputs: (inputs[0].to(dtype),))
    return complete_trainer(trainer, recipe, counter)


class TokenizedRewardTrainer(TokenizedRows, RewardTrainer):
    """RewardTrainer on rows that are tokenized already."""


def _dataset(rows: Sequence[RenderedPreference]) -> Dataset:
    listed: list[dict[str, Any]] = [
        {"chosen_ids": row.prompt_ids + row.chosen_ids, "rejected_ids": row.prompt_ids + row.rejected_ids}
        for row in rows
    ]
    return Dataset.from_list(listed)
