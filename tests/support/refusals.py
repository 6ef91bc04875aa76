"""What of a gateway's refusals is none of OpenAI's: whatever route, status and reason, one shape, and a status that the
gateway's own document declares."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import ValidationError

from tuneport.serve.http.openapi import ERRORS
from tuneport.serve.wire.chat_answer import ErrorResponse
from tuneport.testing.emulators.faults import EmulatorExchange

APIS = ("/v1/", "/tuneport/v1/")


def complaints(exchanges: Iterable[EmulatorExchange]) -> list[str]:
    """About every refusal of both APIs, and every one that a stream ends with."""
    return [told for exchange in exchanges if exchange.path.startswith(APIS) for told in _complaints(exchange)]


def _complaints(exchange: EmulatorExchange) -> Iterator[str]:
    place = f"{exchange.method} {exchange.path} {exchange.status}"
    kind = exchange.response_headers.get("content-type", "")
    if exchange.status is None or exchange.status < 400:
        if kind.startswith("text/event-stream"):
            for line in exchange.response_body.decode().split("\n\n"):
                if line.startswith('data: {"error"'):
                    yield from _unlike(json.loads(line[6:]), place)
        return
    if exchange.status not in ERRORS:
        yield f"{place}: a status that is not declared"
    if exchange.method == "HEAD":
        return
    if not kind.startswith("application/json"):
        yield f"{place}: {kind or 'nothing'} is no envelope"
        return
    yield from _unlike(json.loads(exchange.response_body), place)


def _unlike(body: Any, place: str) -> Iterator[str]:
    try:
        ErrorResponse.model_validate(body, strict=True)
    except ValidationError as error:
        yield f"{place}: {error}"
        return
    if set(body["error"]) != {"code", "message", "param", "type"} or not body["error"]["message"]:
        yield f"{place}: {body}"
    try:
        from tests.support.conformance import specification
    except ImportError:  # without jsonschema and PyYAML our own model alone is held against it
        return
    if (document := specification("openai")) is not None:
        for error in document.validator("components", "schemas", "ErrorResponse").iter_errors(body):
            yield f"{place}: {error.json_path}: {error.message}"
