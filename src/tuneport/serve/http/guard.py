"""The guard of every server: it rejects loops, compressed bodies and oversized ones, and gives each request an id."""

from __future__ import annotations

import secrets

from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from tuneport.backends.hosted.http.loop_guard import HOP_HEADER, MOST_HOPS, forwarded_via_gateways, parse_gateway_hops
from tuneport.serve.http.body_limits import BodyLimits
from tuneport.serve.http.errors import Refusal, body_too_large_refusal


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
        most = self._limits.limit_for_path(scope["path"])
        app = self._app if most is None else RequestBodyLimitMiddleware(self._app, most)
        with forwarded_via_gateways(way):
            await app(scope, receive, send_with_id)

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
        # Starlette would answer a length above the limit in plain text; it counts what comes without a length.
        length, most = headers.get("content-length", ""), self._limits.limit_for_path(scope["path"])
        if most is not None and length.isdecimal() and int(length) > most:
            return body_too_large_refusal(most)
        return None
