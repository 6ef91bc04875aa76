"""/v1/chat/completions: a tuned or a base model's answer, whole or as it is written, from whichever backend has it."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from tuneport.backends import manifest_of
from tuneport.errors import TuneportError
from tuneport.serve.errors import Refusal, refusal_of
from tuneport.serve.gateway import Gateway
from tuneport.serve.intake import route
from tuneport.serve.models import tuned_model
from tuneport.types import Completion, JobStatus

MOST_CHATS = 64

_NO_WISH: dict[str, tuple[Any, ...]] = {
    "n": (None, 1),
    "store": (None, False),
    "logprobs": (None, False),
    "service_tier": (None, "auto", "default"),
    "modalities": (None, ["text"]),
    "parallel_tool_calls": (None, True),
}
"""Values by which a client asks for nothing: taken as if they were not there. Others go to the backend, which takes the
option or refuses it by name."""
_ABOUT_THE_CLIENT = ("user", "metadata", "safety_identifier", "prompt_cache_key")
"""Told OpenAI for its own bookkeeping; they change no answer and are passed on to nobody."""


class StreamOptions(BaseModel):
    model_config = ConfigDict(extra="forbid")
    include_usage: bool = False
    include_obfuscation: bool = False


class CreateChatCompletion(BaseModel):
    """What the gateway itself reads; all other options are the backend's to take, or to refuse by name."""

    model_config = ConfigDict(extra="allow")
    model: str = Field(min_length=1)
    messages: list[dict[str, Any]] = Field(min_length=1)
    stream: bool | None = None
    stream_options: StreamOptions | None = None


def router(gateway: Gateway) -> APIRouter:
    routes = APIRouter(prefix="/v1", tags=["Chat"])

    seats = CapacityLimiter(MOST_CHATS)

    @routes.post("/chat/completions", response_model=None)
    async def create_chat_completion(asked: CreateChatCompletion) -> JSONResponse | StreamingResponse:
        """A chat holds a thread for as long as the model writes: threads of its own, so that all else goes on."""
        if seats.available_tokens < 1:
            raise Refusal(
                429, f"{MOST_CHATS} chats are being answered; try again.", code="rate_limit_exceeded",
                kind="rate_limit_error",
            )  # fmt: skip
        answer = await to_thread.run_sync(_answer, gateway, asked, limiter=seats)
        if isinstance(answer, dict):
            return JSONResponse(answer)
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        return StreamingResponse(_one_by_one(answer, seats), media_type="text/event-stream", headers=headers)

    return routes


async def _one_by_one(events: Iterator[str], seats: CapacityLimiter) -> AsyncIterator[str]:
    while (event := await to_thread.run_sync(next, events, None, limiter=seats)) is not None:
        yield event


def _answer(gateway: Gateway, asked: CreateChatCompletion) -> dict[str, Any] | Iterator[str]:
    """The whole answer, or the events of a stream."""
    options = _options(asked)
    backend, model = _located(gateway, asked.model)
    opened = gateway.workspace.backend(backend)
    head = _Head(asked.model)
    usage = asked.stream_options is not None and asked.stream_options.include_usage
    if asked.stream and not usage and not options.get("tools"):
        pieces = opened.complete(model, asked.messages, stream=True, **options)
        assert not isinstance(pieces, Completion)
        first = next(pieces, None)  # what is refused is refused now, with a status
        return head.streamed(first, pieces)
    answer = opened.complete(model, asked.messages, **options)
    assert isinstance(answer, Completion)
    if asked.stream:  # a backend's stream is of text only, so calls and counts come when all of them are known
        return head.in_chunks(answer, usage=usage)
    return head.whole(answer)


def _options(asked: CreateChatCompletion) -> dict[str, Any]:
    given = dict(asked.model_extra or {})
    for name in _ABOUT_THE_CLIENT:
        given.pop(name, None)
    for name, values in _NO_WISH.items():
        if name in given and given[name] in values:
            del given[name]
    return {name: value for name, value in given.items() if value is not None}


def _located(gateway: Gateway, name: str) -> tuple[str, str]:
    """Backend and its own name of the model."""
    tuned = tuned_model(gateway, name)
    if tuned is None:
        return _untuned(gateway, name)
    if tuned.row.deleted_at is not None or (tuned.row.job_status is not JobStatus.SUCCEEDED and tuned.step is None):
        raise _no_model(name)
    if tuned.step is None:
        return gateway.workspace.locate(tuned.row.id)
    for checkpoint in gateway.workspace.checkpoints(tuned.row.id):
        if checkpoint.step == tuned.step:
            if checkpoint.model is None:
                raise Refusal(
                    400,
                    f"{tuned.row.backend} does not serve checkpoints; `tuneport download {tuned.row.id} --checkpoint "
                    f"{tuned.step}` fetches it.",
                    param="model",
                )
            return tuned.row.backend, checkpoint.model
    raise _no_model(name)


def _untuned(gateway: Gateway, name: str) -> tuple[str, str]:
    """A base model; or one that was tuned by the command line, or by nobody here at the provider that is chosen."""
    settings = gateway.settings
    if gateway.store.job_of_model(name) is not None:
        return gateway.workspace.locate(name)
    if name.startswith("ft:"):
        if settings.backend is None or not manifest_of(settings.backend, settings).third_party:
            raise _no_model(name)
        return gateway.workspace.locate(name, backend=settings.backend)
    where = route(name, settings)
    if where.backend is None:
        listed = ", ".join(where.able) or "none that is configured"
        raise Refusal(
            400,
            f"Which backend is to answer as {name}? It is at: {listed}. Set TUNEPORT_BACKEND, or ask BACKEND/{name}.",
            param="model",
            code="model_ambiguous",
        )
    return gateway.workspace.locate(where.model, backend=where.backend)


def _no_model(name: str) -> Refusal:
    return Refusal(
        404,
        f"The model `{name}` does not exist or you do not have access to it.",
        param="model",
        code="model_not_found",
    )


class _Head:
    """What every piece of one answer has in common."""

    def __init__(self, model: str) -> None:
        self.id, self.created, self.model = f"chatcmpl-{secrets.token_hex(15)}", int(time.time()), model

    def _document(self, kind: str, choices: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "choices": choices,
            **more,
        }

    def whole(self, answer: Completion) -> dict[str, Any]:
        message: dict[str, Any] = {
            "role": "assistant",
            "content": answer.text if answer.text or not answer.tool_calls else None,
            "refusal": None,
        }
        if answer.tool_calls:
            message["tool_calls"] = answer.tool_calls
        choice = {"index": 0, "message": message, "finish_reason": _finish(answer), "logprobs": None}
        usage = _usage(answer)
        return self._document("chat.completion", [choice], **({} if usage is None else {"usage": usage}))

    def _chunk(self, delta: dict[str, Any], finish_reason: str | None = None, **more: Any) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason, "logprobs": None}
        return _event(self._document("chat.completion.chunk", [choice], **more))

    def streamed(self, first: str | None, pieces: Iterator[str]) -> Iterator[str]:
        yield self._chunk({"role": "assistant", "content": ""})
        try:
            if first is not None:
                yield self._chunk({"content": first})
                for piece in pieces:
                    yield self._chunk({"content": piece})
        except TuneportError as error:  # too late for a status: clients read it from the stream
            yield _event(refusal_of(error).body())
            return
        yield self._chunk({}, "stop")
        yield "data: [DONE]\n\n"

    def in_chunks(self, answer: Completion, *, usage: bool) -> Iterator[str]:
        more = {"usage": None} if usage else {}
        yield self._chunk({"role": "assistant", "content": answer.text or None}, **more)
        for index, call in enumerate(answer.tool_calls):
            yield self._chunk({"tool_calls": [{"index": index, **call}]}, **more)
        yield self._chunk({}, _finish(answer), **more)
        if usage and (counted := _usage(answer)) is not None:
            yield _event(self._document("chat.completion.chunk", [], usage=counted))
        yield "data: [DONE]\n\n"


def _finish(answer: Completion) -> str:
    return "tool_calls" if answer.tool_calls else answer.finish_reason or "stop"


def _usage(answer: Completion) -> dict[str, int] | None:
    if answer.prompt_tokens is None or answer.completion_tokens is None:
        return None
    return {
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.completion_tokens,
        "total_tokens": answer.prompt_tokens + answer.completion_tokens,
    }


def _event(document: dict[str, Any]) -> str:
    return f"data: {json.dumps(document, ensure_ascii=False)}\n\n"
