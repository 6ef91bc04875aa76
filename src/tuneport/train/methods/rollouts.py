"""GRPO (Shao et al. 2024, "DeepSeekMath") and RLOO (Ahmadian et al. 2024): the model answers, and learns from what its
answers are worth compared with its other answers to the same question.

Questions are rendered here, answered and trained by TRL's trainers. The reference that `beta` pulls towards is the base
itself with the adapter switched off; full fine-tuning keeps a second copy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

from tuneport.data.templates.rendering import RenderedPrompt, TemplateRenderer
from tuneport.errors import ConfigError
from tuneport.train.methods.rewards import Reward
from tuneport.train.methods.tokenized import complete_trainer
from tuneport.train.model.adapters import load_training_base, model_and_peft_config
from tuneport.train.model.arguments import TrainingRecipe, choose_micro_batch, training_arguments
from tuneport.train.run.reporting import TrainedTokenCounter


def _trainer(
    trainer_class: Any,
    config_class: Any,
    recipe: TrainingRecipe,
    renderer: TemplateRenderer,
    rows: Sequence[RenderedPrompt],
    valid: Sequence[RenderedPrompt],
    counter: TrainedTokenCounter,
    reward: Reward,
) -> Any:
    model = load_training_base(recipe)
    model.generation_config.eos_token_id = _end_tokens(model, renderer)
    generations = recipe.options.generations or _generations_per_prompt(recipe)
    questions = min(int(recipe.numbers["batch_size"]), len(rows))  # TRL leaves out a batch that is not full
    if left := len(rows) % questions:
        recipe.note(f"each epoch leaves out {left} of the {len(rows)} questions, others each time: batches are full")
    longest = max(len(row.prompt_ids) for row in [*rows, *valid])
    answer_tokens = _answer_tokens(recipe, renderer, longest)
    recipe = replace(recipe, numbers={**recipe.numbers, "batch_size": questions * generations})
    arguments = training_arguments(recipe, model, choose_micro_batch(recipe, longest + answer_tokens))
    arguments["train_sampling_strategy"] = "random"  # TRL's own sampler, which repeats each question
    samples = int(recipe.numbers.get("eval_samples") or 1)
    arguments["per_device_eval_batch_size"] = samples * max(1, arguments["per_device_eval_batch_size"] // samples)
    if recipe.validates and recipe.numbers.get("eval_interval"):
        arguments |= {"eval_strategy": "steps", "eval_steps": int(recipe.numbers["eval_interval"])}
    trainer = trainer_class(
        **model_and_peft_config(model, recipe),
        args=config_class(
            **arguments,
            num_generations=generations,
            num_generations_eval=samples,
            max_completion_length=answer_tokens,
            temperature=recipe.options.temperature,
            beta=recipe.numbers["beta"],
            # An answer must be as likely when it is trained on as when it was drawn.
            disable_dropout=True,
        ),
        reward_funcs=_placeholder,
        train_dataset=_dataset(0, len(rows)),
        eval_dataset=_dataset(len(rows), len(valid)) if valid else None,
        processing_class=renderer.tokenizer,
    )
    trainer.questions, trainer.reward = [*rows, *valid], reward
    trainer.reward_funcs, trainer.reward_func_names = [trainer.score], ["score"]
    return complete_trainer(trainer, recipe, counter)


class _Rollouts:
    """Mixed in before TRL's trainers: their dataset holds numbers of `questions`, which are rendered already."""

    questions: list[RenderedPrompt]
    reward: Reward
    counter: TrainedTokenCounter
    state: Any
    model: Any
    _tokenizer: Any

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        self._asked = [self.questions[row["question"]] for row in inputs]
        made: dict[str, Any] = super()._generate_and_score_completions(  # type: ignore[misc]
            [{"prompt": row.messages} for row in self._asked]
        )
        if self.model.training:
            self.counter.tokens = int(self.state.num_input_tokens_seen)  # TRL counts, and its checkpoints remember
        return made

    def _tokenize_prompts(self, prompts: list[Any]) -> tuple[list[list[int]], None, dict[str, Any]]:
        return [row.prompt_ids for row in self._asked], None, {}

    def score(self, prompts: list[Any], completions: list[Any], **told: Any) -> Sequence[float | None]:
        answers = self._tokenizer.batch_decode(told["completion_ids"], skip_special_tokens=True)
        return self.reward(self._asked, answers, told)

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Skip TRL's card, which it would write into every checkpoint."""


class TokenizedGRPOTrainer(_Rollouts, GRPOTrainer):
    """GRPOTrainer on questions that are tokenized already."""


class TokenizedRLOOTrainer(_Rollouts, RLOOTrainer):
    """RLOOTrainer on questions that are tokenized already."""


def _placeholder(prompts: list[Any], completions: list[Any], **columns: Any) -> list[float]:
    raise AssertionError("the trainer scores by its own method")


grpo_trainer = partial(_trainer, TokenizedGRPOTrainer, GRPOConfig)
rloo_trainer = partial(_trainer, TokenizedRLOOTrainer, RLOOConfig)


def _dataset(first: int, count: int) -> Dataset:
    return Dataset.from_list([{"prompt": "", "question": number} for number in range(first, first + count)])


def _generations_per_prompt(recipe: TrainingRecipe) -> int:
    usual = recipe.method.traits.generations or 1
    return max(2, round(usual * float(recipe.numbers.get("compute_multiplier") or 1)))


def _answer_tokens(recipe: TrainingRecipe, renderer: TemplateRenderer, longest: int) -> int:
    wanted, limit = recipe.options.max_completion_length, renderer.max_length
    room = wanted if limit is None else limit - longest
    if room < wanted:
        recipe.note(f"answers are cut off after {room:,} tokens: the longest prompt has {longest:,} of {limit:,}")
    return min(wanted, room)


def _end_tokens(model: Any, renderer: TemplateRenderer) -> list[int]:
    """Return the tokens that end an answer: the model's own list, the tokenizer's, and what its template writes after a
    turn."""
    configured = model.generation_config.eos_token_id
    ends = set(configured if isinstance(configured, list) else [configured])
    ends.add(renderer.tokenizer.eos_token_id)
    if getattr(renderer.tokenizer, "chat_template", None):
        ends.update(renderer.tokenizer(renderer.end_of_turn, add_special_tokens=False)["input_ids"][:1])
    found = sorted(int(token) for token in ends if token is not None)
    if not found:
        raise ConfigError("the base model has no token that ends an answer; use another model")
    return found
