"""Streamed answers of a backend as OpenAI's chunks, sent as they arrive."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from anyio import CapacityLimiter, to_thread
from fastapi import Request

from tuneport.backends.streaming import Chunk, ClosableStream
from tuneport.errors import TuneportError
from tuneport.serve.http.errors import gateway_refusal_for_error
from tuneport.serve.openai.chat_answers import ChatAnswerHead, gateway_finish_reason
from tuneport.serve.wire.chat import StreamOptions

_PASSED_ON = ("service_tier", "system_fingerprint", "moderation", "obfuscation")
"""Further fields of a provider's chunk that the client gets."""
_MAY_BE_NULL = ("content", "refusal")

Count = Callable[[Mapping[str, Any]], None]


def stream_gateway_chat_events(
    head: ChatAnswerHead, pieces: Iterator[str], asked: StreamOptions, count: Count
) -> ClosableStream[str]:
    """Return the events of an answer. The first event raises TuneportError if the backend refuses.

    `count` is called once with the usage, however an answer ends that has begun; the usage is empty if it is not
    known.
    """
    return ClosableStream(
        _ChatStreamChunks(head, asked).events(pieces, count), lambda: close_gateway_chat_answer(pieces)
    )


async def wait_for_first_gateway_event(stream: ClosableStream[str], request: Request, seats: CapacityLimiter) -> str:
    """Wait for the first event, before a status is sent. A client that goes away meanwhile ends the answer."""

    async def watch() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        stream.close()

    watching = asyncio.create_task(watch())
    try:
        return await to_thread.run_sync(next, stream, "", limiter=seats)
    finally:
        watching.cancel()


async def send_gateway_chat_events(
    stream: ClosableStream[str], seats: CapacityLimiter, first: str = ""
) -> AsyncIterator[str]:
    """Yield the events to the client. If the client goes away, this is cancelled, and the answer is ended at the
    backend."""
    try:
        if first:
            yield first
        # Cancelled at once: the thread that waits for the next event is woken by `close`.
        waiting = partial(to_thread.run_sync, next, stream, None, limiter=seats, abandon_on_cancel=True)
        while (event := await waiting()) is not None:
            yield event
    finally:
        stream.close()


def close_gateway_chat_answer(pieces: Iterator[str]) -> None:
    """End an answer. A backend's own kind of iterator may have no `close`, or none while it is waited for."""
    with suppress(AttributeError, ValueError):
        pieces.close()  # type: ignore[attr-defined]


class _ChatStreamChunks:
    """The chunks of one answer, and what is known of it so far."""

    def __init__(self, head: ChatAnswerHead, asked: StreamOptions) -> None:
        self._head = head
        self._counting = asked.include_usage
        self._padded = asked.include_obfuscation or "include_obfuscation" not in asked.model_fields_set
        self._usage: dict[str, Any] | None = None
        self._told_with_usage: dict[str, Any] = {}
        self._calling: dict[int, bool] = {}  # the choices that have begun, and whether they call tools
        self._ended: set[int] = set()

    def events(self, pieces: Iterator[str], count: Count) -> Generator[str]:
        """Yield the events. A stream that breaks off ends with an error in place of `[DONE]`, which clients raise."""
        begun = refused = False
        try:
            for piece in pieces:
                for chunk in self._of(piece if isinstance(piece, Chunk) else Chunk.from_delta(content=piece)):
                    begun = True
                    yield chunk
            yield from self._last()
            yield "data: [DONE]\n\n"
        except TuneportError as error:
            if not begun:
                refused = True
                raise
            yield _event(gateway_refusal_for_error(error).body())
        finally:
            close_gateway_chat_answer(pieces)
            if not refused:
                count(self._usage or {})

    def _of(self, piece: Chunk) -> Iterator[str]:
        more = {name: piece.more[name] for name in _PASSED_ON if name in piece.more}
        if not self._padded:
            more.pop("obfuscation", None)
        if piece.usage:
            self._usage, self._told_with_usage = piece.usage, more
        for choice in piece.choices:
            if choice["index"] not in self._calling and choice["delta"].get("role") is None:
                yield self._chunk([_choice(choice["index"], {"role": "assistant", "content": ""})], more)
                self._calling[choice["index"]] = False
        choices = [self._next(choice) for choice in piece.choices]
        if choices or "moderation" in more:
            yield self._chunk(choices, more)

    def _next(self, choice: dict[str, Any]) -> dict[str, Any]:
        """Return a choice of a provider's chunk in OpenAI's format: its role once, and only the nulls that OpenAI
        sends."""
        index, delta = choice["index"], choice["delta"]
        delta = {name: value for name, value in delta.items() if value is not None or name in _MAY_BE_NULL}
        if index in self._calling:
            delta.pop("role", None)
        if calls := delta.pop("tool_calls", None):
            delta["tool_calls"] = [_without_nulls(call) for call in calls]
        self._calling[index] = self._calling.get(index, False) or bool(calls)
        reason = choice["finish_reason"]
        if reason is not None:
            self._ended.add(index)
            reason = gateway_finish_reason(reason, calls=self._calling[index])
        return _choice(index, delta, reason, choice["logprobs"])

    def _last(self) -> Iterator[str]:
        """Yield the end, if the provider sent none, and the counts, if they are requested and known."""
        for index in sorted((self._calling.keys() or {0}) - self._ended):
            if index not in self._calling:  # the stream was empty
                yield self._chunk([_choice(index, {"role": "assistant", "content": ""})])
            reason = gateway_finish_reason(None, calls=self._calling.get(index, False))
            yield self._chunk([_choice(index, {}, reason)])
        if self._counting and self._usage is not None:
            counts = {"usage": _without_nulls(self._usage)}
            yield _event(self._head.document("chat.completion.chunk", [], **self._told_with_usage, **counts))

    def _chunk(self, choices: list[dict[str, Any]], more: dict[str, Any] | None = None) -> str:
        counts = {"usage": None} if self._counting else {}
        return _event(self._head.document("chat.completion.chunk", choices, **(more or {}), **counts))


def _choice(index: int, delta: dict[str, Any], reason: str | None = None, logprobs: Any = None) -> dict[str, Any]:
    return {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": reason}


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(inner) for name, inner in value.items() if inner is not None}
    return value


def _event(document: dict[str, Any]) -> str:
    return f"data: {json.dumps(document, ensure_ascii=False)}\n\n"
