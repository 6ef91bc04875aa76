"""The dashboard at `/`: pages over the same functions as the command line and the API. It decides nothing.

Each page works without scripts; with them, a stream renews the parts that change (`live.py`).
"""

from __future__ import annotations

from fastapi import APIRouter

from tuneport.serve.dashboard import assets, catalogue, chat, comparison, job, jobs, login, new_job
from tuneport.serve.dashboard.curves import DashboardCurves
from tuneport.serve.dashboard.live import LivePages
from tuneport.serve.dashboard.pages import DashboardPages
from tuneport.serve.gateway import Gateway


def router(gateway: Gateway) -> APIRouter:
    pages, curves, live = DashboardPages(), DashboardCurves(gateway), LivePages(gateway)
    routes = APIRouter(include_in_schema=False)
    routes.include_router(assets.router())
    routes.include_router(login.router(pages))
    routes.include_router(jobs.router(gateway, pages, live))
    routes.include_router(job.router(gateway, pages, curves, live))
    routes.include_router(new_job.router(gateway, pages, live))
    routes.include_router(comparison.router(gateway, pages, curves, live))
    routes.include_router(chat.router(gateway, pages))
    routes.include_router(catalogue.router(gateway, pages))
    return routes
