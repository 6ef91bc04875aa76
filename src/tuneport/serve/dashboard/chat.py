"""The chat page: a tuned model and its base model answer the same question."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from tuneport.backends.streaming import ClosableStream
from tuneport.errors import ConfigError, TuneportError
from tuneport.lifecycle.schema.request_context import current_store_request_context
from tuneport.serve.dashboard.catalogue import list_dashboard_tuned_jobs
from tuneport.serve.dashboard.pages import ATTACHMENT, DashboardPages, dashboard_page_routes
from tuneport.serve.gateway import Gateway
from tuneport.serve.http.errors import Refusal, gateway_not_found_refusal
from tuneport.serve.openai.chat_answers import openai_usage_document
from tuneport.serve.openai.chat_stream import close_gateway_chat_answer, send_gateway_chat_events
from tuneport.types import Completion

SIDES = ("base", "tuned")
MOST_TOKENS = 4096
AT_ONCE = 16


@dataclass(frozen=True)
class ChatAnswer:
    model: str
    text: str = ""
    failure: str | None = None


def router(gateway: Gateway, pages: DashboardPages) -> APIRouter:
    routes, seats = dashboard_page_routes(pages), CapacityLimiter(AT_ONCE)

    @routes.get("/chat")
    def chat(request: Request, job: Annotated[str, Query(max_length=50)] = "") -> Response:
        asked = {"system": "", "prompt": "", "max_tokens": "256"}
        return pages.render_page(
            "chat.html", request, jobs=list_dashboard_tuned_jobs(gateway), chosen=job, asked=asked, answers=None
        )

    @routes.post("/chat")
    async def ask(request: Request) -> Response:
        """Return both answers whole, for a browser without scripts."""
        fields = await pages.read_page_form(request)
        answers = await run_in_threadpool(_both, gateway, fields)
        asked = {name: fields.get(name, "") for name in ("system", "prompt", "max_tokens")}
        jobs = await run_in_threadpool(list_dashboard_tuned_jobs, gateway)
        return pages.render_page(
            "chat.html", request, jobs=jobs, chosen=fields.get("job"), asked=asked, answers=answers
        )

    @routes.post("/chat/{side}")
    async def stream(side: str, request: Request) -> Response:
        """Stream one answer as JSON lines: `model` first, then `text` in chunks, or `failure`."""
        fields = await pages.read_page_form(request)
        if side not in SIDES:
            raise Refusal(404, f"There is no side {side!r}.")
        if seats.available_tokens < 1:
            raise Refusal(429, f"{AT_ONCE} answers are being written; try again.")
        lines = await to_thread.run_sync(_lines, gateway, fields, side, limiter=seats)
        headers = ATTACHMENT | {"X-Accel-Buffering": "no"}
        return StreamingResponse(
            send_gateway_chat_events(lines, seats), media_type="application/x-ndjson", headers=headers
        )

    return routes


def _lines(gateway: Gateway, fields: dict[str, str], side: str) -> ClosableStream[str]:
    """Return the answer's lines. Raises Refusal, before the stream starts, if the question is not valid."""
    backend, model, messages, options = _question(gateway, fields, side)
    who, begun = current_store_request_context(), list[Iterator[str]]()

    def end() -> None:
        for pieces in begun:
            close_gateway_chat_answer(pieces)

    def lines() -> Generator[str]:
        yield json.dumps({"model": f"{model} on {backend}"}) + "\n"
        usage: Mapping[str, Any] = {}
        try:
            pieces = gateway.workspace.backend(backend).complete(model, messages, stream=True, **options)
            assert not isinstance(pieces, Completion)
            begun.append(pieces)
            for piece in pieces:
                usage = getattr(piece, "usage", None) or usage
                if piece:
                    yield json.dumps({"text": piece}) + "\n"
        except TuneportError as error:
            yield json.dumps({"failure": str(error)}) + "\n"
        finally:
            end()
            if begun:
                gateway.chat_usage.add(who, backend, model, model, usage)

    return ClosableStream(lines(), end)


def _both(gateway: Gateway, fields: dict[str, str]) -> dict[str, ChatAnswer]:
    questions = {side: _question(gateway, fields, side) for side in SIDES}
    with ThreadPoolExecutor(len(SIDES)) as pool:
        asked = {
            # With the request's project.
            side: pool.submit(copy_context().run, partial(_answer, gateway, *questions[side]))
            for side in SIDES
        }
        return {side: future.result() for side, future in asked.items()}


def _answer(
    gateway: Gateway, backend: str, model: str, messages: list[dict[str, str]], options: dict[str, Any]
) -> ChatAnswer:
    name = f"{model} on {backend}"
    try:
        found = gateway.workspace.backend(backend).complete(model, messages, **options)
    except TuneportError as error:
        return ChatAnswer(name, failure=str(error))
    assert isinstance(found, Completion)
    gateway.chat_usage.add(current_store_request_context(), backend, model, model, openai_usage_document(found))
    return ChatAnswer(name, found.text)


def _question(
    gateway: Gateway, fields: dict[str, str], side: str
) -> tuple[str, str, list[dict[str, str]], dict[str, Any]]:
    listed = gateway.store.listing.get(fields.get("job", ""))
    if listed is None or listed.record is None:
        raise gateway_not_found_refusal(f"There is no job {fields.get('job', '')}.", "job")
    prompt, system = fields.get("prompt", "").strip(), fields.get("system", "").strip()
    if not prompt:
        raise Refusal(400, "The prompt is empty: write what the models are to answer.", param="prompt")
    most = fields.get("max_tokens", "").strip() or "256"
    if not most.isdecimal() or not 1 <= int(most) <= MOST_TOKENS:
        raise Refusal(400, f"Most tokens is a number from 1 to {MOST_TOKENS:,}, not {most!r}.", param="max_tokens")
    if side == "tuned":
        try:
            backend, model = gateway.workspace.locate(listed.record.id)
        except ConfigError as error:
            raise Refusal(400, str(error), param="job") from error
    else:
        backend, model = listed.record.backend, listed.record.model
    messages = [{"role": "system", "content": system}] if system else []
    return backend, model, [*messages, {"role": "user", "content": prompt}], {"max_tokens": int(most)}
