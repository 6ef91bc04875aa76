"""Access control: identifies each request's caller and permissions before a route sees the request.

Routes ask `request_caller(request)`. Rows of another project do not exist for them: `gateway.store` is limited to the
request's project (`lifecycle/schema/scope.py`). Forms of the dashboard carry `csrf_token(request)` in the field
CSRF_FIELD, scripts in CSRF_HEADER.

Rules:
- A bearer token is accepted from anywhere and under any name in `Host`: no browser sends one by itself, so that no
  page of another site can use it.
- A browser's cookie, and a caller without a token, are accepted only under a loopback name or one given by
  `--public-host`. A page that points its own name here after loading (DNS rebinding) shows that name in `Host`.
  Browsers report pages of other sites by `Origin` or `Sec-Fetch-Site`.
- No token is needed as long as the store has never had one and the gateway listens on loopback.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Awaitable, Callable, Set
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection, cookie_parser
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tuneport.errors import TuneportError
from tuneport.lifecycle.schema.records import TokenRecord
from tuneport.lifecycle.schema.request_context import RequestContext, use_store_request_context
from tuneport.lifecycle.schema.scope import DEFAULT_PROJECT
from tuneport.lifecycle.store.tokens import NAME, SCOPES, TOKEN, token_digest
from tuneport.serve.http.errors import Refusal, gateway_refusal_for_error

if TYPE_CHECKING:
    from tuneport.serve.http.credentials import AccessRules, GatewayCredentials
    from tuneport.serve.http.rate_limits import GatewayRateLimits

LOOPBACK = ("localhost", "127.0.0.1", "::1")
COOKIE = "tuneport_session"
CSRF_FIELD, CSRF_HEADER = "csrf_token", "x-csrf-token"
_CALLER, _CSRF, _AGAIN = "tuneport.caller", "tuneport.csrf", "tuneport.still_admitted"
_HEALTH = ("/healthz", "/readyz")
_OPEN = ("/login", "/assets/")
"""The login page and its assets, open to every caller."""
_FOR_PROGRAMS = ("/v1/", "/tuneport/", "/metrics")
_READING = ("GET", "HEAD", "OPTIONS")
_FOR_ADMINS = ("/tuneport/v1/audit", "/metrics")

HTML_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",  # with no-referrer a browser would send `Origin: null` along with our own forms
    "cache-control": "no-store",
}
"""Headers of every page. Scripts and styles come only from our files, so that nothing written into a page runs."""


@dataclass(frozen=True)
class GatewayCaller:
    """The caller of a request. `name` is the token's, or `local` if none is needed. Each of the `scopes` includes
    those before it: read (GET), submit (files, jobs, and chats, which cost money), admin (deletion and the audit
    log). `every_project`: may ask for any project."""

    project: str
    scopes: frozenset[str]
    name: str
    token_id: str | None = None
    every_project: bool = False

    def has_scope(self, scope: str) -> bool:
        return scope in self.scopes


LOCAL = GatewayCaller(DEFAULT_PROJECT, frozenset(SCOPES), "local")
"""A caller on this machine while no token is needed."""
ANONYMOUS = GatewayCaller(DEFAULT_PROJECT, frozenset(), "nobody")
"""A caller without a valid token: sees only the health routes and the login page."""


def gateway_request_caller(connection: HTTPConnection) -> GatewayCaller:
    found: GatewayCaller = connection.scope[_CALLER]
    return found


async def is_caller_still_admitted(connection: HTTPConnection) -> bool:
    """Return whether the same caller would still be admitted, for answers that take long: the token may have been
    revoked, or the browser's session have ended."""
    again: Callable[[], Awaitable[bool]] = connection.scope[_AGAIN]
    return await again()


def csrf_token(connection: HTTPConnection) -> str:
    """Return the CSRF token for our forms; another site's page cannot read it."""
    token: str = connection.scope[_CSRF]
    return token


def check_csrf(connection: HTTPConnection, given: str | None) -> None:
    """Check the CSRF token of a form. Raises Refusal if the form is not from our own page."""
    if not hmac.compare_digest((given or "").encode(), csrf_token(connection).encode()):
        raise Refusal(403, "This form has expired or is from another site: load the page again.", code="csrf_failed")


def gateway_request_context(connection: HTTPConnection, who: GatewayCaller) -> RequestContext:
    return RequestContext(
        project=who.project,
        name=who.name,
        token_id=who.token_id,
        address=_address(connection.scope),
        request_id=connection.scope.get("tuneport.request_id"),
    )


def gateway_caller_of_token(row: TokenRecord) -> GatewayCaller:
    scopes = frozenset(SCOPES[: SCOPES.index(row.scope) + 1])
    return GatewayCaller(row.project or DEFAULT_PROJECT, scopes, row.name, row.id, every_project=row.project is None)


class Access:
    """The middleware that admits callers. It costs one dictionary of headers and one token look-up in memory: about
    20 microseconds a request."""

    def __init__(
        self, app: ASGIApp, *, rules: AccessRules, credentials: GatewayCredentials, limits: GatewayRateLimits
    ) -> None:
        self._app = app
        self._rules, self._credentials, self._limits = rules, credentials, limits
        self._hosts = {*LOOPBACK, *(name.lower() for name in self._rules.public_hosts)}
        self._csrf = secrets.token_hex(32)  # for callers without a session

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        scope[_CSRF] = self._csrf
        more: dict[str, str] = {}
        try:
            found = await self._admitted(scope, headers)
            if isinstance(found, GatewayCaller):
                room = None if found is ANONYMOUS else self._limits.count_request(found.token_id, _address(scope))
                more = {} if room is None else room.headers()
                found = self._permitted(found, scope, headers)
        except Refusal as refusal:
            found = refusal.response({"Connection": "close"})
        except TuneportError as error:  # the store's
            found = gateway_refusal_for_error(error).response({"Connection": "close"})
        if isinstance(found, Response):
            await found(scope, receive, send)
            return
        scope[_CALLER], scope[_AGAIN] = found, partial(self._still, scope, headers, found)

        with use_store_request_context(gateway_request_context(HTTPConnection(scope), found)):
            await self._app(scope, receive, _with_headers(send, more))

    async def _still(self, scope: Scope, headers: dict[bytes, str], who: GatewayCaller) -> bool:
        try:
            found = await self._admitted(scope, headers)
        except Refusal:
            return False
        except TuneportError:  # the store is down, so that it shows nothing either
            return True
        return isinstance(found, GatewayCaller) and found.token_id == who.token_id and found.scopes == who.scopes

    async def _admitted(self, scope: Scope, headers: dict[bytes, str]) -> GatewayCaller | Response:
        path = scope["path"]
        if path in _HEALTH:
            return ANONYMOUS
        await self._credentials.refresh()
        bearer = _bearer(headers)
        token = None if bearer is None else await self._credentials.find_token(bearer)
        if token is not None:
            return gateway_caller_of_token(token)
        needed = self._credentials.has_any_token if self._rules.require_token is None else self._rules.require_token
        is_open = path.startswith(_OPEN)
        if needed and path.startswith(_FOR_PROGRAMS) and COOKIE not in headers.get(b"cookie", ""):
            raise self._unknown(scope, bearer)
        public = " and ".join(sorted(self._hosts - {*LOOPBACK}))
        check_browser_request(
            scope,
            headers,
            self._hosts,
            f"This gateway answers browsers at {public or 'localhost'} only; `tuneport serve --public-host NAME` adds "
            "a name.",
        )
        if not needed:
            if bearer is not None and TOKEN.fullmatch(bearer):  # a revoked token does not count as no token
                raise self._unknown(scope, bearer)
            return LOCAL
        cookie = cookie_parser(headers.get(b"cookie", "")).get(COOKIE)
        token = None if cookie is None else await self._credentials.find_browser_token(cookie)
        if token is not None:
            assert cookie is not None
            scope[_CSRF] = token_digest(f"csrf {cookie}")  # reveals nothing of the cookie, and cannot be forged
            if path.startswith(_FOR_PROGRAMS) and scope["method"] not in _READING:
                check_csrf(HTTPConnection(scope), headers.get(CSRF_HEADER.encode()))
            return gateway_caller_of_token(token)
        if is_open:
            return ANONYMOUS
        if scope["method"] in ("GET", "HEAD") and not path.startswith(_FOR_PROGRAMS):
            answer = RedirectResponse(f"/login?next={quote(path)}" if path != "/" else "/login", 303)
            if cookie is not None:
                answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
            return answer
        raise self._unknown(scope, bearer)

    def _unknown(self, scope: Scope, bearer: str | None) -> Refusal:
        """Return the refusal of an unknown token. It does not repeat the token, which may be the key of another
        service."""
        known = {"WWW-Authenticate": "Bearer"}
        if bearer is None:
            return Refusal(
                401,
                "You didn't provide an API key. You need to provide your API key in an Authorization header using "
                "Bearer auth (i.e. Authorization: Bearer YOUR_KEY). On the gateway's machine, `tuneport token create "
                "NAME` makes one.",
                headers=known,
            )
        self._limits.count_failed_login(_address(scope))
        return Refusal(
            401,
            "Incorrect API key provided. It is unknown to this gateway, revoked or expired; on the gateway's "
            "machine, `tuneport token create NAME` makes one.",
            code="invalid_api_key",
            headers=known,
        )

    def _permitted(self, found: GatewayCaller, scope: Scope, headers: dict[bytes, str]) -> GatewayCaller:
        """Return the caller in the requested project. Raises Refusal if the caller may not do what the request asks."""
        if found is ANONYMOUS:
            return found
        method, path = scope["method"], scope["path"]
        wanted = "read" if method in _READING else "admin" if method == "DELETE" else "submit"
        if path.startswith(_FOR_ADMINS):
            wanted = "admin"
        if path in ("/login", "/logout"):
            wanted = "read"
        if not found.has_scope(wanted):
            raise Refusal(
                403,
                f"You have insufficient permissions for this operation. Missing scopes: {wanted}. The token "
                f"'{found.name}' has the scope {SCOPES[len(found.scopes) - 1]}; `tuneport token create NAME --scope "
                f"{wanted}` makes another.",
                code="insufficient_permissions",
            )
        project = headers.get(b"openai-project")
        if project is None or found is LOCAL or project == found.project:
            return found  # without tokens there is one project, whatever OPENAI_PROJECT_ID says
        if not found.every_project or not NAME.fullmatch(project):
            raise Refusal(401, "OpenAI-Project header should match project for API key", code="mismatched_project")
        return replace(found, project=project)


class LocalBrowserAccess:
    """The middleware of a server for browsers of this machine only, which `tuneport COMMAND` runs. It checks host
    names, other sites' pages, and that a path begins with `path_token`; without a `path_token`, CSRF_HEADER on every
    request that is not a read."""

    def __init__(self, app: ASGIApp, *, command: str, path_token: str | None) -> None:
        self._app, self._csrf = app, secrets.token_hex(32)
        self._command, self._path_token = command, path_token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        scope[_CSRF] = self._csrf
        try:
            check_browser_request(
                scope, headers, {*LOOPBACK}, "This page is for browsers on its own machine: open localhost."
            )
            if self._path_token is not None:
                given = scope["path"].split("/")[1]
                if not hmac.compare_digest(given.encode("utf-8", "replace"), self._path_token.encode()):
                    where = f"Open the address that tuneport {self._command} printed."
                    raise Refusal(403, where, code="path_token_missing")
            elif scope["method"] not in _READING:
                check_csrf(HTTPConnection(scope), headers.get(CSRF_HEADER.encode()))
        except Refusal as refusal:
            await refusal.response({"Connection": "close"})(scope, receive, send)
            return
        await self._app(scope, receive, _with_headers(send, {}))


def check_browser_request(scope: Scope, headers: dict[bytes, str], hosts: Set[str], where: str) -> None:
    """Check a browser's request. Raises Refusal if it used another name than `hosts` (`where` tells the right
    address), or came from a page of another site."""
    if _host_of(f"//{headers.get(b'host', '')}") not in hosts:
        raise Refusal(403, where, code="host_not_allowed")
    origin = headers.get(b"origin")
    # A link on another site may open our page, which only its reader sees; a form there sends its Origin.
    is_link = scope["method"] == "GET" and headers.get(b"sec-fetch-mode") == "navigate"
    if (origin is not None and _host_of(origin) not in hosts) or (
        headers.get(b"sec-fetch-site") == "cross-site" and not is_link
    ):
        raise Refusal(403, "Requests from another site's page are refused.", code="origin_not_allowed")


def _with_headers(send: Send, more: dict[str, str]) -> Send:
    async def send_more(message: Message) -> None:
        if message["type"] == "http.response.start":
            told = MutableHeaders(scope=message)
            told.update(more)
            if told.get("content-type", "").startswith("text/html"):
                for name, value in HTML_HEADERS.items():
                    told.setdefault(name, value)
        await send(message)

    return send_more


def _address(scope: Scope) -> str | None:
    client = scope.get("client")
    return client[0] if client else None


def _bearer(headers: dict[bytes, str]) -> str | None:
    kind, _, secret = headers.get(b"authorization", "").partition(" ")
    return secret.strip() or None if kind.lower() == "bearer" else None


def _host_of(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None
