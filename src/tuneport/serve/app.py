"""The gateway as an ASGI application."""

from __future__ import annotations

import secrets

from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from tuneport.backends.hosted.http.loop_guard import HOP_HEADER, MOST_HOPS, forwarded_via_gateways, parse_gateway_hops
from tuneport.serve import dashboard
from tuneport.serve.dashboard import session as login
from tuneport.serve.gateway import Gateway
from tuneport.serve.http import errors
from tuneport.serve.http.access import Access, gateway_request_caller
from tuneport.serve.http.body_limits import BodyLimits, limit_request_body
from tuneport.serve.http.errors import Refusal
from tuneport.serve.http.metrics import FixedStatus, Observed
from tuneport.serve.http.openapi import ERRORS, install_openapi_document
from tuneport.serve.native import audit, estimates, events
from tuneport.serve.native import jobs as native_jobs
from tuneport.serve.native import models as native_models
from tuneport.serve.openai import chat, files, jobs, models
from tuneport.version import __version__


def create_app(gateway: Gateway) -> FastAPI:
    """Build the routes over a gateway; the caller starts and closes the gateway."""
    app = FastAPI(
        title="tuneport gateway",
        version=__version__,
        description="OpenAI's fine-tuning API over any backend.",
        docs_url=None,
        redoc_url=None,
        openapi_url="/tuneport/v1/openapi.json",
        responses=ERRORS,
    )
    install_openapi_document(app)
    errors.install_error_handlers(app)
    for part in (files, jobs, models, chat, audit, login):
        app.include_router(part.router(gateway))
    app.include_router(dashboard.router(gateway))
    for module in (events, native_jobs, native_models, estimates):
        app.include_router(module.router(gateway))

    @app.get("/healthz", tags=["Health"])
    def healthz() -> dict[str, str]:
        """Return 200 while the process answers."""
        return {"status": "ok"}

    @app.get("/readyz", tags=["Health"])
    def readyz() -> dict[str, str]:
        """Return 200 if the store answers, files can be kept and the background threads run."""
        gateway.unscoped.store.jobs.count_unfinished()
        gateway.contents.check_writable()
        if not gateway.working:
            raise Refusal(
                503, "The gateway's background work has stopped; its log says why. Restart it.", code="not_ready"
            )
        return {"status": "ok"}

    @app.get("/metrics", tags=["Health"], response_class=PlainTextResponse)
    def metrics(request: Request) -> PlainTextResponse:
        """Return Prometheus metrics: requests, jobs, files, chats and tokens of all projects. A token must be one
        for all projects."""
        who = gateway_request_caller(request)
        if who.token_id is not None and not who.every_project:
            raise Refusal(
                403,
                f"These figures are of all projects, and the token '{who.name}' is of one; `tuneport token create NAME "
                "--scope admin` makes one of all.",
                code="insufficient_permissions",
            )
        return PlainTextResponse(gateway.metrics.render_text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    app.add_middleware(Access, rules=gateway.access, credentials=gateway.credentials, limits=gateway.limits)
    app.add_middleware(FixedStatus)
    app.add_middleware(Guard, gateway_id=gateway.settings.gateway_id, body_limits=gateway.body_limits)
    app.add_middleware(Observed, metrics=gateway.metrics)
    return app


class Guard:
    """The middleware that rejects, before the body is read, requests that already passed through this gateway,
    oversized bodies and compressed bodies. It gives each answer a request id; `Access` identifies the caller."""

    def __init__(self, app: ASGIApp, *, gateway_id: str | None, body_limits: BodyLimits) -> None:
        self._app, self._id, self._limits = app, gateway_id, body_limits

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

        way = parse_gateway_hops(headers.get(HOP_HEADER.lower()))
        refusal = self._refusal(scope, headers, way)
        if refusal is not None:
            await refusal.response({"Connection": "close"})(scope, receive, send_with_id)
            return
        if (most := self._limits.limit_for_path(scope["path"])) is not None:
            receive = limit_request_body(receive, most)
        with forwarded_via_gateways(way):
            await self._app(scope, receive, send_with_id)

    def _refusal(self, scope: Scope, headers: dict[str, str], way: tuple[str, ...]) -> Refusal | None:
        if headers.get("content-encoding", "identity").lower() != "identity":
            # Nothing is decompressed here, so that no small body becomes a large one.
            return Refusal(
                415, "Compressed bodies are not accepted: send the body without Content-Encoding.", code="packed_body"
            )
        if self._id is not None and self._id in way:
            others = len(way) - way.index(self._id) - 1
            by = f", by way of {others} other{'s' if others > 1 else ''}" if others else ""
            return Refusal(
                400,
                f"This gateway is its own backend{by}: an address in tuneport.toml or TUNEPORT_OPENAI_BASE_URL leads "
                "back here; change it to the provider's.",
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
        length, most = headers.get("content-length", ""), self._limits.limit_for_path(scope["path"])
        if most is not None and length.isdecimal() and int(length) > most:
            return Refusal(413, f"The body is too large: at most {most:,} bytes.")
        return None
