"""Answers marked good or bad (Ethayarajh et al. 2024): rendered here, trained by TRL's KTOTrainer.

The reference is the base model itself, with the adapter switched off; full fine-tuning keeps a second copy.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from datasets import Dataset
from trl import KTOConfig, KTOTrainer

from tuneport.data.templates.rendering import RenderedAnswer, TemplateRenderer
from tuneport.errors import UnsupportedError
from tuneport.train.methods.tokenized import TokenizedRows, complete_trainer
from tuneport.train.model.adapters import init_virtual_tokens, load_training_base, model_and_peft_config
from tuneport.train.model.arguments import TrainingRecipe, choose_micro_batch, training_arguments
from tuneport.train.run.reporting import TrainedTokenCounter


def kto_trainer(
    recipe: TrainingRecipe,
    renderer: TemplateRenderer,
    rows: Sequence[RenderedAnswer],
    valid: Sequence[RenderedAnswer],
    counter: TrainedTokenCounter,
) -> KTOTrainer:
    model = load_training_base(recipe)
    longest = max(len(row.prompt_ids) + len(row.completion_ids) for row in rows)
    micro_batch = choose_micro_batch(recipe, longest)
    if micro_batch < recipe.method.traits.least_rows:
        raise UnsupportedError("kto compares the answers within a batch; set batch_size to 2 or more")
    good, bad = kto_desirable_weights(rows)
    if good != bad:
        recipe.note(f"good answers weigh {good:g} and bad ones {bad:g}, since there are more of the others")
    trainer = TokenizedKTOTrainer(
        **model_and_peft_config(model, recipe),
        args=KTOConfig(
            **{**training_arguments(recipe, model, micro_batch), "train_sampling_strategy": "sequential"},
            max_length=None,
            beta=recipe.numbers["beta"],
            desirable_weight=good,
            undesirable_weight=bad,
        ),
        train_dataset=_dataset(_shuffled(rows, recipe.seed), micro_batch),
        eval_dataset=_dataset(valid, micro_batch) if valid else None,
        processing_class=renderer.tokenizer,
    )
    if recipe.adapter.has_virtual_tokens and recipe.start is None:
        init_virtual_tokens(trainer.model, [row.prompt_ids + row.completion_ids for row in rows])
    return complete_trainer(trainer, recipe, counter)


class TokenizedKTOTrainer(TokenizedRows, KTOTrainer):
    """KTOTrainer on rows that are tokenized already."""


def kto_desirable_weights(rows: Sequence[RenderedAnswer]) -> tuple[float, float]:
    """Return the weights of good and bad answers that make both kinds pull alike: equation 8 of the paper, at its lower
    bound of 1."""
    good = sum(row.label for row in rows)
    bad = len(rows) - good
    if not good or not bad:
        return 1.0, 1.0
    return (round(bad / good, 3), 1.0) if good < bad else (1.0, round(good / bad, 3))


def _shuffled(rows: Sequence[RenderedAnswer], seed: int) -> list[RenderedAnswer]:
    """Shuffle the rows once, since TRL reads them in order: a row's answer is exchanged with those of its
    neighbours."""
    mixed = list(rows)
    random.Random(seed).shuffle(mixed)
    return mixed


def _dataset(rows: Sequence[RenderedAnswer], micro_batch: int) -> Dataset:
    """Return each row also with the answer of the row before it in its batch, as TRL would add it."""
    listed: list[dict[str, Any]] = []
    for start in range(0, len(rows), micro_batch):
        batch = rows[start : start + micro_batch]
        for row, before in zip(batch, [batch[-1], *batch[:-1]], strict=True):
            listed.append(
                {
                    "prompt_ids": row.prompt_ids,
                    "completion_ids": row.completion_ids,
                    "KL_completion_ids": before.completion_ids,
                    "label": row.label,
                }
            )
    return Dataset.from_list(listed)
