"""The latency for a single user: some prompts are asked by themselves, because in a batch answers wait for each
other."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, cast

from tuneport.backends.base import FineTuneBackend
from tuneport.errors import RejectedError, UnsupportedError
from tuneport.workflows.evaluation.answer_cache import EvaluationAnswerCache
from tuneport.workflows.evaluation.answering import EvaluationAnswer, Prompt, answer_cache_keys

ALONE = 5
"""Prompts that are asked once more, one after the other."""


@dataclass(frozen=True)
class EvaluationAnswerSpeed:
    """Medians over the prompts that were asked alone; None if the backend does not stream or reports no tokens.

    `tokens_per_second` is over the whole answer, its first token included; `seconds_per_token` is the time of each
    token after the first, None if no answer has two. `prompt_tokens` and `completion_tokens` are means over all
    answers.
    """

    seconds_to_first_token: float | None
    seconds: float | None
    tokens_per_second: float | None
    prompt_tokens: float | None
    completion_tokens: float | None
    seconds_per_token: float | None = None

    def seconds_for(self, tokens: float) -> float | None:
        """Return the seconds of an answer of so many tokens, or None if that is unknown."""
        if self.seconds_to_first_token is None or tokens <= 1:
            return self.seconds_to_first_token
        if self.seconds_per_token is None:
            return None
        return self.seconds_to_first_token + (tokens - 1) * self.seconds_per_token

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def latency_cache_keys(where: Sequence[str | None], prompts: Sequence[Prompt]) -> list[str]:
    return answer_cache_keys(("alone", *where), prompts[:ALONE])


def evaluate_answer_speed(
    backend: FineTuneBackend,
    model: str,
    prompts: Sequence[Prompt],
    said: Sequence[EvaluationAnswer],
    keys: Sequence[str],
    cache: EvaluationAnswerCache,
) -> EvaluationAnswerSpeed:
    """Measure the speed on prompts asked alone. `keys` are those of `latency_cache_keys`; cached prompts are not asked
    again."""
    kept = cache.get(keys)
    firsts: list[float] = []
    totals: list[float] = []
    rates: list[float] = []
    paces: list[float] = []
    for prompt, answer, key in zip(prompts, said, keys, strict=False):
        if key not in kept:
            try:
                kept[key] = _streamed(backend, model, prompt)
            except UnsupportedError:
                break
            except RejectedError:
                continue  # as it was among the others
            cache.put(key, kept[key])
        firsts.append(kept[key]["first"])
        totals.append(kept[key]["total"])
        if answer.completion_tokens and kept[key]["total"] > 0:
            rates.append(answer.completion_tokens / kept[key]["total"])
            after = kept[key]["total"] - kept[key]["first"]
            if answer.completion_tokens > 1 and after > 0:  # else it came in one piece
                paces.append(after / (answer.completion_tokens - 1))
    return EvaluationAnswerSpeed(
        median(firsts) if firsts else None,
        median(totals) if totals else None,
        median(rates) if rates else None,
        _mean([each.prompt_tokens for each in said]),
        _mean([each.completion_tokens for each in said]),
        median(paces) if paces else None,
    )


def _streamed(backend: FineTuneBackend, model: str, prompt: Prompt) -> dict[str, float]:
    begun = time.monotonic()
    first = None
    pieces = backend.stream(model, prompt.messages, **dict(prompt.options))
    with closing(cast(Any, pieces)) if hasattr(pieces, "close") else nullcontext():
        for piece in pieces:
            if piece and first is None:
                first = time.monotonic() - begun
    total = time.monotonic() - begun
    return {"first": total if first is None else first, "total": total}


def _mean(values: Sequence[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return sum(there) / len(there) if there else None
