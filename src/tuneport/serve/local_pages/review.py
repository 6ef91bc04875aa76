"""The page for a review: on this machine only, behind a random token, without anything from a network."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel, ConfigDict

from tuneport.data.review.session import ReviewSession
from tuneport.serve.http.body_limits import BodyLimits
from tuneport.serve.local_pages.app import create_local_app

MAX_BODY_BYTES = 16 * 2**20
_PAGE = Path(__file__).with_name("review.html")


class _Judged(BaseModel):
    model_config = ConfigDict(extra="forbid")

    index: int
    verdict: str
    text: str | None = None


def create_app(
    review: ReviewSession, token: str, *, finish: Callable[[], object], remote_pictures: bool = False
) -> FastAPI:
    """Create the application, whose page is at `/TOKEN/`. `finish` is called when the reader is done.
    `remote_pictures`: the page may load pictures from other sites, which tells them who looks at what."""
    app = create_local_app("review", path_token=token, body_limits=BodyLimits(json=MAX_BODY_BYTES))
    routes = APIRouter(prefix=f"/{token}")

    @routes.get("/")
    def page() -> HTMLResponse:
        nonce, images = secrets.token_urlsafe(16), "http: https: data:" if remote_pictures else "'self' data:"
        text = _PAGE.read_text(encoding="utf-8").replace("{{nonce}}", nonce)
        headers = {
            "content-security-policy": f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; "
            f"connect-src 'self'; img-src {images}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            "referrer-policy": "no-referrer",  # the address holds the token
        }
        return HTMLResponse(text.replace("{{remote}}", str(remote_pictures).lower()), headers=headers)

    @routes.get("/review")
    def all_records() -> JSONResponse:
        return JSONResponse(review.as_dict(), headers={"cache-control": "no-store"})

    @routes.post("/judge")
    def judge(judged: _Judged) -> dict[str, Any]:
        """Store a verdict, and return the record as it stands."""
        return review.judge(judged.index, judged.verdict, judged.text)

    @routes.post("/undo")
    def undo() -> dict[str, Any]:
        """Take the last verdict back, and return its record."""
        return review.undo()

    @routes.post("/finish")
    def end() -> dict[str, Any]:
        """Return the summary, and end the page."""
        finish()
        return review.summary().as_dict()

    app.include_router(routes)
    return app
