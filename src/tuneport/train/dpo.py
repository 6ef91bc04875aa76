"""Preference tuning: prompts and answer pairs rendered here, trained by TRL's DPOTrainer.

The reference is the base model itself, with the adapter switched off: no second copy in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from datasets import Dataset
from trl import DPOConfig, DPOTrainer

from tuneport.data.rendering import RenderedPreference, Renderer
from tuneport.errors import UnsupportedError
from tuneport.train.adapters import adapter_config, start_virtual_tokens
from tuneport.train.loading import load_model
from tuneport.train.lora_linear import fuse
from tuneport.train.packing import MAX_TOKENS
from tuneport.train.reporting import Counter
from tuneport.train.sft import Recipe, training_arguments
from tuneport.types import Adapter


def dpo_trainer(
    recipe: Recipe,
    renderer: Renderer,
    rows: Sequence[RenderedPreference],
    valid: Sequence[RenderedPreference],
    counter: Counter,
) -> DPOTrainer:
    if recipe.adapter is Adapter.FULL:
        raise UnsupportedError("dpo trains an adapter here, so that the base can be its own reference; choose lora")
    model = load_model(recipe.folder, recipe.device, recipe.adapter)
    longest = max(len(row.prompt_ids) + max(len(row.chosen_ids), len(row.rejected_ids)) for row in rows)
    batch_size = int(recipe.numbers["batch_size"])
    fitting = max(1, (MAX_TOKENS if recipe.device.name == "cpu" else 8192) // (2 * longest))
    micro_batch = max(count for count in range(1, batch_size + 1) if batch_size % count == 0 and count <= fitting)
    arguments = training_arguments(recipe, model, micro_batch)
    arguments["train_sampling_strategy"] = "random"  # pairs have no single length to group by
    trainer = PairTrainer(
        model=model,
        args=DPOConfig(**arguments, max_length=None, beta=recipe.numbers["beta"]),
        train_dataset=_dataset(rows),
        eval_dataset=_dataset(valid) if valid else None,
        processing_class=renderer.tokenizer,
        peft_config=adapter_config(recipe.adapter, recipe.numbers, recipe.options),
    )
    if recipe.adapter.has_virtual_tokens:
        start_virtual_tokens(trainer.model, [row.prompt_ids + row.chosen_ids for row in rows])
    trainer.counter = counter
    if recipe.device.name == "cpu":
        fuse(trainer.model)
    return trainer


class PairTrainer(DPOTrainer):
    """DPOTrainer on rows that are tokenized already."""

    counter: Counter

    def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        return dataset

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        if self.model.training:
            self.counter.tokens += int(inputs["attention_mask"].sum())
        return super().compute_loss(model, inputs, *args, **kwargs)

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """No card in every checkpoint."""


def _dataset(rows: Sequence[RenderedPreference]) -> Dataset:
    names = ("prompt_ids", "chosen_ids", "rejected_ids")
    return Dataset.from_list([{name: getattr(row, name) for name in names} for row in rows])
