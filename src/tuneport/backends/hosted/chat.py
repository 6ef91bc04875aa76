"""A chat of a vendor's SDK, whole or as a stream of chunks, in our types."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import AbstractContextManager
from typing import Any

from tuneport.backends.hosted.provider_errors import ProviderConnection
from tuneport.backends.secrets import redact_backend_secrets
from tuneport.backends.streaming import Chunk, ChunkStream, abort_provider_response
from tuneport.client_rules import Rule, client_number_rule, client_whole_number_rule
from tuneport.errors import RejectedError, UnavailableError
from tuneport.types import Completion

CLIENT_RULES: dict[str, Rule] = {
    "top_k": client_whole_number_rule(-1, 1_000_000),
    "min_p": client_number_rule(0, 1),
    "repetition_penalty": client_number_rule(0, 10, above=True),
}
"""Numbers of sampling that OpenAI's document does not have and servers of its wire format take."""


def parse_provider_completion(model: str, answer: dict[str, Any]) -> Completion:
    choice = answer["choices"][0]
    message = choice["message"]
    usage = answer.get("usage") or {}
    return Completion(
        text=message.get("content") or "",
        model=answer.get("model") or model,
        finish_reason=choice.get("finish_reason"),
        prompt_tokens=usage.get("prompt_tokens"),
        completion_tokens=usage.get("completion_tokens"),
        tool_calls=message.get("tool_calls") or [],
        document=answer,
    )


def stream_provider_chunks(
    answer: Any, upstream: ProviderConnection, translating: AbstractContextManager[None]
) -> ChunkStream:
    """Return the SDK's stream as chunks, without our keys. Raises UnavailableError if it ends before the answer
    does."""
    return ChunkStream(_read(answer, upstream, translating), lambda: abort_provider_response(answer.response))


def _read(answer: Any, upstream: ProviderConnection, translating: AbstractContextManager[None]) -> Generator[Chunk]:
    begun, ended = set(), set()
    try:
        with translating:
            for chunk in answer:
                piece = Chunk.from_openai(
                    redact_backend_secrets(chunk.to_dict(mode="json", warnings=False), upstream.secret_pattern)
                )
                begun |= {choice["index"] for choice in piece.choices}
                ended |= {choice["index"] for choice in piece.choices if choice["finish_reason"] is not None}
                yield piece
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise upstream.translate_error(error) from None
    finally:
        answer.close()
    if not begun or begun - ended:
        raise UnavailableError(
            f"{upstream.provider} at {upstream.redacted_url} ended its stream before the answer was complete; "
            "ask again",
            provider=upstream.provider,
        )


def parse_provider_stream_error(error: Exception, upstream: ProviderConnection) -> UnavailableError | None:
    """Return the error that a provider sent in the middle of a stream, with its own code, or None if `error` is
    another."""
    body, response = getattr(error, "body", None), getattr(error, "response", None)
    if not isinstance(body, dict) or (response is not None and response.status_code >= 300):
        return None
    told = body["error"] if isinstance(body.get("error"), dict) else body
    code = told.get("code", told.get("type"))
    return UnavailableError(
        f"{upstream.provider} ended its answer early: {upstream.redact(str(told.get('message') or error))}",
        provider=upstream.provider,
        code=code if isinstance(code, str) else None,
    )


def provider_rejects_stream_options(error: RejectedError) -> bool:
    """Return whether a server rejects `stream_options`, which asks for token counts."""
    return "stream_options" in str(error)
