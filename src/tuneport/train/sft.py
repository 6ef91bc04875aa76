"""Supervised fine-tuning: rows rendered here, trained by TRL's SFTTrainer, the loss over answers only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from datasets import Dataset
from trl import SFTConfig, SFTTrainer

from tuneport.data.rendering import IGNORED, Rendered, Renderer
from tuneport.train import packing
from tuneport.train.adapters import adapter_config, start_virtual_tokens
from tuneport.train.arguments import Recipe, micro_batch_of, training_arguments
from tuneport.train.loading import load_model
from tuneport.train.lora_linear import fuse
from tuneport.train.ranks import Ranks, SharedRows, filled
from tuneport.train.reporting import Counter
from tuneport.types import Adapter

ROWS_TO_TRY_PACKING = 4
SAMPLED_PROMPT_TOKENS = 1 / 3
LOGIT_COLUMNS = 1024  # above it, logits take more memory than TRL's tiles, and skipping the rest saves little


def sft_trainer(
    recipe: Recipe, renderer: Renderer, rows: Sequence[Rendered], valid: Sequence[Rendered], counter: Counter
) -> SFTTrainer:
    training, validation = [_trimmed(row) for row in rows], [_trimmed(row) for row in valid]
    # On a GPU the padding of a length-grouped batch costs less than attention over a pack.
    packs = recipe.device.name == "cpu" and not recipe.adapter.has_virtual_tokens  # which each row needs before it
    per_pack = packing.rows_per_pack(training, recipe.batch_of_worker) if packs else 1
    attention = "eager" if per_pack > 1 else "sdpa"  # SDPA with a mask is several times slower on CPUs
    model = load_model(
        recipe.folder, recipe.device, recipe.adapter, attention=attention, sharded=recipe.sharding == "fsdp"
    )
    dtype = next(model.parameters()).dtype
    if per_pack > 1 and not _packs(model, training, dtype):
        recipe.note("this model computes packed rows otherwise than single ones, so its batches are padded")
        per_pack = 1
    collator = packing.PackingCollator(dtype) if per_pack > 1 else _padding(renderer)
    longest = max(len(row["input_ids"]) for row in training)
    micro_batch = per_pack if per_pack > 1 else micro_batch_of(recipe, longest)
    rows_at_once, token = micro_batch * recipe.workers, renderer.tokenizer.eos_token_id or 0
    if recipe.workers > 1:
        training, validation = filled(training, rows_at_once, token), filled(validation, rows_at_once, token)
    trainer = AnswerTrainer(
        model=model,
        args=SFTConfig(
            **training_arguments(recipe, model, micro_batch),
            max_length=None,  # lengths are checked while rendering
            dataset_kwargs={"skip_prepare_dataset": True},
        ),
        train_dataset=Dataset.from_list(training),
        eval_dataset=Dataset.from_list(validation) if validation else None,
        data_collator=collator,
        processing_class=renderer.tokenizer,
        peft_config=adapter_config(recipe.adapter, recipe.numbers, recipe.options),
    )
    if recipe.adapter.has_virtual_tokens:
        start_virtual_tokens(trainer.model, [row["input_ids"] for row in training])
    trainer.counter = counter
    trainer.fillers = len(training) - len(rows)
    # Before a trained prompt's embeddings the model answers, too; a prefix stands in the cache and adds no positions.
    trainer.first_column = int(recipe.numbers["virtual_tokens"]) if recipe.adapter is Adapter.PROMPT else 0
    trainer.prompt_loss_weight = recipe.options.prompt_loss_weight
    if trainer.prompt_loss_weight:
        recipe.note(f"the loss counts prompt tokens, too, at {trainer.prompt_loss_weight:g} of an answer's token")
    if recipe.device.name == "cpu" and recipe.sharding != "fsdp":  # which has to see each layer called
        fuse(trainer.model)
    return trainer


class AnswerTrainer(SharedRows, SFTTrainer):
    """SFTTrainer whose LM head computes only positions that are trained on.

    Elsewhere than on Triton's devices TRL scores every position: for an answer of 3 tokens in 50 and a vocabulary of
    49 k that is the larger part of a small model's step.

    With `prompt_loss_weight` w each prompt token adds w times its own loss. Where answers are a few tokens, learning
    the prompts as language, too, keeps a small model from memorising the pairs (Huerta-Enochian and Ko, "Instruction
    fine-tuning: does prompt loss matter?", EMNLP 2024). Of a batch's prompt tokens a random third stands for all, which
    costs a third of the time. `answer_loss` in the logs, and the validation loss, are of answers only.
    """

    counter: Counter
    prompt_loss_weight: float
    first_column: int
    evaluated: torch.Tensor  # sum of the losses and number of the tokens that this rank has evaluated

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        useful_tokens = int(inputs.pop("useful_tokens"))
        if self.model.training:
            self.counter.tokens += useful_tokens
        labels, prompts = inputs["labels"][:, 1:], inputs.pop("prompt_labels")[:, 1:]
        weight = self.prompt_loss_weight if self.model.training else 0.0
        trained = labels != IGNORED
        if weight:
            sampled = torch.rand(prompts.shape, device=prompts.device) < SAMPLED_PROMPT_TOKENS
            prompts, weight = prompts.where(sampled, IGNORED), weight / SAMPLED_PROMPT_TOKENS
        wanted = trained | (prompts != IGNORED) if weight else trained
        columns = wanted.any(dim=0).nonzero().flatten()
        if not weight and (labels.device.type == "cuda" or len(columns) > LOGIT_COLUMNS):
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        inputs = {name: value for name, value in inputs.items() if name != "labels"}
        outputs = model(**inputs, use_cache=False, logits_to_keep=columns + self.first_column)
        chosen, targets = outputs.logits[trained[:, columns]].float(), labels[trained]
        count = len(targets) if num_items_in_batch is None else num_items_in_batch
        loss = F.cross_entropy(chosen, targets, reduction="sum") / max(1, int(count))
        metrics = self._metrics["train" if self.model.training else "eval"]
        right, tried, of_answers = Ranks.here().total(
            float((chosen.argmax(-1) == targets).sum()), len(targets), loss.item()
        )
        metrics["mean_token_accuracy"].append(right / max(1.0, tried))
        if weight:
            steps = self.current_gradient_accumulation_steps  # each of them adds its part of the step's loss
            metrics["answer_loss"].append(of_answers * steps)
            rest = outputs.logits.flatten(0, 1).float(), prompts[:, columns].flatten()
            loss = loss + weight * F.cross_entropy(*rest, ignore_index=IGNORED, reduction="sum") / max(1, int(count))
        if num_items_in_batch is not None:  # of all ranks, over which the gradients are then averaged
            loss = loss * self.accelerator.num_processes
        return (loss, outputs) if return_outputs else loss

    def prediction_step(
        self, model: Any, inputs: dict[str, Any], prediction_loss_only: bool, ignore_keys: Any = None
    ) -> Any:
        inputs = self._prepare_inputs(inputs)
        count = int((inputs["labels"][:, 1:] != IGNORED).sum())
        with torch.no_grad():
            loss = self.compute_loss(model, inputs)
        self.evaluated += torch.tensor([float(loss) * count, count])
        return loss, None, None

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> Any:
        """The validation loss is the mean over all trained tokens, however they came to stand in batches."""
        self.evaluated = torch.zeros(2, dtype=torch.float64)
        output = super().evaluation_loop(*args, **kwargs)
        loss, count = Ranks.here().total(*self.evaluated.tolist())
        output.metrics[f"{kwargs.get('metric_key_prefix', 'eval')}_loss"] = loss / max(1.0, count)
        return output

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """No card in every checkpoint."""


def _trimmed(row: Rendered) -> dict[str, list[int]]:
    return {"input_ids": row.input_ids[: row.useful_length], "labels": row.labels[: row.useful_length]}


def _packs(model: Any, rows: Sequence[dict[str, Any]], dtype: torch.dtype) -> bool:
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    if kinds != {"full_attention"}:
        return False  # sliding windows and state-space layers look at order, not at our mask
    model.eval()
    agreed = packing.agrees(model, rows[:ROWS_TO_TRY_PACKING], dtype)
    model.train()
    return agreed


def _padding(renderer: Renderer) -> packing.PaddingCollator:
    return packing.PaddingCollator(renderer.tokenizer.pad_token_id)
