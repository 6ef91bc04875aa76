"""Answers to prompts that are all there, for whoever has an engine in the same process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from tuneport.infer.engine import InferenceEngine
from tuneport.infer.requests import GenerationRequest
from tuneport.infer.sampling import SamplingOptions
from tuneport.infer.scheduler import DecodingScheduler
from tuneport.infer_protocol import GeneratedAnswer


def answer(
    engine: InferenceEngine,
    prompts: Sequence[list[int]],
    options: SamplingOptions,
    on_delta: Callable[[int, str], None] | None = None,
    *,
    adapter: str | None = None,
) -> Iterator[GeneratedAnswer]:
    """Yield each answer when it is done. ConfigError for a prompt that leaves no room in the model's context."""
    done: list[GeneratedAnswer] = []
    failed: list[Exception] = []

    def on_end(error: Exception | None) -> None:
        if error is not None:
            failed.append(error)

    scheduler = DecodingScheduler(engine)
    scheduler.add(
        GenerationRequest(engine, prompts, adapter, options, on_answer=done.append, on_end=on_end, on_delta=on_delta)
    )
    while scheduler.busy:
        scheduler.step()
        yield from done
        done.clear()
    if failed:
        raise failed[0]
