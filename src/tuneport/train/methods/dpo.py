"""Preference tuning: prompts and answer pairs rendered here, trained by TRL's DPOTrainer.

The reference is the base model itself, with the adapter switched off: no second copy in memory.
"""

from __future__ import annotations

from collections.abc import Sequence

from datasets import Dataset
from trl import DPOConfig, DPOTrainer

from tuneport.data.templates.rendering import RenderedPreference, TemplateRenderer
from tuneport.train.methods.tokenized import TokenizedRows, complete_trainer
from tuneport.train.model.adapters import init_virtual_tokens, load_training_base, model_and_peft_config
from tuneport.train.model.arguments import TrainingRecipe, choose_micro_batch, training_arguments
from tuneport.train.run.reporting import TrainedTokenCounter


def dpo_trainer(
    recipe: TrainingRecipe,
    renderer: TemplateRenderer,
    rows: Sequence[RenderedPreference],
    valid: Sequence[RenderedPreference],
    counter: TrainedTokenCounter,
) -> DPOTrainer:
    model = load_training_base(recipe)
    longest = max(len(row.prompt_ids) + max(len(row.chosen_ids), len(row.rejected_ids)) for row in rows)
    arguments = training_arguments(recipe, model, choose_micro_batch(recipe, longest))
    arguments["train_sampling_strategy"] = "random"  # pairs have no single length to group by
    trainer = TokenizedDPOTrainer(
        **model_and_peft_config(model, recipe),
        args=DPOConfig(**arguments, max_length=None, beta=recipe.numbers["beta"]),
        train_dataset=_dataset(rows),
        eval_dataset=_dataset(valid) if valid else None,
        processing_class=renderer.tokenizer,
    )
    if recipe.adapter.has_virtual_tokens and recipe.start is None:
        init_virtual_tokens(trainer.model, [row.prompt_ids + row.chosen_ids for row in rows])
    return complete_trainer(trainer, recipe, counter)


class TokenizedDPOTrainer(TokenizedRows, DPOTrainer):
    """DPOTrainer on rows that are tokenized already."""


def _dataset(rows: Sequence[RenderedPreference]) -> Dataset:
    columns = ("prompt_ids", "chosen_ids", "rejected_ids")
    return Dataset.from_list([{name: getattr(row, name) for name in columns} for row in rows])
