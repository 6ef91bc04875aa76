"""The engine's work: requests, and a row for each of their prompts."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence

import torch

from tuneport.errors import ConfigError
from tuneport.infer.engine import InferenceEngine
from tuneport.infer.incremental_detokenizer import IncrementalDetokenizer
from tuneport.infer.sampling import SamplingOptions, make_sampling_generator
from tuneport.infer_protocol import GeneratedAnswer


class GenerationRequest:
    """Prompts that share an adapter and options. The callbacks are called between decoding steps, in the thread that
    calls `DecodingScheduler.step`: `on_answer` for each prompt, `on_delta` with its index and new text, `on_end` once,
    with the error if there is one.

    ConfigError for a prompt that leaves no room in the model's context or holds a token that the model does not know.
    """

    def __init__(
        self,
        engine: InferenceEngine,
        prompts: Sequence[list[int]],
        adapter: str | None,
        options: SamplingOptions,
        *,
        on_answer: Callable[[GeneratedAnswer], None],
        on_end: Callable[[Exception | None], None],
        on_delta: Callable[[int, str], None] | None = None,
    ) -> None:
        if not engine.has_adapter(adapter):
            raise ConfigError(f"no adapter {adapter} is loaded; send load_adapter first")
        self.adapter, self.options = adapter, options
        self.on_answer, self.on_end, self.on_delta = on_answer, on_end, on_delta
        self.arrived = time.monotonic()
        self.ended = False
        rows = [
            GenerationRow(self, index, prompt, _room(engine, prompt, options), engine)
            for index, prompt in enumerate(prompts)
        ]
        # Longest first: rows that are read together waste least, and what does not fit memory fails at once.
        self.waiting = deque(sorted(rows, key=lambda row: -len(row.prompt)))
        self.running = 0
        self.unfinished = len(rows)

    def end(self, error: Exception | None) -> None:
        if not self.ended:
            self.ended = True
            self.waiting.clear()
            self.on_end(error)


class GenerationRow:
    """One prompt and the answer to it as far as it is written."""

    def __init__(
        self, request: GenerationRequest, index: int, prompt: list[int], limit: int, engine: InferenceEngine
    ) -> None:
        self.request, self.index, self.prompt, self.limit = request, index, prompt, limit
        self.options = request.options
        self.generator: torch.Generator | None = make_sampling_generator(request.options, engine.input_device)
        self.tokens: list[int] = []
        self.text = IncrementalDetokenizer(engine.tokenizer, request.options.stop)
        self.finish_reason: str | None = None
        self._first_token_at: float | None = None

    @property
    def ids(self) -> list[int]:
        """Return all tokens that the model must have read before the next one."""
        return self.prompt + self.tokens

    @property
    def max_length(self) -> int:
        """Return how long the row may become."""
        return len(self.prompt) + self.limit

    def add_token(self, token: int, end_tokens: set[int]) -> None:
        """Add the chosen token; `finish_reason` is set if it is the last."""
        if self._first_token_at is None:
            self._first_token_at = time.monotonic()
        if token in end_tokens:
            self.finish_reason = "stop"
        else:
            self.tokens.append(token)
            self.text.add_token(token)
            if self.text.stopped:
                self.finish_reason = "stop"
            elif len(self.tokens) >= self.limit:
                self.finish_reason = "length"
        if self.finish_reason is not None:
            self.text.finish()
            if self.text.stopped:
                self.finish_reason = "stop"
        if self.request.on_delta is not None:
            piece = self.text.take_new_text(final=self.finish_reason is not None)
            if piece:
                self.request.on_delta(self.index, piece)

    def answer(self) -> GeneratedAnswer:
        assert self.finish_reason is not None and self._first_token_at is not None
        arrived = self.request.arrived
        return GeneratedAnswer(
            index=self.index,
            text=self.text.text,
            finish_reason=self.finish_reason,
            prompt_tokens=len(self.prompt),
            completion_tokens=len(self.tokens),
            seconds_to_first_token=self._first_token_at - arrived,
            seconds=time.monotonic() - arrived,
        )


def _room(engine: InferenceEngine, prompt: list[int], options: SamplingOptions) -> int:
    if max(prompt) >= engine.vocabulary:
        raise ConfigError(
            f"the tokenizer writes token {max(prompt)} and the model knows {engine.vocabulary:,}: they belong to "
            "different models; put the model's own tokenizer into its folder"
        )
    if engine.context_length is None:
        return options.max_tokens
    room = engine.context_length - len(prompt)
    if room < 1:
        raise ConfigError(
            f"the prompt has {len(prompt):,} tokens and the model reads {engine.context_length:,}; shorten it"
        )
    return min(options.max_tokens, room)
