"""The page for comparing two systems' answers blindly.

The browser never gets a system's name, a file's name, or a key that could be computed from the answers. The page
works for browsers of this machine, with the same checks as the gateway's pages; a rater has a name and nothing else.
"""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel, ConfigDict

from tuneport.errors import StorageError
from tuneport.pages.templates import render_template
from tuneport.scoring.people.blind import BlindRating, Choice
from tuneport.scoring.people.ratings import LONGEST_NAME, LONGEST_NOTE
from tuneport.serve.dashboard import assets
from tuneport.serve.http.access import csrf_token
from tuneport.serve.http.errors import Refusal
from tuneport.serve.local_pages.app import create_local_app

log = logging.getLogger(__name__)


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid")

    rater: str


class _Judged(_Asked):
    view: str
    choice: Choice
    note: str = ""
    seconds: float | None = None


def create_app(rating: BlindRating) -> FastAPI:
    app = create_local_app("rate")

    @app.exception_handler(StorageError)
    def _not_kept(request: Request, error: StorageError) -> JSONResponse:
        log.error("%s", error)  # which names the file, and the file perhaps the systems
        return Refusal(507, "Not kept: the disk refuses it, and the terminal of tuneport rate says why.").response()

    app.include_router(assets.router())

    @app.get("/")
    def page(request: Request) -> HTMLResponse:
        page = render_template(
            "serve/local_pages/rating.html",
            asset=assets.dashboard_asset_url,
            csrf=csrf_token(request),
            longest_name=LONGEST_NAME,
            longest_note=LONGEST_NOTE,
        )
        return HTMLResponse(page)

    @app.post("/rating/begin")
    def begin(asked: _Asked) -> dict[str, Any]:
        """Return the rater's progress and the next pair."""
        return asdict(rating.begin(asked.rater))

    @app.post("/rating/judge")
    def judge(judged: _Judged) -> dict[str, Any]:
        """Store a judgement, then return the progress and the next pair."""
        return asdict(rating.judge(judged.rater, judged.view, judged.choice, note=judged.note, seconds=judged.seconds))

    @app.post("/rating/undo")
    def undo(asked: _Asked) -> dict[str, Any]:
        """Undo the last judgement, and return the progress with its pair as the next one."""
        return asdict(rating.undo(asked.rater))

    return app
