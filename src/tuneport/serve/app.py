"""The gateway as an ASGI application."""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse

from tuneport.serve import dashboard
from tuneport.serve.dashboard import session as login
from tuneport.serve.gateway import Gateway
from tuneport.serve.http import errors
from tuneport.serve.http.access import Access, gateway_request_caller
from tuneport.serve.http.errors import Refusal
from tuneport.serve.http.guard import Guard
from tuneport.serve.http.metrics import FixedStatus, Observed
from tuneport.serve.http.openapi import ERRORS, install_openapi_document
from tuneport.serve.native import audit, estimates, events
from tuneport.serve.native import jobs as native_jobs
from tuneport.serve.native import models as native_models
from tuneport.serve.openai import chat, files, jobs, models
from tuneport.version import __version__


def create_app(gateway: Gateway) -> FastAPI:
    """Build the routes over a gateway; the caller starts and closes the gateway."""
    app = FastAPI(
        title="tuneport gateway",
        version=__version__,
        description="OpenAI's fine-tuning API over any backend.",
        docs_url=None,
        redoc_url=None,
        openapi_url="/tuneport/v1/openapi.json",
        responses=ERRORS,
    )
    install_openapi_document(app)
    errors.install_error_handlers(app)
    for part in (files, jobs, models, chat, audit, login):
        app.include_router(part.router(gateway))
    app.include_router(dashboard.router(gateway))
    for module in (events, native_jobs, native_models, estimates):
        app.include_router(module.router(gateway))

    @app.get("/healthz", tags=["Health"])
    def healthz() -> dict[str, str]:
        """Return 200 while the process answers."""
        return {"status": "ok"}

    @app.get("/readyz", tags=["Health"])
    def readyz() -> dict[str, str]:
        """Return 200 if the store answers, files can be kept and the background threads run."""
        gateway.unscoped.store.jobs.count_unfinished()
        gateway.contents.check_writable()
        if not gateway.working:
            raise Refusal(
                503, "The gateway's background work has stopped; its log says why. Restart it.", code="not_ready"
            )
        return {"status": "ok"}

    @app.get("/metrics", tags=["Health"], response_class=PlainTextResponse)
    def metrics(request: Request) -> PlainTextResponse:
        """Return Prometheus metrics: requests, jobs, files, chats and tokens of all projects. A token must be one
        for all projects."""
        who = gateway_request_caller(request)
        if who.token_id is not None and not who.every_project:
            raise Refusal(
                403,
                f"These figures are of all projects, and the token '{who.name}' is of one; `tuneport token create NAME "
                "--scope admin` makes one of all.",
                code="insufficient_permissions",
            )
        return PlainTextResponse(gateway.metrics.render_text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    app.add_middleware(Access, rules=gateway.access, credentials=gateway.credentials, limits=gateway.limits)
    app.add_middleware(FixedStatus)
    app.add_middleware(Guard, gateway_id=gateway.settings.gateway_id, body_limits=gateway.body_limits)
    app.add_middleware(Observed, metrics=gateway.metrics)
    return app
