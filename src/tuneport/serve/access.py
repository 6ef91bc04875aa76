"""Who asks: before a route sees a request, it is known on whose behalf it comes and what it may do.

Routes ask `caller(request)`. The rows of another project do not exist for them: the store itself leaves them out, by
`jobs.asking`. Forms of the dashboard carry `csrf_token(request)` in the field CSRF_FIELD, scripts in CSRF_HEADER.
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tuneport.jobs.asking import DEFAULT_PROJECT, Asking, on_behalf_of
from tuneport.serve.errors import Refusal

LOOPBACK = ("localhost", "127.0.0.1", "::1")
SCOPES = ("read", "submit", "admin")
"""Each includes those before it. read: GET. submit: files, jobs and chats, which cost money. admin: to delete, and the
audit log."""
CSRF_FIELD, CSRF_HEADER = "csrf_token", "x-csrf-token"
_CALLER, _CSRF = "tuneport.caller", "tuneport.csrf"

HTML_HEADERS = [
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
        b"connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    # With no-referrer a browser would send `Origin: null` along with our own forms.
    (b"referrer-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
]
"""Of every page. Scripts and styles are files of ours: nothing that is written into a page runs."""


@dataclass(frozen=True)
class Caller:
    """Whoever asks. `name` is that of the token, or `local` where none is needed."""

    project: str
    scopes: frozenset[str]
    name: str
    token_id: str | None = None


LOCAL = Caller(DEFAULT_PROJECT, frozenset(SCOPES), "local")
"""Whoever works on this machine, as long as no token is needed."""


def caller(connection: HTTPConnection) -> Caller:
    found: Caller = connection.scope[_CALLER]
    return found


def csrf_token(connection: HTTPConnection) -> str:
    """What a form of ours must bring along: another site's page cannot read it."""
    token: str = connection.scope[_CSRF]
    return token


def check_csrf(connection: HTTPConnection, given: str | None) -> None:
    """For the routes of forms, which know their fields. Refusal where it is not our own page's."""
    if not hmac.compare_digest((given or "").encode(), csrf_token(connection).encode()):
        raise Refusal(403, "This form is too old, or none of ours: load the page again.", code="csrf_failed")


class Access:
    """The middleware. A browser tells of a page on another site by `Origin` or `Sec-Fetch-Site`; a name that was made
    to point here after such a page was loaded stands in `Host`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._csrf = secrets.token_hex(32)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        try:
            found = self._admitted(headers)
        except Refusal as refusal:
            await refusal.response({"Connection": "close"})(scope, receive, send)
            return
        scope[_CALLER], scope[_CSRF] = found, self._csrf
        client = scope.get("client")
        who = Asking(
            project=found.project,
            name=found.name,
            token_id=found.token_id,
            address=client[0] if client else None,
            request_id=scope.get("tuneport.request_id"),
        )

        async def send_page(message: Message) -> None:
            if message["type"] == "http.response.start" and _is_page(message):
                message["headers"] = [*message["headers"], *HTML_HEADERS]
            await send(message)

        with on_behalf_of(who):
            await self._app(scope, receive, send_page)

    def _admitted(self, headers: dict[bytes, str]) -> Caller:
        if _host_of(f"//{headers.get(b'host', '')}") not in LOOPBACK:
            raise Refusal(403, "This gateway answers at localhost only.", code="host_not_allowed")
        origin = headers.get(b"origin")
        if (origin is not None and _host_of(origin) not in LOOPBACK) or headers.get(b"sec-fetch-site") == "cross-site":
            raise Refusal(403, "Requests from another site's page are refused.", code="origin_not_allowed")
        return LOCAL


def _is_page(message: Message) -> bool:
    return any(name == b"content-type" and value.startswith(b"text/html") for name, value in message["headers"])


def _host_of(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None
