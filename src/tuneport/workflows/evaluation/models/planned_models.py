"""The plan for one model of an evaluation: what it will be asked, what is in the cache, and what the rest costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tuneport.backends import backend_manifest
from tuneport.lifecycle.service import JobService
from tuneport.scoring.examples import Example, prepend_few_shot_turns
from tuneport.workflows.advising.drawing import count_probe_sample_tokens
from tuneport.workflows.evaluation.answer_cache import EvaluationAnswerCache
from tuneport.workflows.evaluation.answering import Prompt, answer_cache_keys
from tuneport.workflows.evaluation.latency import latency_cache_keys
from tuneport.workflows.evaluation.models.asked_models import EvaluatedModel, answer_cache_location
from tuneport.workflows.evaluation.models.prices import evaluation_price_of_requests


@dataclass(frozen=True)
class ModelAnswersPlan:
    """The plan for one model. `kept`: how many of the answers are in the cache; `waiting`: how many prompts will be
    sent, including those that are asked once more by themselves (`alone`, for the latency). `usd` is the most that
    these cost, for at most `output_tokens`; None with the reason in `why`."""

    asked: EvaluatedModel
    prompts: tuple[Prompt, ...]
    keys: tuple[str, ...]
    alone: tuple[str, ...]
    kept: int
    waiting: int
    shots: int
    input_tokens: int
    output_tokens: int
    usd: float | None
    why: str
    third_party: str | None


def plan_model_answers(
    workspace: JobService,
    cache: EvaluationAnswerCache,
    asked: EvaluatedModel,
    rows: Sequence[Example],
    shots: Sequence[Example],
    limit: int,
    *,
    timed: bool = True,
) -> ModelAnswersPlan:
    """Plan to ask `asked` each of `rows`, after `shots` if it is shown examples, with at most `limit` tokens an answer;
    `timed`: some once more by themselves. Nothing is sent."""
    prompts = []
    for row in rows:
        options: dict[str, Any] = {"max_tokens": limit, "temperature": 0.0}
        if row.tools:
            options["tools"] = list(row.tools)
        prompts.append(Prompt(prepend_few_shot_turns(row, shots) if asked.few_shot else row.messages, options))
    manifest = backend_manifest(asked.backend, workspace.settings)
    keys = answer_cache_keys(answer_cache_location(asked, workspace.settings), prompts)
    alone = latency_cache_keys(answer_cache_location(asked, workspace.settings), prompts) if timed else []
    there = cache.get([*keys, *alone])
    missing = {key: prompt for key, prompt in zip(keys, prompts, strict=True) if key not in there}
    waiting = [*missing.values(), *(prompt for key, prompt in zip(alone, prompts, strict=False) if key not in there)]
    input_tokens = 0
    if manifest.third_party:
        input_tokens = sum(
            count_probe_sample_tokens(str(each["content"]) for each in prompt.messages) for prompt in waiting
        )
    output_tokens = len(waiting) * limit
    usd, why = evaluation_price_of_requests(
        asked,
        workspace.settings,
        requests=len(waiting),
        input_tokens=input_tokens,
        output_tokens=output_tokens,
    )
    return ModelAnswersPlan(
        asked,
        tuple(prompts),
        tuple(keys),
        tuple(alone),
        sum(key in there for key in keys),
        len(waiting),
        len(shots) if asked.few_shot else 0,
        input_tokens,
        output_tokens,
        usd,
        why,
        manifest.title if manifest.third_party else None,
    )
