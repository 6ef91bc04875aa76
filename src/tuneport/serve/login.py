"""How a browser gets in: it shows a token once, and has a cookie from then on. The page with the form is the
dashboard's."""

from __future__ import annotations

from urllib.parse import parse_qs

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from starlette.concurrency import run_in_threadpool

from tuneport.jobs.asking import on_behalf_of
from tuneport.jobs.tokens import SESSION_SECONDS
from tuneport.serve.access import COOKIE, CSRF_FIELD, asking_of, caller_of, check_csrf
from tuneport.serve.gateway import Gateway


def router(gateway: Gateway) -> APIRouter:
    routes = APIRouter(include_in_schema=False)

    @routes.post("/login")
    async def log_in(request: Request) -> Response:
        """A form with `token`, and `next`, a path of ours. A wrong token leads back to /login?wrong=1.

        It carries no word against forgery: there is no session yet to misuse, and another site's page is refused by
        its Origin.
        """
        fields = await _fields(request)
        row = await gateway.credentials.token(fields.get("token", "").strip())
        if row is None:
            gateway.limits.failure(request.client.host if request.client else None)
            return RedirectResponse("/login?wrong=1", 303)
        with on_behalf_of(asking_of(request, caller_of(row))):
            cookie = await run_in_threadpool(gateway.store.add_browser_session, row.id)
        answer = RedirectResponse(_own(fields.get("next", "/")), 303)
        # Of SameSite=Strict: no request that another site's page causes has it, not even a link's.
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
        """A form with the word against forgery. The cookie is worth nothing afterwards, in whoever's hands."""
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


def _own(path: str) -> str:
    """A path of this gateway, never another site: browsers take // and /\\ for the beginning of an address."""
    return path if path.startswith("/") and path[1:2] not in ("/", "\\") and path.isprintable() else "/"
