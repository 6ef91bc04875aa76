"""The application under every local page, with one watch over who may ask it."""

from __future__ import annotations

from fastapi import FastAPI

from tuneport.serve.http import errors
from tuneport.serve.http.access import LocalBrowserAccess
from tuneport.serve.http.body_limits import BodyLimits
from tuneport.serve.http.guard import Guard
from tuneport.serve.http.metrics import FixedStatus
from tuneport.version import __version__


def create_local_app(
    command: str,
    *,
    path_token: str | None = None,
    body_limits: BodyLimits = BodyLimits(),  # noqa: B008
) -> FastAPI:
    """Create the application of a command without routes. With `path_token`, every path must begin with it."""
    app = FastAPI(title=f"tuneport {command}", version=__version__, docs_url=None, redoc_url=None, openapi_url=None)
    errors.install_error_handlers(app)
    app.add_middleware(FixedStatus)
    app.add_middleware(LocalBrowserAccess, command=command, path_token=path_token)
    app.add_middleware(Guard, gateway_id=None, body_limits=body_limits)
    return app
