"""Streamed chats: chunks of text that carry the other fields of the stream."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")


class Chunk(str):
    """The next part of an answer. As a string it is the new text of the first choice, "" if there is none, so that all
    chunks joined are its text.

    `choices` are those that continue, with the fields of OpenAI's chunks: `index`, `delta` (`content`, `tool_calls` by
    their `index`, with fragments of `arguments` ...), `finish_reason`, which is None until the choice ends, and
    `logprobs`. `usage` counts the tokens of the whole answer, in the last piece of a stream that knows them. `more` is
    what else a provider said of the answer (`service_tier`, `system_fingerprint` ...).
    """

    choices: Sequence[dict[str, Any]]
    usage: dict[str, Any] | None
    more: dict[str, Any]

    def __new__(
        cls,
        choices: Sequence[dict[str, Any]] = (),
        usage: dict[str, Any] | None = None,
        more: dict[str, Any] | None = None,
    ) -> Chunk:
        first = [choice["delta"].get("content") or "" for choice in choices if choice["index"] == 0]
        piece = super().__new__(cls, "".join(first))
        piece.choices, piece.usage, piece.more = choices, usage, more or {}
        return piece

    @classmethod
    def from_openai(cls, chunk: Mapping[str, Any]) -> Chunk:
        """Return a provider's chunk with its missing fields filled in. Raises ValueError if it is not a chunk."""
        choices = []
        for place, choice in enumerate(chunk.get("choices") or ()):
            if not isinstance(choice, dict) or not isinstance(choice.get("delta") or {}, dict):
                raise ValueError("a choice of the stream is not an object")
            defaults = {"index": place, "finish_reason": None, "logprobs": None}
            choices.append(defaults | choice | {"delta": choice.get("delta") or {}})
        usage = chunk.get("usage")
        more = {name: value for name, value in chunk.items() if name not in ("choices", "usage") and value is not None}
        return cls(choices, usage if isinstance(usage, dict) else None, more)

    @classmethod
    def from_delta(cls, finish_reason: str | None = None, usage: dict[str, Any] | None = None, **delta: Any) -> Chunk:
        """Return a chunk with the new part of the only choice."""
        return cls([{"index": 0, "delta": delta, "finish_reason": finish_reason, "logprobs": None}], usage)


class ClosableStream(Iterator[T]):
    """A stream that can be ended: `close` may be called from any thread, also while another one waits for
    the next, which then is the end. A stream that is dropped is closed.

    `wake` makes `next(source)` return or raise soon if it waits in another thread.
    """

    def __init__(self, source: Generator[T], wake: Callable[[], object]) -> None:
        self._source, self._wake = source, wake
        self._closed = False
        self._waiting = threading.Lock()

    def __next__(self) -> T:
        with self._waiting:
            if self._closed:
                raise StopIteration
            try:
                return next(self._source)
            except Exception:
                if self._closed:  # of what was hung up on purpose nothing is told
                    raise StopIteration from None
                raise
            finally:
                if self._closed:
                    self._source.close()

    def close(self) -> None:
        self._closed = True
        if not self._waiting.acquire(blocking=False):
            self._wake()
            return
        try:
            self._source.close()
        finally:
            self._waiting.release()

    def __del__(self) -> None:
        with suppress(Exception):
            self.close()


ChunkStream = ClosableStream[Chunk]


def abort_provider_response(response: Any) -> None:
    """End an HTTP response that a thread is reading: closing it from another thread would leave that one waiting."""
    if response.is_closed:
        return  # its connection may serve another request by now
    stream = response.extensions.get("network_stream")
    connection = None if stream is None else stream.get_extra_info("socket")
    if isinstance(connection, socket.socket):
        with suppress(OSError):
            # Not the method of a TLS socket, which drops the state that the reading thread uses.
            socket.socket.shutdown(connection, socket.SHUT_RDWR)


def openai_token_usage(prompt_tokens: int | None, completion_tokens: int | None) -> dict[str, int] | None:
    """Return the counts as OpenAI's `usage`, or None if one is not known."""
    if prompt_tokens is None or completion_tokens is None:
        return None
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }
