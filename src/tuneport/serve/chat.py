"""/v1/chat/completions: a tuned or a base model's answer, whole or as it is written, from whichever backend has it."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any, Literal, get_args

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import ValidationError

from tuneport.backends import manifest_of
from tuneport.errors import TuneportError
from tuneport.jobs.service import locate_base_model, model_of
from tuneport.serve.description import BY_METADATA, CHAT_ANSWERS
from tuneport.serve.errors import Refusal, not_found, refusal_of
from tuneport.serve.gateway import Gateway
from tuneport.serve.intake import route
from tuneport.serve.models import tuned_model
from tuneport.serve.queries import by_metadata
from tuneport.serve.reach import is_kept_from
from tuneport.serve.wire.chat import CreateChatCompletion
from tuneport.serve.wire.chat_answer import ChatCompletion, ChatCompletionList, FinishReason
from tuneport.types import Completion, JobStatus

MOST_CHATS = 64
FINISH_REASONS = get_args(FinishReason)

_NO_WISH: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "store": (False,),
    "logprobs": (False,),
    "service_tier": ("auto", "default"),
    "modalities": (["text"],),
    "parallel_tool_calls": (True,),
    "response_format": ({"type": "text"},),
}
"""Values by which a client asks for nothing: taken as if they were not there. Others go to the backend, which takes the
option or refuses it by name."""
_WHOLE = ("tools", "functions", "n", "logprobs", "audio", "moderation", "web_search_options")
"""A backend's stream is of one answer's text: what asks for more is cut from the whole answer."""


def router(gateway: Gateway) -> APIRouter:
    routes = APIRouter(prefix="/v1", tags=["Chat"])

    seats = CapacityLimiter(MOST_CHATS)

    @routes.get("/chat/completions", response_model=ChatCompletionList, openapi_extra=BY_METADATA)
    def list_chat_completions(
        request: Request,
        model: str | None = None,
        after: str | None = None,
        limit: Annotated[int, Query(ge=1, le=100)] = 20,
        order: Literal["asc", "desc"] = "asc",
    ) -> ChatCompletionList:
        """Chats that were stored: none, since `store` is refused; so nothing is filtered or sorted, and no cursor is
        one."""
        by_metadata(request.query_params)
        if after is not None:
            raise not_found(f"No stored chat '{after}': this gateway stores none.", "after")
        return ChatCompletionList(data=[], first_id="", last_id="", has_more=False)

    @routes.post("/chat/completions", response_model=None, responses={200: CHAT_ANSWERS})
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
    messages, options = _read(asked)
    backend, model = _located(gateway, asked.model)
    opened = gateway.workspace.backend(backend)
    head = _Head(asked.model)
    usage = asked.stream_options is not None and asked.stream_options.include_usage
    if asked.stream and not usage and not any(options.get(name) for name in _WHOLE):
        pieces = gateway.endpoints.answered(
            backend, model, lambda: opened.complete(model, messages, stream=True, **options)
        )
        assert not isinstance(pieces, Completion)
        gateway.figures.chat(backend, None, None)  # a stream of text has no counts
        first = next(pieces, None)  # what is refused is refused now, with a status
        return head.streamed(first, pieces)
    answer = gateway.endpoints.answered(backend, model, lambda: opened.complete(model, messages, **options))
    assert isinstance(answer, Completion)
    gateway.figures.chat(backend, answer.prompt_tokens, answer.completion_tokens)
    if asked.stream:  # a backend's stream is of text only, so calls and counts come when all of them are known
        return head.in_chunks(answer, usage=usage)
    return head.whole(answer)


def _read(asked: CreateChatCompletion) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The messages and the options as a backend is to have them: as they came, without what says nothing."""
    if asked.store:
        raise Refusal(400, "This gateway stores no chats; leave store out.", param="store", code="unsupported")
    if asked.stream_options is not None and not asked.stream:
        raise Refusal(
            400, "The 'stream_options' parameter is only allowed when 'stream' is enabled.", param="stream_options"
        )
    given = asked.model_dump(
        mode="json", by_alias=True, exclude_none=True, exclude_unset=True, exclude={"model", "stream", "stream_options"}
    )
    for name, values in _NO_WISH.items():
        if name in given and given[name] in values:
            del given[name]
    return given.pop("messages"), given


def _located(gateway: Gateway, name: str) -> tuple[str, str]:
    """Backend and its own name of the model."""
    tuned = tuned_model(gateway, name)
    if tuned is None and is_kept_from(gateway, name):
        raise _no_model(name)
    if tuned is None:
        return _untuned(gateway, name)
    if tuned.row.deleted_at is not None or (tuned.row.job_status is not JobStatus.SUCCEEDED and tuned.step is None):
        raise _no_model(name)
    if tuned.step is None:
        return model_of(tuned.row)
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
    row = gateway.store.job_of_model(name)
    if row is not None:
        return model_of(row)
    if name.startswith("ft:"):
        if settings.backend is None or not manifest_of(settings.backend, settings).third_party:
            raise _no_model(name)
        return locate_base_model(name, settings, settings.backend)
    where = route(name, settings)
    if where.backend is None:
        listed = ", ".join(where.able) or "none that is configured"
        raise Refusal(
            400,
            f"Which backend is to answer as {name}? It is at: {listed}. Set TUNEPORT_BACKEND, or ask BACKEND/{name}.",
            param="model",
            code="model_ambiguous",
        )
    return locate_base_model(where.model, settings, where.backend)


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
        if answer.document is not None and (told := _told(answer.document)) is not None:
            return told | {"id": self.id, "created": self.created, "model": self.model}
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
        told = self.whole(answer)
        more = {"usage": None} if usage else {}
        for choice in told["choices"]:
            for delta, reason, logprobs in _deltas(choice):
                one = {"index": choice["index"], "delta": delta, "finish_reason": reason, "logprobs": logprobs}
                yield _event(self._document("chat.completion.chunk", [one], **more))
        if usage and told.get("usage") is not None:
            yield _event(self._document("chat.completion.chunk", [], usage=told["usage"]))
        yield "data: [DONE]\n\n"


def _deltas(choice: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str | None, Any]]:
    message = choice["message"]
    said = {name: message[name] for name in ("content", "refusal", "function_call", "audio") if message.get(name)}
    yield {"role": "assistant", "content": None} | said, None, choice.get("logprobs")
    for index, call in enumerate(message.get("tool_calls") or []):
        yield {"tool_calls": [{**call, "index": index}]}, None, None
    yield {}, choice["finish_reason"], None


def _told(document: dict[str, Any]) -> dict[str, Any] | None:
    """A provider's answer in OpenAI's words, with all its choices, probabilities and counts; None where it is none."""
    choices = []
    for index, choice in enumerate(document.get("choices") or []):
        message = {"role": "assistant", "content": None, "refusal": None} | (choice.get("message") or {})
        calls = message.pop("tool_calls", None)
        if calls:
            message["tool_calls"] = calls
            message["content"] = message["content"] or None
        told = {"index": index, "logprobs": None} | choice | {"message": message}
        if told.get("finish_reason") not in FINISH_REASONS:
            told["finish_reason"] = "tool_calls" if calls else "stop"  # Together says "eos"
        choices.append(told)
    answer = {name: value for name, value in document.items() if value is not None}
    try:
        read = ChatCompletion.model_validate({**answer, "object": "chat.completion", "choices": choices})
    except ValidationError:
        return None
    return read.model_dump(mode="json", exclude_unset=True)


def _finish(answer: Completion) -> str:
    if answer.tool_calls:
        return "tool_calls"
    return answer.finish_reason if answer.finish_reason and answer.finish_reason in FINISH_REASONS else "stop"


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
