"""Styles, scripts and the icon of the dashboard: a few files by name, never by path."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from fastapi import APIRouter, Response

from tuneport.pages.templates import STYLE
from tuneport.serve.http.errors import gateway_not_found_refusal

_STATIC = Path(__file__).with_name("static")
_RATING = Path(__file__).parents[1] / "local_pages"
FILES = {
    "page.css": (STYLE, "text/css"),
    "dashboard.css": (_STATIC / "dashboard.css", "text/css"),
    "live.js": (_STATIC / "live.js", "text/javascript"),
    "upload.js": (_STATIC / "upload.js", "text/javascript"),
    "chart.js": (_STATIC / "chart.js", "text/javascript"),
    "chat.js": (_STATIC / "chat.js", "text/javascript"),
    "rating.css": (_RATING / "rating.css", "text/css"),
    "rating.js": (_RATING / "rating.js", "text/javascript"),
    "icon.svg": (_STATIC / "icon.svg", "image/svg+xml"),
}


def router() -> APIRouter:
    routes = APIRouter()

    @routes.get("/assets/{name}")
    def asset(name: str) -> Response:
        if name not in FILES:
            raise gateway_not_found_refusal(f"There is no asset {name!r}.", "name")
        content, type_ = _content(name)
        headers = {"Cache-Control": "public, max-age=31536000, immutable", "X-Content-Type-Options": "nosniff"}
        return Response(content, media_type=type_, headers=headers)

    return routes


def dashboard_asset_url(name: str) -> str:
    """Return the URL of an asset. It contains the content's hash, so that browsers cache it until it changes."""
    return f"/assets/{name}?v={hashlib.sha256(_content(name)[0]).hexdigest()[:12]}"


@cache
def _content(name: str) -> tuple[bytes, str]:
    path, type_ = FILES[name]
    return path.read_bytes(), type_
