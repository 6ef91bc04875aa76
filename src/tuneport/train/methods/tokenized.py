"""Adapts TRL's trainers of rows with several answers to rows that are tokenized already."""

from __future__ import annotations

from typing import Any

from tuneport.train.model.arguments import TrainingRecipe
from tuneport.train.run.process_group import DistributedRowOrder
from tuneport.train.run.reporting import TrainedTokenCounter
from tuneport.train.speed.lora_linear import fuse_training_lora_layers


def complete_trainer(trainer: Any, recipe: TrainingRecipe, counter: TrainedTokenCounter) -> Any:
    """Return the trainer with what no trainer of TRL takes: the counter of tokens, and faster LoRA layers."""
    trainer.counter = counter
    if recipe.fuses_lora_layers:
        fuse_training_lora_layers(trainer.model)
    return trainer


class TokenizedRows(DistributedRowOrder):
    """Mixed in before a trainer: takes its rows as they are, counts the tokens that it trains on."""

    counter: TrainedTokenCounter
    model: Any

    def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        return dataset

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        if self.model.training:
            self.counter.tokens += int(inputs["attention_mask"].sum())
        return super().compute_loss(model, inputs, *args, **kwargs)  # type: ignore[misc]

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Skip TRL's card, which it would write into every checkpoint."""
