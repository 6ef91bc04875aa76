"""The likelihood of given answers, in batches of similar length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from tuneport.infer.batch import prefill_prompts
from tuneport.infer.engine import InferenceEngine, common_prompt_prefix

TOKENS_PER_BATCH = {"cpu": 2_048}
DEFAULT_TOKENS_PER_BATCH = 32_768


def score_choices_by_inference(
    engine: InferenceEngine, prompts: Sequence[list[int]], choices: Sequence[list[int]], adapter: str | None
) -> Iterator[tuple[int, list[float]]]:
    """Yield for each prompt the log-likelihood of each choice in nats, summed over its tokens."""
    longest = max(len(choice) for choice in choices)
    padded = torch.tensor([[*choice, *[engine.pad_token] * (longest - len(choice))] for choice in choices])
    seen = torch.tensor([[1] * len(choice) + [0] * (longest - len(choice)) for choice in choices])
    for indexes in batches_by_prompt_length(engine, prompts, extra=len(choices) * longest):
        logits, batch = prefill_prompts(engine, [prompts[index] for index in indexes], adapter)
        after_prompt = logits.cpu().log_softmax(-1)[:, None].expand(-1, len(choices), -1).flatten(0, 1)
        tokens, real = padded.repeat(len(indexes), 1), seen.repeat(len(indexes), 1)
        found = after_prompt.gather(1, tokens[:, :1])
        if longest > 1:
            batch.repeat_rows(len(choices))
            after = batch.append_tokens(tokens[:, :-1], real[:, :-1]).cpu().log_softmax(-1)
            rest = after.gather(2, tokens[:, 1:, None])[..., 0]
            found = torch.cat([found, rest * real[:, 1:]], dim=1)
        yield from zip(indexes, found.sum(-1).view(len(indexes), -1).tolist(), strict=True)


def batches_by_prompt_length(
    engine: InferenceEngine, prompts: Sequence[list[int]], extra: int = 0
) -> Iterator[list[int]]:
    """Yield indexes of prompts of similar length, longest first, so that what does not fit memory fails at once."""
    budget = TOKENS_PER_BATCH.get(engine.device.name, DEFAULT_TOKENS_PER_BATCH)
    shared = common_prompt_prefix(prompts) if len(prompts) > 1 else 0
    batch: list[int] = []
    widest = 1
    for index in sorted(range(len(prompts)), key=lambda index: -len(prompts[index])):
        width = len(prompts[index]) - shared + extra
        if batch and (len(batch) + 1) * max(widest, width) > budget:
            yield batch
            batch = []
        widest = width if not batch else max(widest, width)
        batch.append(index)
    if batch:
        yield batch
