"""Answers of the Messages API, whole or as a stream, in the words of OpenAI's that tuneport's types have.

Input tokens are all that were read: those that were new, those written to the cache, and those read from it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Generator
from contextlib import AbstractContextManager
from typing import Any

from tuneport.backends.hosted.chat import parse_provider_completion
from tuneport.backends.hosted.provider_errors import ProviderConnection
from tuneport.backends.secrets import redact_backend_secrets
from tuneport.backends.streaming import Chunk, ChunkStream, abort_provider_response
from tuneport.errors import UnavailableError
from tuneport.types import Completion

FINISH_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
_COUNTS = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens")


def parse_claude_message(model: str, answer: dict[str, Any]) -> Completion:
    """Return a message, as the SDK's `to_dict` gives it. Raises ValueError for a reason to stop that is not known."""
    calls = [
        {
            "id": block["id"],
            "type": "function",
            "function": {"name": block["name"], "arguments": json.dumps(block["input"], ensure_ascii=False)},
        }
        for block in answer["content"]
        if block["type"] == "tool_use"
    ]
    said = "".join(block["text"] for block in answer["content"] if block["type"] == "text")
    message = {"role": "assistant", "content": said, "refusal": None} | ({"tool_calls": calls} if calls else {})
    choice = {
        "index": 0,
        "message": message,
        "finish_reason": claude_finish_reason(answer["stop_reason"]),
        "logprobs": None,
    }
    document = {"id": answer["id"], "object": "chat.completion", "created": int(time.time()), "model": answer["model"]}
    usage = claude_token_usage(answer["usage"])
    return parse_provider_completion(model, document | {"choices": [choice], "usage": usage})


def claude_finish_reason(reason: Any) -> str:
    if reason not in FINISH_REASONS:
        raise ValueError(f"the answer ends for a reason that is not known: {reason!r}")
    return FINISH_REASONS[reason]


def claude_token_usage(usage: dict[str, Any]) -> dict[str, Any]:
    fresh, written, read, output = (usage.get(name) or 0 for name in _COUNTS)
    thought = (usage.get("output_tokens_details") or {}).get("thinking_tokens") or 0
    prompt = fresh + written + read
    return {
        "prompt_tokens": prompt,
        "completion_tokens": output,
        "total_tokens": prompt + output,
        "prompt_tokens_details": {"cached_tokens": read, "cache_write_tokens": written},
        "completion_tokens_details": {"reasoning_tokens": thought},
    }


def stream_claude_message(
    answer: Any, upstream: ProviderConnection, translating: AbstractContextManager[None]
) -> ChunkStream:
    """Return the SDK's stream of events as chunks, without our keys. Raises UnavailableError if it ends before the
    message does."""
    return ChunkStream(_read(answer, upstream, translating), lambda: abort_provider_response(answer.response))


def _read(answer: Any, upstream: ProviderConnection, translating: AbstractContextManager[None]) -> Generator[Chunk]:
    events = _MessageEvents()
    try:
        with translating:
            for event in answer:
                told = redact_backend_secrets(event.to_dict(mode="json", warnings=False), upstream.secret_pattern)
                if (chunk := events.read(told)) is not None:
                    yield chunk
    except (ValueError, TypeError, AttributeError, LookupError) as error:
        raise upstream.translate_error(error) from None
    finally:
        answer.close()
    if not events.ended:
        raise UnavailableError(
            f"{upstream.provider} at {upstream.redacted_url} ended its stream before the answer was complete; "
            "ask again",
            provider=upstream.provider,
        )


class _MessageEvents:
    """Reads the events of one message. `calls` are the blocks that call tools, in their order."""

    def __init__(self) -> None:
        self.ended = False
        self._head: dict[str, Any] = {}
        self._usage: dict[str, Any] = {}
        self._calls: list[int] = []

    def read(self, event: dict[str, Any]) -> Chunk | None:
        """Return the chunk that the event is, or None: thoughts and the ends of blocks say nothing."""
        match event["type"]:
            case "message_start":
                message = event["message"]
                self._usage = message["usage"]
                self._head = {"id": message["id"], "model": message["model"]}
                return self._chunk({"role": "assistant", "content": ""})
            case "content_block_start" if event["content_block"]["type"] == "tool_use":
                block = event["content_block"]
                self._calls.append(event["index"])
                function = {"name": block["name"], "arguments": ""}
                return self._call(event, {"id": block["id"], "type": "function", "function": function})
            case "content_block_delta" if event["delta"]["type"] == "text_delta":
                return self._chunk({"content": event["delta"]["text"]})
            case "content_block_delta" if event["delta"]["type"] == "input_json_delta":
                return self._call(event, {"function": {"arguments": event["delta"]["partial_json"]}})
            case "message_delta":
                known = {name: count for name, count in event["usage"].items() if count is not None}
                self._usage = self._usage | known
                return self._chunk(
                    {}, claude_finish_reason(event["delta"]["stop_reason"]), claude_token_usage(self._usage)
                )
            case "message_stop":
                self.ended = True
        return None

    def _call(self, event: dict[str, Any], part: dict[str, Any]) -> Chunk | None:
        if event["index"] not in self._calls:
            return None  # the input of a tool that the provider runs itself
        return self._chunk({"tool_calls": [{"index": self._calls.index(event["index"]), **part}]})

    def _chunk(self, delta: dict[str, Any], reason: str | None = None, usage: dict[str, Any] | None = None) -> Chunk:
        choice = {"index": 0, "delta": delta, "finish_reason": reason, "logprobs": None}
        return Chunk([choice], usage, self._head)
