"""The route /v1/chat/completions: answers of tuned and base models, whole or streamed, from any backend."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Literal

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, StreamingResponse

from tuneport.backends import backend_manifest
from tuneport.backends.routing import BackendCatalogue
from tuneport.backends.streaming import ClosableStream
from tuneport.lifecycle.schema.request_context import current_store_request_context
from tuneport.lifecycle.service import tuned_model_of_job
from tuneport.serve.gateway import Gateway
from tuneport.serve.http.errors import Refusal, gateway_not_found_refusal
from tuneport.serve.http.openapi import BY_METADATA, CHAT_ANSWERS
from tuneport.serve.http.queries import StrictRoute, parse_metadata_query
from tuneport.serve.jobs.model_access import is_hidden_from_caller
from tuneport.serve.naming import ClientCatalogue
from tuneport.serve.openai.chat_answers import ChatAnswerHead, openai_completion_document, openai_usage_document
from tuneport.serve.openai.chat_stream import (
    send_gateway_chat_events,
    stream_gateway_chat_events,
    wait_for_first_gateway_event,
)
from tuneport.serve.openai.models import find_requested_tuned_model
from tuneport.serve.permitted import refuse_chat_options
from tuneport.serve.wire.chat import CreateChatCompletion, StreamOptions
from tuneport.serve.wire.chat_answer import ChatCompletionList
from tuneport.types import Completion, JobStatus

MOST_CHATS = 64

_DEFAULTS: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "store": (False,),
    "logprobs": (False,),
    "service_tier": ("auto", "default"),
    "modalities": (["text"],),
    "parallel_tool_calls": (True,),
    "response_format": ({"type": "text"},),
}
"""Default values, which are dropped. Other values go to the backend, which accepts the option or refuses it by name."""


def router(gateway: Gateway) -> APIRouter:
    routes = APIRouter(prefix="/v1", tags=["Chat"], route_class=StrictRoute)

    seats = CapacityLimiter(MOST_CHATS)

    @routes.get("/chat/completions", response_model=ChatCompletionList, openapi_extra=BY_METADATA)
    def list_chat_completions(
        request: Request,
        model: str | None = None,
        after: str | None = None,
        limit: Annotated[int, Query(ge=1, le=100)] = 20,
        order: Literal["asc", "desc"] = "asc",
    ) -> ChatCompletionList:
        """List stored chats. The list is empty, since `store` is refused; filters have no effect."""
        parse_metadata_query(request.query_params)
        if after is not None:
            raise gateway_not_found_refusal(f"No stored chat '{after}': this gateway stores none.", "after")
        return ChatCompletionList(data=[], first_id="", last_id="", has_more=False)

    @routes.post("/chat/completions", response_model=None, responses={200: CHAT_ANSWERS})
    async def create_chat_completion(request: Request, asked: CreateChatCompletion) -> JSONResponse | StreamingResponse:
        """Answer a chat, whole or as a stream. Chats have threads of their own, so that other requests do not wait
        for them."""
        if seats.available_tokens < 1:
            raise Refusal(
                429, f"{MOST_CHATS} chats are being answered; try again.", code="rate_limit_exceeded",
                kind="rate_limit_error",
            )  # fmt: skip
        answer = await to_thread.run_sync(_answer, gateway, asked, limiter=seats)
        if isinstance(answer, dict):
            return JSONResponse(answer)
        first = await wait_for_first_gateway_event(
            answer, request, seats
        )  # what is refused is refused now, with a status
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        return StreamingResponse(
            send_gateway_chat_events(answer, seats, first), media_type="text/event-stream", headers=headers
        )

    return routes


def _answer(gateway: Gateway, asked: CreateChatCompletion) -> dict[str, Any] | ClosableStream[str]:
    """Return the whole answer, or the events of a stream."""
    messages, options = _read(asked)
    backend, model = _located(gateway, asked.model)
    opened = gateway.workspace.backend(backend)
    refuse_chat_options(asked.model_extra or {}, opened, gateway.settings.project.gateway.client_options)
    head = ChatAnswerHead(asked.model)
    answer = gateway.endpoints.answer_with_endpoint(
        backend, model, lambda: opened.complete(model, messages, stream=bool(asked.stream), **options)
    )
    count = partial(gateway.chat_usage.add, current_store_request_context(), backend, asked.model, model)
    if isinstance(answer, Completion):
        count(openai_usage_document(answer))
        return openai_completion_document(head, answer)
    return stream_gateway_chat_events(head, answer, asked.stream_options or StreamOptions(), count)


def _read(asked: CreateChatCompletion) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the messages and options for the backend: unchanged, without unset fields."""
    if asked.store:
        raise Refusal(400, "This gateway stores no chats; leave store out.", param="store", code="unsupported")
    if asked.stream_options is not None and not asked.stream:
        raise Refusal(
            400, "The 'stream_options' parameter is only allowed when 'stream' is enabled.", param="stream_options"
        )
    given = asked.model_dump(
        mode="json", by_alias=True, exclude_none=True, exclude_unset=True, exclude={"model", "stream", "stream_options"}
    )
    for name, values in _DEFAULTS.items():
        if name in given and given[name] in values:
            del given[name]
    return given.pop("messages"), given


def _located(gateway: Gateway, name: str) -> tuple[str, str]:
    """Return the backend and its own name of the model."""
    tuned = find_requested_tuned_model(gateway, name)
    if tuned is None and is_hidden_from_caller(gateway, name):
        raise _no_model(name)
    if tuned is None:
        return _untuned(gateway, name)
    if tuned.row.deleted_at is not None or (tuned.row.job_status is not JobStatus.SUCCEEDED and tuned.step is None):
        raise _no_model(name)
    if tuned.step is None:
        return tuned_model_of_job(tuned.row)
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
    """Return the backend and the name there of a base model, or of one that was tuned on the command line or outside
    tuneport."""
    settings = gateway.settings
    row = gateway.store.models.find_job(name)
    if row is not None:
        return tuned_model_of_job(row)
    if name.startswith("ft:"):
        if settings.backend is None or not backend_manifest(settings.backend, settings).third_party:
            raise _no_model(name)
        where = BackendCatalogue(settings).route_model(name, settings.backend)
    else:
        where = ClientCatalogue(settings).route_model(name)
    return where.backend, where.model


def _no_model(name: str) -> Refusal:
    return Refusal(
        404,
        f"The model `{name}` does not exist or you do not have access to it.",
        param="model",
        code="model_not_found",
    )
