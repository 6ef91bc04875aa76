"""Answers to prompts, and the likelihood of given answers. Both work in batches of similar length."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch

from tuneport.errors import ConfigError
from tuneport.infer.engine import Batch, Engine, common_prefix

TOKENS_PER_BATCH = {"cpu": 2_048}
DEFAULT_TOKENS_PER_BATCH = 32_768
DEFAULT_MAX_TOKENS = 512


@dataclass(frozen=True)
class Options:
    """As OpenAI's of these names. `temperature` 0 takes the likeliest token; `seed` makes sampling repeatable."""

    max_tokens: int = DEFAULT_MAX_TOKENS
    temperature: float = 1.0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int | None = None


@dataclass(frozen=True)
class Answer:
    index: int
    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int


@dataclass
class _Row:
    index: int
    prompt: list[int]
    tokens: list[int] = field(default_factory=list)
    text: str = ""
    emitted: int = 0
    finish_reason: str | None = None


OnDelta = Callable[[int, str], None]


def answer(
    engine: Engine, prompts: Sequence[list[int]], options: Options, on_delta: OnDelta | None = None
) -> Iterator[Answer]:
    """Yield each answer when it is done. ConfigError for a prompt that leaves no room in the model's context."""
    limits = [_room(engine, prompt, options.max_tokens) for prompt in prompts]
    generator = torch.Generator()
    if options.seed is not None:
        generator.manual_seed(options.seed)
    else:
        generator.seed()
    for indexes in batches(engine, prompts):
        rows = [_Row(index, prompts[index]) for index in indexes]
        logits, batch = engine.prefill([row.prompt for row in rows])
        while rows:
            tokens = choose(logits, options, generator)
            for row, token in zip(rows, tokens.tolist(), strict=True):
                _advance(engine, row, token, options, limits[row.index], on_delta)
            yield from (_finished(row) for row in rows if row.finish_reason)
            going = torch.tensor([i for i, row in enumerate(rows) if not row.finish_reason])
            rows = [row for row in rows if not row.finish_reason]
            if rows:
                if len(going) < len(tokens):
                    batch.keep(going)
                logits = batch.append(tokens[going][:, None])[:, -1]


def score(
    engine: Engine, prompts: Sequence[list[int]], choices: Sequence[list[int]]
) -> Iterator[tuple[int, list[float]]]:
    """For each prompt the log-likelihood of each choice in nats, summed over its tokens."""
    longest = max(len(choice) for choice in choices)
    padded = torch.tensor([[*choice, *[engine.pad_token] * (longest - len(choice))] for choice in choices])
    seen = torch.tensor([[1] * len(choice) + [0] * (longest - len(choice)) for choice in choices])
    for indexes in batches(engine, prompts, extra=len(choices) * longest):
        logits, batch = engine.prefill([prompts[index] for index in indexes])
        after_prompt = logits.log_softmax(-1)[:, None].expand(-1, len(choices), -1).flatten(0, 1)
        tokens, real = padded.repeat(len(indexes), 1), seen.repeat(len(indexes), 1)
        found = after_prompt.gather(1, tokens[:, :1])
        if longest > 1:
            batch.repeat(len(choices))
            rest = _after(batch, tokens[:, :-1], real[:, :-1]).gather(2, tokens[:, 1:, None])[..., 0]
            found = torch.cat([found, rest * real[:, 1:]], dim=1)
        yield from zip(indexes, found.sum(-1).view(len(indexes), -1).tolist(), strict=True)


def batches(engine: Engine, prompts: Sequence[list[int]], extra: int = 0) -> Iterator[list[int]]:
    """Indexes of prompts of similar length, longest first, so that what does not fit memory fails at once."""
    budget = TOKENS_PER_BATCH.get(engine.device.name, DEFAULT_TOKENS_PER_BATCH)
    shared = common_prefix(prompts) if len(prompts) > 1 else 0
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


def choose(logits: torch.Tensor, options: Options, generator: torch.Generator) -> torch.Tensor:
    """One token for each row."""
    if options.temperature == 0:
        return logits.argmax(-1)
    probabilities = (logits / options.temperature).softmax(-1)
    if options.top_p < 1:
        ordered, order = probabilities.sort(descending=True)
        beyond = ordered.cumsum(-1) - ordered >= options.top_p
        beyond[:, 0] = False  # something must remain, also at top_p 0
        probabilities = torch.zeros_like(probabilities).scatter(1, order, ordered.masked_fill(beyond, 0.0))
    return torch.multinomial(probabilities, 1, generator=generator)[:, 0]


def _advance(engine: Engine, row: _Row, token: int, options: Options, limit: int, on_delta: OnDelta | None) -> None:
    if token in engine.end_tokens:
        row.finish_reason = "stop"
    else:
        row.tokens.append(token)
        if len(row.tokens) >= limit:
            row.finish_reason = "length"
    if row.finish_reason or options.stop or on_delta:
        row.text = engine.tokenizer.decode(row.tokens, skip_special_tokens=True)
        at = min((where for stop in options.stop if (where := row.text.find(stop)) >= 0), default=-1)
        if at >= 0:
            row.text, row.finish_reason = row.text[:at], "stop"
    if on_delta is not None:
        ready = len(row.text) if row.finish_reason else _settled(row.text, options.stop)
        if ready > row.emitted:
            on_delta(row.index, row.text[row.emitted : ready])
            row.emitted = ready


def _settled(text: str, stops: Sequence[str]) -> int:
    """How much of a growing text will not change: no half character, nothing that may become a stop string."""
    end = len(text.rstrip("\ufffd"))
    for stop in stops:
        for size in range(min(len(stop) - 1, end), 0, -1):
            if text[:end].endswith(stop[:size]):
                end -= size
                break
    return end


def _finished(row: _Row) -> Answer:
    assert row.finish_reason is not None
    return Answer(row.index, row.text, row.finish_reason, len(row.prompt), len(row.tokens))


def _room(engine: Engine, prompt: list[int], wanted: int) -> int:
    if engine.context_length is None:
        return wanted
    room = engine.context_length - len(prompt)
    if room < 1:
        raise ConfigError(
            f"the prompt has {len(prompt):,} tokens and the model reads {engine.context_length:,}; shorten it"
        )
    return min(wanted, room)


def _after(batch: Batch, tokens: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    return batch.append(tokens, seen).log_softmax(-1)
