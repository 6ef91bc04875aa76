"""A reward model: the base with a head of one number, which learns to rank the better answer of a pair higher.

Trained by TRL's RewardTrainer with the Bradley-Terry loss; what comes out scores answers and writes none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from datasets import Dataset
from trl import RewardConfig, RewardTrainer

from tuneport.data.rendering import RenderedPreference, Renderer
from tuneport.train.adapters import adapter_config
from tuneport.train.arguments import Recipe, micro_batch_of, training_arguments
from tuneport.train.loading import load_model
from tuneport.train.lora_linear import fuse
from tuneport.train.reporting import Counter
from tuneport.train.tokenized import TokenizedRows


def reward_trainer(
    recipe: Recipe,
    renderer: Renderer,
    rows: Sequence[RenderedPreference],
    valid: Sequence[RenderedPreference],
    counter: Counter,
) -> RewardTrainer:
    model = load_model(recipe.folder, recipe.device, recipe.adapter, scores=True, sharded=recipe.sharding == "fsdp")
    model.config.get_text_config().pad_token_id = renderer.tokenizer.pad_token_id  # the score stands before the padding
    longest = max(len(row.prompt_ids) + max(len(row.chosen_ids), len(row.rejected_ids)) for row in rows)
    arguments = training_arguments(recipe, model, micro_batch_of(recipe, 2 * longest))
    arguments["train_sampling_strategy"] = "random"
    config = adapter_config(recipe.adapter, recipe.numbers, recipe.options)
    if config is not None:
        config.task_type, config.modules_to_save = "SEQ_CLS", ["score"]  # the head begins at random
        config.exclude_modules = ["score"]
    trainer = RankTrainer(
        model=model,
        args=RewardConfig(**arguments, max_length=None),
        train_dataset=_dataset(rows),
        eval_dataset=_dataset(valid) if valid else None,
        processing_class=renderer.tokenizer,
        peft_config=config,
    )
    if config is not None:
        # The head may be of another precision than what comes out of the base.
        head = trainer.model.get_base_model().score
        dtype = head.modules_to_save["default"].weight.dtype
        head.register_forward_pre_hook(lambda module, inputs: (inputs[0].to(dtype),))
    trainer.counter = counter
    if recipe.device.name == "cpu" and recipe.sharding != "fsdp":  # which has to see each layer called
        fuse(trainer.model)
    return trainer


class RankTrainer(TokenizedRows, RewardTrainer):
    """RewardTrainer on rows that are tokenized already."""


def _dataset(rows: Sequence[RenderedPreference]) -> Dataset:
    listed: list[dict[str, Any]] = [
        {"chosen_ids": row.prompt_ids + row.chosen_ids, "rejected_ids": row.prompt_ids + row.rejected_ids}
        for row in rows
    ]
    return Dataset.from_list(listed)
