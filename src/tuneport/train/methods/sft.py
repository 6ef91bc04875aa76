"""Supervised fine-tuning: rows rendered here, trained by TRL's SFTTrainer, the loss over answers only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from datasets import Dataset
from peft import PeftModel
from trl import SFTConfig, SFTTrainer

from tuneport.data.templates.rendering import IGNORED, RenderedExample, TemplateRenderer
from tuneport.train.model.adapters import init_virtual_tokens, load_training_base, model_and_peft_config
from tuneport.train.model.arguments import TrainingRecipe, choose_micro_batch, training_arguments
from tuneport.train.run.checkpoints import SeededLengthGroupedSampler
from tuneport.train.run.process_group import DistributedRowOrder, TrainingRanks, pad_rows_to_multiple
from tuneport.train.run.reporting import TrainedTokenCounter
from tuneport.train.speed import packing
from tuneport.train.speed.lora_linear import fuse_training_lora_layers
from tuneport.training_options import largest_divisor
from tuneport.types import Adapter

ROWS_TO_TRY_PACKING = 4
SAMPLED_PROMPT_TOKENS = 1 / 3
LOGIT_COLUMNS = 1024  # above it, logits take more memory than TRL's tiles, and skipping the rest saves little


def sft_trainer(
    recipe: TrainingRecipe,
    renderer: TemplateRenderer,
    rows: Sequence[RenderedExample],
    valid: Sequence[RenderedExample],
    counter: TrainedTokenCounter,
) -> SFTTrainer:
    training, validation = [_trimmed(row) for row in rows], [_trimmed(row) for row in valid]
    if recipe.acceleration.note:
        recipe.note(recipe.acceleration.note)
    joins = not recipe.adapter.has_virtual_tokens  # those stand before each row, which needs a place of its own
    padding_free = joins and recipe.acceleration.flash
    attention = "flash_attention_2" if padding_free else "sdpa"
    model = load_training_base(recipe, attention=attention)
    packed = joins and recipe.device.name == "cpu"
    if packed and not packing.enable_packed_attention(model, training[:ROWS_TO_TRY_PACKING]):
        recipe.note("this model computes packed rows otherwise than single ones, so its batches are padded")
        packed = False
    batch = recipe.rows_per_worker
    if packed:
        micro_batch = packing.rows_per_pack(training, batch)
        if recipe.micro_batch_limit is not None:
            micro_batch = largest_divisor(batch, min(micro_batch, recipe.micro_batch_limit))
    else:
        micro_batch = choose_micro_batch(recipe, max(len(row["input_ids"]) for row in training))
    if recipe.workers > 1:
        rows_at_once, token = micro_batch * recipe.workers, renderer.tokenizer.eos_token_id or 0
        training, validation = (
            pad_rows_to_multiple(training, rows_at_once, token),
            pad_rows_to_multiple(validation, rows_at_once, token),
        )
    arguments = training_arguments(recipe, model, micro_batch)
    if packed:
        collator: Any = packing.PackingCollator()
    elif padding_free:
        collator = packing.PaddingFreeCollator()
        arguments["train_sampling_strategy"] = "random"  # lengths need not be alike
    else:
        collator = packing.PaddingCollator(renderer.tokenizer.pad_token_id)
    trainer = AnswerSFTTrainer(
        **model_and_peft_config(model, recipe),
        args=SFTConfig(
            **arguments,
            max_length=None,  # lengths are checked while rendering
            dataset_kwargs={"skip_prepare_dataset": True},
        ),
        train_dataset=Dataset.from_list(training),
        eval_dataset=Dataset.from_list(validation) if validation else None,
        data_collator=collator,
        processing_class=renderer.tokenizer,
    )
    if recipe.adapter.has_virtual_tokens and recipe.start is None:
        init_virtual_tokens(trainer.model, [row["input_ids"] for row in training])
    trainer.counter = counter
    trainer.fillers = len(training) - len(rows)
    # Before a trained prompt's embeddings the model answers, too; a prefix stands in the cache and adds no positions.
    trainer.first_column = int(recipe.numbers["virtual_tokens"]) if recipe.adapter is Adapter.PROMPT else 0
    trainer.prompt_loss_weight = recipe.options.prompt_loss_weight
    if trainer.prompt_loss_weight:
        recipe.note(f"the loss counts prompt tokens, too, at {trainer.prompt_loss_weight:g} of an answer's token")
    if recipe.fuses_lora_layers:
        fuse_training_lora_layers(trainer.model)
    return trainer


class AnswerSFTTrainer(DistributedRowOrder, SFTTrainer):
    """SFTTrainer whose LM head computes only positions that are trained on.

    Elsewhere than on Triton's devices TRL scores every position: for an answer of 3 tokens in 50 and a vocabulary of
    49 k that is the larger part of a small model's step.

    With `prompt_loss_weight` w each prompt token adds w times its own loss. Where answers are a few tokens, learning
    the prompts as language, too, keeps a small model from memorising the pairs (Huerta-Enochian and Ko, "Instruction
    fine-tuning: does prompt loss matter?", EMNLP 2024). Of a batch's prompt tokens a random third stands for all, which
    costs a third of the time. `answer_loss` in the logs, and the validation loss, are of answers only.
    """

    counter: TrainedTokenCounter
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
        count = int(trained.sum()) if num_items_in_batch is None else int(num_items_in_batch)
        if "blocks" in inputs:
            loss = self._packed_loss(model, inputs, labels, prompts, wanted, weight, max(1, count))
            return loss if num_items_in_batch is None else loss * self.accelerator.num_processes
        columns = wanted.any(dim=0).nonzero().flatten()
        if not weight and (labels.device.type == "cuda" or len(columns) > LOGIT_COLUMNS):
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        inputs = {name: value for name, value in inputs.items() if name != "labels"}
        outputs = model(**inputs, use_cache=False, logits_to_keep=columns + self.first_column)
        chosen, targets = outputs.logits[trained[:, columns]].float(), labels[trained]
        loss = F.cross_entropy(chosen, targets, reduction="sum") / max(1, count)
        metrics = self._metrics["train" if self.model.training else "eval"]
        right, tried, of_answers = TrainingRanks.here().sum_over_ranks(
            float((chosen.argmax(-1) == targets).sum()), len(targets), loss.item()
        )
        metrics["mean_token_accuracy"].append(right / max(1.0, tried))
        if weight:
            steps = self.current_gradient_accumulation_steps  # each of them adds its part of the step's loss
            metrics["answer_loss"].append(of_answers * steps)
            rest = outputs.logits.flatten(0, 1).float(), prompts[:, columns].flatten()
            loss = loss + weight * F.cross_entropy(*rest, ignore_index=IGNORED, reduction="sum") / max(1, count)
        if num_items_in_batch is not None:  # of all ranks, over which the gradients are then averaged
            loss = loss * self.accelerator.num_processes
        return (loss, outputs) if return_outputs else loss

    def _packed_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        labels: torch.Tensor,
        prompts: torch.Tensor,
        wanted: torch.Tensor,
        weight: float,
        count: int,
    ) -> torch.Tensor:
        places = wanted.flatten().nonzero().flatten()
        answers = labels.flatten()[places]
        is_answer = answers != IGNORED
        targets = answers.where(is_answer, prompts.flatten()[places])
        shares = torch.where(is_answer, 1.0, weight) / count
        base = self.model.get_base_model() if isinstance(self.model, PeftModel) else self.model

        def score() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
            return packing.packed_token_loss(base, inputs, places, targets, shares)

        loss, losses, correct = score() if self.args.world_size == 1 else self._as_forward(model, score)
        metrics = self._metrics["train" if self.model.training else "eval"]
        right, tried, of_answers = TrainingRanks.here().sum_over_ranks(
            float(correct[is_answer].sum()), int(is_answer.sum()), float(losses[is_answer].sum() / count)
        )
        if weight:
            steps = self.current_gradient_accumulation_steps  # each of them adds its part of the step's loss
            metrics["answer_loss"].append(of_answers * steps)
        metrics["mean_token_accuracy"].append(right / max(1.0, tried))
        return loss

    def _as_forward(self, model: Any, function: Callable[[], Any]) -> Any:
        """Call `function` as the forward pass of `model`, which DDP and FSDP wrap with what ranks do together."""
        before = vars(self.model).get("forward")
        self.model.forward = function
        try:
            return model()
        finally:
            del self.model.forward
            if before is not None:
                self.model.forward = before

    def prediction_step(
        self, model: Any, inputs: dict[str, Any], prediction_loss_only: bool, ignore_keys: Any = None
    ) -> Any:
        inputs = self._prepare_inputs(inputs)
        tokens = int((inputs["labels"][:, 1:] != IGNORED).sum())
        with torch.no_grad():
            loss = self.compute_loss(model, inputs)
        if tokens:
            self.evaluated += torch.tensor([loss.item() * tokens, tokens], dtype=torch.float64)
        return loss, None, None

    def evaluation_loop(self, *args: Any, metric_key_prefix: str = "eval", **kwargs: Any) -> Any:
        """Evaluate with the loss per token of all rows: a mean over batches would depend on which rows share one."""
        self.evaluated = torch.zeros(2, dtype=torch.float64)
        output = super().evaluation_loop(*args, metric_key_prefix=metric_key_prefix, **kwargs)
        total, tokens = TrainingRanks.here().sum_over_ranks(*self.evaluated.tolist())
        output.metrics[f"{metric_key_prefix}_loss"] = total / max(1.0, tokens)
        return output

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        if self.args.world_size > 1 or self.args.train_sampling_strategy != "group_by_length":
            return super()._get_train_sampler(train_dataset)
        lengths = [len(ids) for ids in (self.train_dataset if train_dataset is None else train_dataset)["input_ids"]]
        batch_size = self.args.train_batch_size * self.args.gradient_accumulation_steps
        return SeededLengthGroupedSampler(batch_size, lengths=lengths, seed=self.args.seed)

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Skip TRL's card, which it would write into every checkpoint."""


def _trimmed(row: RenderedExample) -> dict[str, list[int]]:
    return {"input_ids": row.input_ids[: row.useful_length], "labels": row.labels[: row.useful_length]}
