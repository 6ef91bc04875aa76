"""The reward of an answer: the user's function, a trained reward model, or a grader in OpenAI's shape."""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors import SafetensorError
from transformers import AutoModelForSequenceClassification

from tuneport.base_models import BaseModelDevice, locate_base_model, materialise_base_model
from tuneport.data.graders.graders import Grader, GraderError
from tuneport.data.templates.rendering import RenderedPrompt, TemplateRenderer
from tuneport.data.tokens.tokenizer import load_dataset_tokenizer, tokenizer_context_length
from tuneport.errors import ConfigError, DatasetError, DatasetProblem, one_line
from tuneport.sandbox.requirements import check_machine_can_confine
from tuneport.train.methods.reward_function import load_reward_function
from tuneport.train.model.arguments import TrainingRecipe
from tuneport.train.run.failures import RewardError
from tuneport.train.run.run_folder import TrainingRunFolder

Reward = Callable[[Sequence[RenderedPrompt], Sequence[str], dict[str, Any]], Sequence[float | None]]
"""Questions, an answer to each, and what TRL tells reward functions; a number for each answer, None for no opinion."""

FROM_TRL = ("prompts", "completions", "completion_ids", "trainer_state", "log_extra", "log_metric")
SCORED_TOKENS = 8192
"""Of a batch for the reward model, padding counted; it keeps no activations."""


def build_reward(run: TrainingRunFolder, recipe: TrainingRecipe, rows: Sequence[RenderedPrompt]) -> Reward:
    """Return the reward that the run's spec defines.

    Raises ConfigError, DatasetError or UnsupportedError if it cannot be loaded.
    """
    spec = run.spec
    if spec.grader is not None:
        grader = Grader(spec.grader, run_code=recipe.options.run_grader_code)
        if grader.runs_code:
            check_machine_can_confine(run.home)
        return reward_from_grader(grader, run.note)
    if spec.reward is not None and spec.reward_function is not None:
        return reward_from_function(
            load_reward_function(str(spec.reward_folder or Path.cwd()), *spec.reward_function), spec.reward, rows
        )
    assert run.reward_model is not None and run.reward_model["weights"] is not None
    base = run.reward_model["base"]
    folder = None if base is None else materialise_base_model(locate_base_model(base, home=run.home), home=run.home)
    return RewardModel(Path(run.reward_model["weights"]), folder, recipe.device)


def reward_from_function(function: Callable[..., Any], name: str, rows: Sequence[RenderedPrompt]) -> Reward:
    """Wrap a function as a reward. It is called as TRL does: `function(prompts=, completions=, **columns)`,
    conversations in OpenAI's shape.

    Raises DatasetError if a column has a name that TRL uses for something else.
    """
    columns = list(dict.fromkeys(column for row in rows for column in row.columns))
    if taken := [column for column in columns if column in FROM_TRL]:
        rule = "is a name under which a reward function is given something else"
        raise DatasetError(DatasetProblem("", None, taken[0], rule, "rename the column"))

    def score(asked: Sequence[RenderedPrompt], answers: Sequence[str], told: dict[str, Any]) -> list[float | None]:
        try:
            given = function(
                prompts=[row.messages for row in asked],
                completions=[[{"role": "assistant", "content": text}] for text in answers],
                **{column: [row.columns.get(column) for row in asked] for column in columns},
                **told,
            )
            scores = [None if value is None else float(value) for value in given]
        except Exception as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            reason = one_line(f"{type(error).__name__}: {error}")
            raise RewardError(
                f"the reward function {name} failed: {reason} ({frame.filename}:{frame.lineno}); it is called with "
                f"{', '.join([*FROM_TRL, *columns])}, takes what it does not need as **columns, and returns a list of "
                "numbers"
            ) from error
        if len(scores) != len(answers):
            raise RewardError(f"the reward function {name} gave {len(scores)} numbers for {len(answers)} answers")
        if wrong := [value for value in scores if value is not None and not math.isfinite(value)]:
            raise RewardError(f"the reward function {name} gave {wrong[0]}; it must give finite numbers, or None")
        return scores

    return score


def reward_from_grader(grader: Grader, note: Callable[[str], None]) -> Reward:
    """Wrap a grader as a reward. If a grader's code fails on an answer, that is reported once, and the answer is worth
    0."""

    def score(asked: Sequence[RenderedPrompt], answers: Sequence[str], told: dict[str, Any]) -> list[float | None]:
        try:
            scores: list[float | None] = [
                grader.score_answer(text, row.columns) for row, text in zip(asked, answers, strict=True)
            ]
        except GraderError as error:
            raise RewardError(str(error)) from error
        if wrong := [value for value in scores if value is not None and not math.isfinite(value)]:
            raise RewardError(f"the grader gave {wrong[0]}; it must give finite numbers")
        for failure in grader.failures:
            note(f"{failure}; such answers are worth 0")
        return scores

    return score


class RewardModel:
    """A frozen model that `tuneport.train.methods.reward` has trained, as a `Reward`. It renders with its own template.

    `base`: of an adapter in `weights`; None for a whole model. Raises ConfigError if they cannot be loaded.
    """

    def __init__(self, weights: Path, base: Path | None, device: BaseModelDevice) -> None:
        self.device, source = device, base or weights
        try:
            model: Any = AutoModelForSequenceClassification.from_pretrained(
                source, num_labels=1, dtype=getattr(torch, device.dtype), trust_remote_code=False
            )
            if base is not None:
                model = PeftModel.from_pretrained(model, str(weights), is_trainable=False)
        except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
            reason = str(error).strip().split("\n", 1)[0]
            raise ConfigError(f"the reward model in {weights} cannot be loaded: {reason}; train it again") from error
        self.renderer = TemplateRenderer(load_dataset_tokenizer(source))
        self.context = tokenizer_context_length(source)
        model.config.get_text_config().pad_token_id = self.renderer.tokenizer.pad_token_id
        head = (model if base is None else model.get_base_model()).score
        dtype = next(head.parameters()).dtype
        head.register_forward_pre_hook(lambda module, inputs: (inputs[0].to(dtype),))
        self.model = model.to(device.name).eval().requires_grad_(False)

    @torch.inference_mode()
    def __call__(self, asked: Sequence[RenderedPrompt], answers: Sequence[str], told: dict[str, Any]) -> list[float]:
        prompts: dict[int, list[int]] = {}
        rows = []
        for question, text in zip(asked, answers, strict=True):
            if id(question) not in prompts:
                record = question.record
                prompts[id(question)] = self.renderer.prompt_ids(record.messages, record.tools)
            rows.append(prompts[id(question)] + self.renderer.answer_ids(text))
        longest = max(map(len, rows))
        if self.context is not None and longest > self.context:
            raise ConfigError(
                f"the reward model reads {self.context:,} tokens, and a prompt with its answer has {longest:,}; lower "
                "max_completion_length, or shorten the prompts"
            )
        scores: list[float] = []
        size = max(1, SCORED_TOKENS // longest)
        pad = self.renderer.tokenizer.pad_token_id
        for start in range(0, len(rows), size):
            batch = rows[start : start + size]
            width = max(map(len, batch))
            ids = torch.tensor([[*row, *[pad] * (width - len(row))] for row in batch])
            mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in batch])
            logits = self.model(input_ids=ids.to(self.device.name), attention_mask=mask.to(self.device.name)).logits
            scores += logits[:, 0].float().cpu().tolist()
        return scores
