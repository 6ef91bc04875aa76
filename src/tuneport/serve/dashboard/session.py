"""Login of browsers: a browser shows a token once and gets a cookie. The dashboard has the page with the form."""

from __future__ import annotations

from urllib.parse import parse_qs

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from starlette.concurrency import run_in_threadpool

from tuneport.lifecycle.schema.request_context import use_store_request_context
from tuneport.lifecycle.store.tokens import SESSION_SECONDS
from tuneport.serve.gateway import Gateway
from tuneport.serve.http.access import COOKIE, CSRF_FIELD, check_csrf, gateway_caller_of_token, gateway_request_context


def router(gateway: Gateway) -> APIRouter:
    routes = APIRouter(include_in_schema=False)

    @routes.post("/login")
    async def log_in(request: Request) -> Response:
        """Log in with a form of `token` and `next`, a path of this gateway. A wrong token leads back to
        /login?wrong=1.

        The form needs no CSRF token: there is no session yet to misuse, and a page of another site is refused by its
        Origin.
        """
        fields = await _fields(request)
        row = await gateway.credentials.find_token(fields.get("token", "").strip())
        if row is None:
            gateway.limits.count_failed_login(request.client.host if request.client else None)
            return RedirectResponse("/login?wrong=1", 303)
        with use_store_request_context(gateway_request_context(request, gateway_caller_of_token(row))):
            cookie = await run_in_threadpool(gateway.store.tokens.add_session, row.id)
        answer = RedirectResponse(_local_path(fields.get("next", "/")), 303)
        # SameSite=Strict: no request from another site's page carries the cookie, not even a link's.
        answer.set_cookie(
            COOKIE,
            cookie,
            max_age=SESSION_SECONDS,
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
        return answer

    @routes.post("/logout")
    async def log_out(request: Request) -> Response:
        """Log out with a form that carries the CSRF token. The cookie is invalid afterwards."""
        check_csrf(request, (await _fields(request)).get(CSRF_FIELD))
        if (cookie := request.cookies.get(COOKIE)) is not None:
            await run_in_threadpool(gateway.credentials.end_session, cookie)
        answer = RedirectResponse("/login", 303)
        answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return answer

    return routes


async def _fields(request: Request) -> dict[str, str]:
    given = parse_qs((await request.body()).decode("utf-8", "replace"), keep_blank_values=True)
    return {name: values[-1] for name, values in given.items()}


def _local_path(path: str) -> str:
    r"""Return `path` if it is a path of this gateway, else `/`. Browsers take // and /\ for the beginning of another
    site's address."""
    return path if path.startswith("/") and path[1:2] not in ("/", "\\") and path.isprintable() else "/"
