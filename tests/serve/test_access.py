"""Who may ask: tokens, projects, pages of other sites, forms."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from typing import Any

import httpx
import pytest

pytest.importorskip("fastapi", reason="the gateway is an extra: pip install 'tuneport[serve]'")

from fastapi import FastAPI, Request  # noqa: E402
from fastapi.responses import HTMLResponse  # noqa: E402
from starlette.testclient import TestClient  # noqa: E402

from tests.serve.conftest import Running  # noqa: E402
from tuneport.serve import errors  # noqa: E402
from tuneport.serve.access import CSRF_HEADER, Access, caller, check_csrf, csrf_token  # noqa: E402


def test_packed_bodies_are_refused_unread(serve: Callable[..., Running]) -> None:
    bomb = gzip.compress(bytes(2**20))
    running = serve(background=False)
    told = httpx.post(f"{running.url}/fine_tuning/jobs", content=bomb, headers={"Content-Encoding": "gzip"})
    assert told.status_code == 415 and told.json()["error"]["code"] == "packed_body"


def page_app() -> FastAPI:
    app = FastAPI()
    errors.install(app)

    @app.get("/page")
    def page(request: Request) -> HTMLResponse:
        return HTMLResponse(f"{caller(request).name} {csrf_token(request)}")

    @app.post("/change")
    def change(request: Request) -> dict[str, Any]:
        check_csrf(request, request.headers.get(CSRF_HEADER))
        return {}

    app.add_middleware(Access)
    return app


def test_pages_run_nothing_that_is_written_into_them_and_forms_carry_a_word_of_ours() -> None:
    with TestClient(page_app(), base_url="http://localhost:8321") as client:
        page = client.get("/page")
        assert page.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self';")
        assert page.headers["x-frame-options"] == "DENY"
        name, word = page.text.split()
        assert name == "local"
        assert client.post("/change", headers={CSRF_HEADER: word}).status_code == 200
        for wrong in (b"", word[:-1].encode() + b"x", "\u00e9".encode("latin-1")):
            told = client.post("/change", headers={CSRF_HEADER: wrong})  # type: ignore[dict-item]
            assert told.json()["error"]["code"] == "csrf_failed"
            assert "content-security-policy" not in told.headers
