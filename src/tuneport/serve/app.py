"""The gateway as an ASGI application."""

from __future__ import annotations

import re
import secrets

from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from tuneport import __version__
from tuneport.backends.hops import HOP_HEADER, MOST_HOPS, having_come_by, read_hops
from tuneport.serve import (
    audit,
    chat,
    dashboard,
    errors,
    events,
    files,
    jobs,
    login,
    models,
    own_jobs,
    own_models,
    prospects,
)
from tuneport.serve.access import Access, caller
from tuneport.serve.description import ERRORS, describe
from tuneport.serve.errors import Refusal
from tuneport.serve.gateway import Gateway
from tuneport.serve.observing import Mended, Observed

MAX_JSON_BYTES, MAX_CHAT_BYTES = 2**20, 64 * 2**20
"""Chats with images in base64 are the largest bodies that are no upload."""
_PARTS = re.compile(r"/v1/uploads/[^/]+/parts|/new/[^/]+/validation")


def create_app(gateway: Gateway) -> FastAPI:
    """The routes over a gateway, whose `start` and `close` are the caller's."""
    app = FastAPI(
        title="tuneport gateway",
        version=__version__,
        description="OpenAI's fine-tuning API over any backend.",
        docs_url=None,
        redoc_url=None,
        openapi_url="/tuneport/v1/openapi.json",
        responses=ERRORS,
    )
    describe(app)
    errors.install(app)
    for part in (files, jobs, models, chat, audit, login):
        app.include_router(part.router(gateway))
    app.include_router(dashboard.router(gateway))
    for own in (events, own_jobs, own_models, prospects):
        app.include_router(own.router(gateway))

    @app.get("/healthz", tags=["Health"])
    def healthz() -> dict[str, str]:
        """The process answers."""
        return {"status": "ok"}

    @app.get("/readyz", tags=["Health"])
    def readyz() -> dict[str, str]:
        """The store answers, too, files can be kept, and jobs are looked after."""
        gateway.store.count_unfinished()
        gateway.contents.check()
        if not gateway.working:
            raise Refusal(503, "The gateway looks after no jobs; its log says why. Start it again.", code="not_ready")
        return {"status": "ok"}

    @app.get("/metrics", tags=["Health"], response_class=PlainTextResponse)
    def metrics(request: Request) -> PlainTextResponse:
        """For Prometheus: requests, jobs, files, chats and tokens of all projects, for whoever may see them all."""
        who = caller(request)
        if who.token_id is not None and not who.every_project:
            raise Refusal(
                403,
                f"These figures are of all projects, and the token '{who.name}' is of one; `tuneport token create NAME "
                "--scope admin` makes one of all.",
                code="insufficient_permissions",
            )
        return PlainTextResponse(gateway.figures.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    app.add_middleware(Access, gateway=gateway)
    app.add_middleware(Mended)
    app.add_middleware(Guard, gateway_id=gateway.settings.gateway_id)
    app.add_middleware(Observed, figures=gateway.figures)
    return app


class Guard:
    """Before anything is read: none that has been here before, and no body without end or packed. Each
    answer has a request id. Who asks is `Access`'s matter."""

    def __init__(self, app: ASGIApp, *, gateway_id: str | None) -> None:
        self._app, self._id = app, gateway_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = scope["tuneport.request_id"] = f"req_{secrets.token_hex(16)}"
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}

        async def send_with_id(message) -> None:  # type: ignore[no-untyped-def]
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            await send(message)

        way = read_hops(headers.get(HOP_HEADER.lower()))
        refusal = self._refusal(scope, headers, way)
        if refusal is not None:
            await refusal.response({"Connection": "close"})(scope, receive, send_with_id)
            return
        if (most := _most_bytes(scope["path"])) is not None:
            receive = _limited(receive, most)
        with having_come_by(way):
            await self._app(scope, receive, send_with_id)

    def _refusal(self, scope: Scope, headers: dict[str, str], way: tuple[str, ...]) -> Refusal | None:
        if headers.get("content-encoding", "identity").lower() != "identity":
            # Nothing is unpacked here, so that no small body becomes a large one.
            return Refusal(415, "Packed bodies are not taken: send it without Content-Encoding.", code="packed_body")
        if self._id is not None and self._id in way:
            others = len(way) - way.index(self._id) - 1
            by = f", by way of {others} other{'s' if others > 1 else ''}" if others else ""
            return Refusal(
                400,
                f"This gateway is its own backend{by}: an address in tuneport.toml or TUNEPORT_OPENAI_BASE_URL leads "
                "back here; let it lead to the provider.",
                code="gateway_loop",
            )
        if len(way) >= MOST_HOPS:
            return Refusal(
                400,
                f"This request has come through {len(way)} gateways, one behind the other, and at most {MOST_HOPS} may "
                "be: let TUNEPORT_OPENAI_BASE_URL, or the address in tuneport.toml, of one of them lead to the "
                "provider.",
                code="gateway_loop",
            )
        length, most = headers.get("content-length", ""), _most_bytes(scope["path"])
        if most is not None and length.isdecimal() and int(length) > most:
            return Refusal(413, f"The body is too large: at most {most:,} bytes.")
        return None


def _most_bytes(path: str) -> int | None:
    """Of a body that is read into memory. Uploads are not, and have limits of their own."""
    if path in ("/v1/files", "/new") or _PARTS.fullmatch(path):
        return None
    return MAX_CHAT_BYTES if path == "/v1/chat/completions" else MAX_JSON_BYTES


def _limited(receive: Receive, most: int) -> Receive:
    received = 0

    async def counted():  # type: ignore[no-untyped-def]
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > most:
            # Of what else is raised while a body is read, FastAPI makes a 400.
            raise HTTPException(413, f"The body is too large: at most {most:,} bytes.")
        return message

    return counted
