"""Checks what the Anthropic emulator was asked and what it answered against the types of the vendor's own SDK."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, get_type_hints

from anthropic.types import (
    Message,
    MessageTokensCount,
    ModelInfo,
    RawMessageStreamEvent,
    message_count_tokens_params,
    message_create_params,
)
from anthropic.types.messages import MessageBatch, MessageBatchIndividualResponse, batch_create_params
from anthropic.types.shared import ErrorResponse
from pydantic import TypeAdapter, ValidationError

from tuneport.testing.emulators.faults import EmulatorExchange

SAMPLING = {"temperature", "top_p", "top_k"}
"""Which older models take, and the SDK has no names for."""
MESSAGE = message_create_params.MessageCreateParamsNonStreaming | message_create_params.MessageCreateParamsStreaming
TYPES: dict[tuple[str, str], tuple[Any, Any]] = {
    ("POST", "/v1/messages"): (MESSAGE, Message),
    ("POST", "/v1/messages/count_tokens"): (message_count_tokens_params.MessageCountTokensParams, MessageTokensCount),
    ("POST", "/v1/messages/batches"): (batch_create_params.BatchCreateParams, MessageBatch),
    ("GET", "/v1/models"): (None, list[ModelInfo]),
    ("GET", "/v1/messages/batches"): (None, list[MessageBatch]),
    ("GET", "/v1/messages/batches/{}"): (None, MessageBatch),
    ("POST", "/v1/messages/batches/{}/cancel"): (None, MessageBatch),
    ("GET", "/v1/messages/batches/{}/results"): (None, [MessageBatchIndividualResponse]),
}
"""The types of a request and of its answer; in brackets: of each of its lines."""


def sdk_complaints(log: Iterable[EmulatorExchange]) -> list[str]:
    """What the types do not allow, of all exchanges that were not made to go wrong."""
    return [f"{item.method} {item.path}: {told}" for item in log if item.fault is None for told in _complaints(item)]


def _complaints(item: EmulatorExchange) -> Iterator[str]:
    parts = item.path.split("/")
    parts[4:5] = ["{}" for part in parts[4:5]]
    asked, answered = TYPES[item.method, "/".join(parts)]
    if asked is not None:
        yield from _unknown(item.request_json(), asked)
        if item.status == 200:  # what was refused may be wrong
            yield from _wrong(asked, item.request_json())
    if item.status != 200:
        yield from _wrong(ErrorResponse, item.json())
    elif "event-stream" in item.response_headers.get("content-type", ""):
        for line in item.response_body.decode().splitlines():
            if line.startswith("data: ") and '"type": "ping"' not in line:
                yield from _wrong(RawMessageStreamEvent, json.loads(line.removeprefix("data: ")))
    elif isinstance(answered, list):
        for line in item.response_body.splitlines():
            yield from _wrong(answered[0], json.loads(line))
    else:
        told = item.json()
        yield from _wrong(answered, told["data"] if "data" in told else told)


def _unknown(given: dict[str, Any], kind: Any) -> Iterator[str]:
    """Names that the SDK's signature does not have: a TypedDict lets them pass."""
    kinds = getattr(kind, "__args__", None) or (kind,)
    known = {name for each in kinds for name in get_type_hints(each)} | SAMPLING
    yield from (f"{name} is no field of the request" for name in given if name not in known)
    for each in given.get("requests", ()):
        yield from _unknown(each["params"], MESSAGE)


def _wrong(kind: Any, value: Any) -> Iterator[str]:
    adapter = TypeAdapter(kind)  # which has to live while iterators of its making are read
    try:
        _exhaust(adapter.validate_python(value))
    except ValidationError as error:
        yield f"{error.error_count()} problems: {error.errors(include_url=False, include_input=False)[:2]}"


def _exhaust(value: Any) -> None:
    """Go through whatever is only looked at when it is taken: pydantic checks an Iterable's items late."""
    if isinstance(value, dict):
        value = value.values()
    if isinstance(value, Iterable) and not isinstance(value, str | bytes) and not hasattr(value, "model_dump"):
        for item in value:
            _exhaust(item)
