"""An emulator of Anthropic's Messages API: messages, streams, counts of tokens, models; batches are in `batches`.

Source: the types and the client of the `anthropic` package 2.14. Answers are `base answer`, unless `answer` says
otherwise; token counts are a deterministic approximation, the same in the count and the bill.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tuneport.testing.emulators.anthropic.batches import EmulatedMessageBatches, emulated_page
from tuneport.testing.emulators.anthropic.messages import (
    COUNTED,
    EmulatedMessageRefusal,
    count_emulated_input,
    count_emulated_output,
    emulated_answer_blocks,
    emulated_cached_prefixes,
    emulated_last_text,
    emulated_message_events,
    refuse_emulated_message,
)
from tuneport.testing.emulators.server import JSON, emulated_route
from tuneport.testing.emulators.wire import EmulatedApiError, EmulatedRequest, EmulatedResponse

MODELS: dict[str, dict[str, Any]] = {
    "claude-sonnet-5-5": {"name": "Claude Sonnet 5.5", "sampling": False, "forced_tools": False, "cache_from": 512,
                          "retires": None},
    "claude-haiku-4-5": {"name": "Claude Haiku 4.5", "sampling": True, "forced_tools": True, "cache_from": 4096,
                         "retires": None},
    "claude-sonnet-4-6": {"name": "Claude Sonnet 4.6", "sampling": True, "forced_tools": True, "cache_from": 2048,
                          "retires": None},
    "claude-sonnet-4-5": {"name": "Claude Sonnet 4.5", "sampling": True, "forced_tools": True, "cache_from": 1024,
                          "retires": "2026-11-30T00:00:00Z"},
}  # fmt: skip
ERROR_TYPES = {
    400: "invalid_request_error", 401: "authentication_error", 402: "billing_error", 403: "permission_error",
    404: "not_found_error", 413: "invalid_request_error", 429: "rate_limit_error", 504: "timeout_error",
    529: "overloaded_error",
}  # fmt: skip


class AnthropicEmulator(EmulatedMessageBatches):
    name, default_key = "anthropic", "sk-ant-test"

    def __init__(self, *, answer: Callable[[str], str | None] = lambda asked: None, **options: Any):
        super().__init__(**options)
        self.answer = answer  # from the text of the last turn to that of the answer; None: the usual one
        self.models = dict(MODELS)
        self.answered = 0  # messages that were answered, in batches too: what would have been billed
        self._cache: set[str] = set()

    def error(self, status: int, message: str, *, code: str | None = None, param: str | None = None,
              type: str = "") -> EmulatedApiError:  # fmt: skip
        return EmulatedApiError(status, self.envelope(ERROR_TYPES.get(status, "api_error"), message))

    def envelope(self, type: str, message: str) -> dict[str, Any]:
        return {"type": "error", "error": {"type": type, "message": message}, "request_id": self.new_id("req_")}

    def refuse_key(self, given: str | None) -> EmulatedApiError:
        return self.error(401, "invalid x-api-key" if given else "x-api-key header is required")

    def _known(self, given: dict[str, Any]) -> None:
        if "model" in given and given["model"] not in self.models:
            raise self.error(404, f"model: {given['model']}")

    @emulated_route("POST", "/messages", body=JSON)
    def create_message(self, request: EmulatedRequest) -> dict[str, Any] | EmulatedResponse:
        given = request.json()
        self._known(given)
        try:
            refuse_emulated_message(given, self.models)
        except EmulatedMessageRefusal as error:
            raise self.error(400, str(error)) from None
        message = self.message(given)
        if not given.get("stream"):
            return message
        events = [
            f"event: {name}\ndata: {json.dumps({'type': name, **told}, ensure_ascii=False)}\n\n".encode()
            for name, told in emulated_message_events(message)
        ]
        return EmulatedResponse(headers={"content-type": "text/event-stream"}, events=events)

    def message(self, given: dict[str, Any], tier: str = "standard") -> dict[str, Any]:
        """Return the message that answers a request which is not refused."""
        self.answered += 1
        number = self.new_id("", 24)
        blocks, reason, stop = emulated_answer_blocks(given, self.answer(emulated_last_text(given)), number)
        read, written = self._kept(given)
        usage = {
            "input_tokens": count_emulated_input(given) - read - written, "cache_creation_input_tokens": written,
            "cache_read_input_tokens": read, "output_tokens": count_emulated_output(blocks), "service_tier": tier,
        }  # fmt: skip
        return {
            "id": f"msg_{number}", "type": "message", "role": "assistant", "model": given["model"], "content": blocks,
            "stop_reason": reason, "stop_sequence": stop, "usage": usage,
        }  # fmt: skip

    def _kept(self, given: dict[str, Any]) -> tuple[int, int]:
        """Return the tokens that are read from the cache, and those that are written to it now."""
        least = self.models[given["model"]]["cache_from"]
        read = longest = 0
        for prefix, tokens in emulated_cached_prefixes(given):
            if tokens < least:
                continue
            if prefix in self._cache:
                read = tokens
            longest = tokens
            self._cache.add(prefix)
        return read, longest - read

    @emulated_route("POST", "/messages/count_tokens", body=JSON)
    def count_tokens(self, request: EmulatedRequest) -> dict[str, Any]:
        given = request.json()
        self._known(given)
        try:
            refuse_emulated_message(given, self.models, COUNTED)
        except EmulatedMessageRefusal as error:
            raise self.error(400, str(error)) from None
        return {"input_tokens": count_emulated_input(given)}

    @emulated_route("GET", "/models", query=("after_id", "before_id", "limit"))
    def list_models(self, request: EmulatedRequest) -> dict[str, Any]:
        return emulated_page(request, [self._model(id) for id in self.models])

    @emulated_route("GET", "/models/{id}")
    def retrieve_model(self, request: EmulatedRequest, id: str) -> dict[str, Any]:
        if id not in self.models:
            raise self.error(404, f"model: {id}")
        return self._model(id)

    def _model(self, id: str) -> dict[str, Any]:
        facts = self.models[id]
        return {
            "type": "model", "id": id, "display_name": facts["name"], "created_at": "2026-01-01T00:00:00Z",
            "lifecycle": "active" if facts["retires"] is None else "deprecated", "retires_at": facts["retires"],
        }  # fmt: skip
