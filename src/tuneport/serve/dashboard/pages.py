"""What all pages share: templates, headers, forms that only these pages can send, errors as pages."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qsl

from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.routing import APIRoute
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.exceptions import HTTPException

from tuneport import __version__
from tuneport.errors import TuneportError
from tuneport.pages.text import printable
from tuneport.pages.words import duration, money, number
from tuneport.serve.access import CSRF_FIELD, caller, check_csrf, csrf_token
from tuneport.serve.dashboard import words
from tuneport.serve.dashboard.assets import address
from tuneport.serve.dashboard.live import Part
from tuneport.serve.errors import Refusal, complaint_of, refusal_of
from tuneport.serve.gateway import Gateway

ATTACHMENT = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
_LONGEST_TEXT = 20_000

log = logging.getLogger(__name__)


class Pages:
    """Renders the templates. Whatever a template writes is escaped, and holds no control characters."""

    def __init__(self, gateway: Gateway) -> None:
        self.templates = Environment(
            loader=FileSystemLoader(Path(__file__).with_name("templates")),
            autoescape=True,
            undefined=StrictUndefined,
            finalize=_written,
        )
        self.templates.filters.update(
            money=money,
            duration=duration,
            number=number,
            ago=words.ago,
            since=words.since,
            month=words.month,
            moment=words.moment,
            clock=words.clock,
            size=words.size,
        )
        self.templates.globals.update(asset=address, version=__version__)
        # Parts of a page are written without the rest of it: what they use is no import of the page.
        self.templates.globals["show"] = self.templates.get_template("macros.html").module

    def page(self, template: str, request: Request, *, http_status: int = 200, **context: Any) -> HTMLResponse:
        body = self.templates.get_template(template).render(**_around(request), **context)
        etag = f'"{hashlib.sha256(body.encode()).hexdigest()[:24]}"'
        headers = {"ETag": etag}
        if http_status == 200 and request.headers.get("if-none-match") == etag:
            return HTMLResponse(status_code=304, headers=headers)
        return HTMLResponse(body, http_status, headers)

    def parts(self, template: str, request: Request, **context: Any) -> list[Part]:
        """Those of the page that change: what its blocks `live_NAME` write, which stand in the elements NAME."""
        found = self.templates.get_template(template)
        about = found.new_context(_around(request) | context)
        names = [name for name in found.blocks if name.startswith("live_")]
        return [Part(name.removeprefix("live_"), "".join(found.blocks[name](about))) for name in names]

    def macro(self, name: str, *given: Any) -> str:
        """What a macro of macros.html writes."""
        return str(getattr(self.templates.globals["show"], name)(*given))

    def error(self, request: Request, refusal: Refusal) -> HTMLResponse:
        return self.page("error.html", request, http_status=refusal.status, refusal=refusal)

    async def form(self, request: Request) -> dict[str, str]:
        """The fields of a form that one of these pages has sent; Refusal of any other."""
        if not request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
            raise Refusal(400, "A form was expected.")
        fields = dict(parse_qsl((await request.body()).decode("utf-8", "replace"), keep_blank_values=True))
        check_csrf(request, fields.pop(CSRF_FIELD, None))
        return fields


class PageRoute(APIRoute):
    """What goes wrong on a page is told as a page."""

    pages: ClassVar[Pages]

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            try:
                return await handler(request)
            except Refusal as error:
                refusal = error
            except TuneportError as error:
                refusal = refusal_of(error)
            except RequestValidationError as error:
                refusal = complaint_of(list(error.errors()), error.body)
            except HTTPException as error:
                refusal = Refusal(error.status_code, str(error.detail))
            except Exception as error:
                log.exception("%s %s failed", request.method, request.url.path, exc_info=error)
                refusal = Refusal(500, "tuneport failed; its log has the traceback. Please report it.")
            return self.pages.error(request, refusal)

        return guarded


def page_routes(pages: Pages) -> APIRouter:
    return APIRouter(route_class=type("PageRoute", (PageRoute,), {"pages": pages}), include_in_schema=False)


def see(path: str) -> RedirectResponse:
    """After a form: look there, so that a reload sends nothing again."""
    return RedirectResponse(path, 303)


def _around(request: Request) -> dict[str, Any]:
    """What every page knows of its reader. `may_submit` False: buttons that he would be refused are left out."""
    who = caller(request)
    form = Markup('<input type="hidden" name="{}" value="{}">').format(CSRF_FIELD, csrf_token(request))
    return {"request": request, "who": who, "may_submit": who.may("submit"), "csrf": form}


def _written(value: Any) -> Any:
    if value is None:
        return ""
    return value if isinstance(value, Markup) else printable(value, _LONGEST_TEXT)
