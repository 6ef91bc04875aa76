"""The form for a browser's token. `Access` checks the token."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from tuneport.serve.dashboard.pages import DashboardPages, dashboard_page_routes


def router(pages: DashboardPages) -> APIRouter:
    routes = dashboard_page_routes(pages)

    @routes.get("/login")
    def login(
        request: Request,
        wrong: bool = False,
        next: Annotated[str, Query(max_length=2000)] = "/",
    ) -> Response:
        return pages.render_page("login.html", request, wrong=wrong, next=next)

    return routes
