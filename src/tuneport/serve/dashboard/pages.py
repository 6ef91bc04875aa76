"""The base of all pages: templates, headers, forms that only these pages can send, errors as pages."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Coroutine
from typing import Any, ClassVar
from urllib.parse import parse_qsl

from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.routing import APIRoute
from jinja2 import Template
from starlette.exceptions import HTTPException

from tuneport.errors import TuneportError
from tuneport.pages.templates import page_templates
from tuneport.serve.dashboard.assets import dashboard_asset_url
from tuneport.serve.dashboard.live import LivePagePart
from tuneport.serve.http.access import CSRF_FIELD, check_csrf, csrf_token, gateway_request_caller
from tuneport.serve.http.errors import Refusal, gateway_refusal_for_error, gateway_refusal_for_validation
from tuneport.version import __version__

ATTACHMENT = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}

log = logging.getLogger(__name__)


class DashboardPages:
    """The renderer of the templates. What a template writes is escaped and free of control characters."""

    def __init__(self) -> None:
        # Parts are rendered without their page, and so cannot use the page's imports.
        self._show: Any = _template("macros.html").module

    def render_page(self, template: str, request: Request, *, http_status: int = 200, **context: Any) -> HTMLResponse:
        body = _template(template).render(self._around(request) | context)
        etag = f'"{hashlib.sha256(body.encode()).hexdigest()[:24]}"'
        headers = {"ETag": etag}
        if http_status == 200 and request.headers.get("if-none-match") == etag:
            return HTMLResponse(status_code=304, headers=headers)
        return HTMLResponse(body, http_status, headers)

    def render_live_parts(self, template: str, request: Request, **context: Any) -> list[LivePagePart]:
        """Return the parts of a page that change: the blocks `live_NAME` of its template, shown in the elements
        NAME."""
        found = _template(template)
        about = found.new_context(self._around(request) | context)
        names = [name for name in found.blocks if name.startswith("live_")]
        return [LivePagePart(name.removeprefix("live_"), "".join(found.blocks[name](about))) for name in names]

    def render_macro(self, name: str, *given: Any) -> str:
        """Render a macro of macros.html."""
        return str(getattr(self._show, name)(*given))

    def render_error(self, request: Request, refusal: Refusal) -> HTMLResponse:
        return self.render_page("error.html", request, http_status=refusal.status, refusal=refusal)

    async def read_page_form(self, request: Request) -> dict[str, str]:
        """Return the fields of a form. Raises Refusal if it was not sent by one of these pages."""
        if not request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
            raise Refusal(400, "Expected a form.")
        fields = dict(parse_qsl((await request.body()).decode("utf-8", "replace"), keep_blank_values=True))
        check_csrf(request, fields.pop(CSRF_FIELD, None))
        return fields

    def _around(self, request: Request) -> dict[str, Any]:
        """Return what every page knows of its reader. If `may_submit` is False, buttons that would be refused are left
        out."""
        who = gateway_request_caller(request)
        return {
            "request": request,
            "who": who,
            "may_submit": who.has_scope("submit"),
            "csrf": self._show.form_token(CSRF_FIELD, csrf_token(request)),
            "asset": dashboard_asset_url,
            "version": __version__,
            "show": self._show,
        }


class DashboardPageRoute(APIRoute):
    """The route class that shows errors as pages."""

    pages: ClassVar[DashboardPages]

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            try:
                return await handler(request)
            except Refusal as error:
                refusal = error
            except TuneportError as error:
                refusal = gateway_refusal_for_error(error)
            except RequestValidationError as error:
                refusal = gateway_refusal_for_validation(list(error.errors()), error.body)
            except HTTPException as error:
                refusal = Refusal(error.status_code, str(error.detail))
            except Exception as error:
                log.exception("%s %s failed", request.method, request.url.path, exc_info=error)
                refusal = Refusal(500, "tuneport failed; its log has the traceback. Please report it.")
            return self.pages.render_error(request, refusal)

        return guarded


def dashboard_page_routes(pages: DashboardPages) -> APIRouter:
    return APIRouter(route_class=type("PageRoute", (DashboardPageRoute,), {"pages": pages}), include_in_schema=False)


def redirect_after_form(path: str) -> RedirectResponse:
    """Redirect after a form, so that a reload sends nothing again."""
    return RedirectResponse(path, 303)


def _template(name: str) -> Template:
    return page_templates().get_template(f"serve/dashboard/templates/{name}")
