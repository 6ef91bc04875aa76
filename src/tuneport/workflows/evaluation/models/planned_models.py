"""The plan for one model of an evaluation: what it will be asked, what is in the cache, and what the rest costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tuneport.backends import backend_manifest
from tuneport.lifecycle.service import JobService
from tuneport.manifests import find_manifest_model
from tuneport.scoring.examples import Example, prepend_few_shot_turns
from tuneport.settings import Settings
from tuneport.workflows.advising.few_shot import count_probe_sample_tokens
from tuneport.workflows.evaluation.answer_cache import EvaluationAnswerCache
from tuneport.workflows.evaluation.answering import Prompt, answer_cache_keys
from tuneport.workflows.evaluation.latency import latency_cache_keys
from tuneport.workflows.evaluation.models.asked_models import EvaluatedModel, answer_cache_location
from tuneport.workflows.evaluation.models.instruction import add_instruction
from tuneport.workflows.evaluation.models.prices import evaluation_price_of_requests

THOUGHT_TOKENS = 2048
"""Tokens for a model that thinks first, as a judge or before its answer: thoughts are billed as answers."""
ESTIMATED = "input estimated with OpenAI's vocabulary"


@dataclass(frozen=True)
class ModelAnswersPlan:
    """The plan for one model. `kept`: how many of the answers are in the cache; `missing`: the prompts of the others,
    and `again` those that are asked once more by themselves (`alone`, for the latency). `usd` is the most that both
    cost, for at most `output_tokens`; None with the reason in `why`. `counting` says how `input_tokens` were
    counted."""

    asked: EvaluatedModel
    prompts: tuple[Prompt, ...]
    keys: tuple[str, ...]
    alone: tuple[str, ...]
    kept: int
    missing: tuple[Prompt, ...]
    again: tuple[Prompt, ...]
    shots: int
    input_tokens: int
    output_tokens: int
    usd: float | None
    why: str
    third_party: str | None
    counting: str = ESTIMATED

    @property
    def waiting(self) -> int:
        """Return how many prompts will be sent."""
        return len(self.missing) + len(self.again)


def plan_model_answers(
    workspace: JobService,
    cache: EvaluationAnswerCache,
    asked: EvaluatedModel,
    rows: Sequence[Example],
    shots: Sequence[Example],
    limit: int,
    *,
    instruction: str = "",
    timed: bool = True,
) -> ModelAnswersPlan:
    """Plan to ask `asked` each of `rows`, after `shots` if it is shown examples or with the `instruction` if it is
    instructed, with at most `limit` tokens an answer (and `THOUGHT_TOKENS` if it thinks first); `timed`: some once more
    by themselves. Nothing is sent."""
    manifest = backend_manifest(asked.backend, workspace.settings)
    offered = find_manifest_model(manifest, asked.base)
    if offered is not None and offered.thinks:
        limit += THOUGHT_TOKENS
    prompts = []
    for row in rows:
        options: dict[str, Any] = {"max_tokens": limit, "temperature": 0.0}
        if row.tools:
            options["tools"] = list(row.tools)
        messages = row.messages
        if asked.few_shot:
            messages = prepend_few_shot_turns(row, shots)
        elif asked.prompting == "instructed":
            messages = add_instruction(row.messages, instruction)
        prompts.append(Prompt(messages, options))
    keys = answer_cache_keys(answer_cache_location(asked, workspace.settings), prompts)
    alone = latency_cache_keys(answer_cache_location(asked, workspace.settings), prompts) if timed else []
    there = cache.get([*keys, *alone])
    missing = list({key: prompt for key, prompt in zip(keys, prompts, strict=True) if key not in there}.values())
    again = [prompt for key, prompt in zip(alone, prompts, strict=False) if key not in there]
    input_tokens, usd, why = price_waiting_prompts(asked, workspace.settings, missing, again, estimate_input_tokens)
    return ModelAnswersPlan(
        asked,
        tuple(prompts),
        tuple(keys),
        tuple(alone),
        sum(key in there for key in keys),
        tuple(missing),
        tuple(again),
        len(shots) if asked.few_shot else 0,
        input_tokens,
        (len(missing) + len(again)) * limit,
        usd,
        why,
        manifest.title if manifest.third_party else None,
    )


def estimate_input_tokens(prompt: Prompt) -> int:
    return count_probe_sample_tokens(str(each["content"]) for each in prompt.messages)


def price_waiting_prompts(
    asked: EvaluatedModel,
    settings: Settings,
    missing: Sequence[Prompt],
    again: Sequence[Prompt],
    count: Callable[[Prompt], int],
) -> tuple[int, float | None, str]:
    """Return the input tokens of the prompts, the most that they cost in US dollars (None if that is unknown), and how
    it is computed. `again` is in no batch."""
    if not again or not settings.asks_in_batches(asked.backend):
        return _price(asked, settings, [*missing, *again], count, in_batches=settings.asks_in_batches(asked.backend))
    tokens, usd, why = _price(asked, settings, missing, count, in_batches=True)
    more, usd_again, _ = _price(asked, settings, again, count, in_batches=False)
    if usd is None or usd_again is None:
        return tokens + more, None, why
    return tokens + more, usd + usd_again, f"{why}; {len(again)} not in a batch"


def _price(
    asked: EvaluatedModel,
    settings: Settings,
    prompts: Sequence[Prompt],
    count: Callable[[Prompt], int],
    *,
    in_batches: bool,
) -> tuple[int, float | None, str]:
    tokens = sum(map(count, prompts)) if backend_manifest(asked.backend, settings).third_party else 0
    usd, why = evaluation_price_of_requests(
        asked,
        settings,
        requests=len(prompts),
        input_tokens=tokens,
        output_tokens=sum(prompt.options["max_tokens"] for prompt in prompts),
        in_batches=in_batches,
    )
    return tokens, usd, why
