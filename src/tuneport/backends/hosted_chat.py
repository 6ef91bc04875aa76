"""What a vendor's SDK gives for a chat, whole or as a stream of chunks, in our nouns."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import AbstractContextManager
from typing import Any

from tuneport.backends.pieces import Piece, Pieces, hang_up
from tuneport.backends.provider_errors import Upstream
from tuneport.backends.secrets import without
from tuneport.errors import RejectedError, UnavailableError
from tuneport.types import Completion


def completion_of(model: str, answer: dict[str, Any]) -> Completion:
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


def pieces_of(answer: Any, upstream: Upstream, translating: AbstractContextManager[None]) -> Pieces:
    """The SDK's stream as pieces, without our keys. UnavailableError where it ends before the answer does."""
    return Pieces(_read(answer, upstream, translating), lambda: hang_up(answer.response))


def _read(answer: Any, upstream: Upstream, translating: AbstractContextManager[None]) -> Generator[Piece]:
    begun, ended = set(), set()
    try:
        with translating:
            for chunk in answer:
                piece = Piece.of_chunk(without(chunk.to_dict(mode="json"), upstream.secrets))
                begun |= {choice["index"] for choice in piece.choices}
                ended |= {choice["index"] for choice in piece.choices if choice["finish_reason"] is not None}
                yield piece
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise upstream.translate(error) from None
    finally:
        answer.close()
    if not begun or begun - ended:
        raise UnavailableError(
            f"{upstream.provider} at {upstream.shown_url} ended its stream before the answer was complete; ask again",
            provider=upstream.provider,
        )


def told_in_stream(error: Exception, upstream: Upstream) -> UnavailableError | None:
    """The error that a provider sent in the middle of a stream, with its own code; None where `error` is no such."""
    body = getattr(error, "body", None)
    if not isinstance(body, dict) or getattr(error, "response", None) is not None:
        return None
    code = body.get("code")
    return UnavailableError(
        f"{upstream.provider} broke its answer off: {upstream.redact(str(body.get('message') or error))}",
        provider=upstream.provider,
        code=code if isinstance(code, str) else None,
    )


def refuses_counts(error: RejectedError) -> bool:
    """Whether a server says that it does not know `stream_options`, by which tokens are counted."""
    return "stream_options" in str(error)
