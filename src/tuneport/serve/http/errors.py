"""Refusals in OpenAI's error format: tuneport's errors by class, and requests that cannot be parsed."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.middleware.body_limit import MAX_BODY_SIZE_SCOPE_KEY

from tuneport.errors import (
    AuthError,
    ConfigError,
    DatasetError,
    ModelNotOfferedError,
    NoBackendChosenError,
    NotDeployedError,
    NotFoundError,
    ProviderError,
    QuotaError,
    RateLimitError,
    StorageError,
    TrainingError,
    TuneportError,
    UnavailableError,
    UnsupportedError,
)
from tuneport.lifecycle.contents.remote_contents import FilesUnavailableError
from tuneport.lifecycle.schema.database import StoreUnavailableError
from tuneport.lifecycle.store.store import UnknownJobError
from tuneport.rate_limits import retry_after_headers
from tuneport.serve.http.openapi import ERRORS, allowed_http_methods

log = logging.getLogger(__name__)


_NOT_BETTER_LATER = ("backend_not_authorized", "local_model_failed", "insufficient_storage")


class Refusal(Exception):
    """An error response in OpenAI's format."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        kind: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code
        self.headers = headers or {}
        self.kind = kind or ("server_error" if status >= 500 else "invalid_request_error")

    def response(self, headers: dict[str, str] | None = None) -> JSONResponse:
        told = self.headers | (headers or {})
        if self.code in _NOT_BETTER_LATER:
            told["x-should-retry"] = "false"  # OpenAI's clients retry every 5xx
        return JSONResponse(self.body(), self.status, told)

    def body(self) -> dict[str, Any]:
        return {"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}}


def gateway_not_found_refusal(what: str, param: str, code: str | None = None) -> Refusal:
    return Refusal(404, what, param=param, code=code)


def body_too_large_refusal(most: int) -> Refusal:
    return Refusal(413, f"The body is too large: at most {most:,} bytes.")


def gateway_refusal_for_error(error: TuneportError) -> Refusal:
    """Return the refusal for an error: its message unchanged, since it says what to do, and OpenAI's code."""
    text = str(error)
    if isinstance(error, StoreUnavailableError):  # whose message names the store's address
        return Refusal(503, "The gateway's store does not answer; try again.", code="store_unavailable")
    if isinstance(error, FilesUnavailableError):  # the same
        return Refusal(503, "The gateway's store of files does not answer; try again.", code="files_unavailable")
    if isinstance(error, ModelNotOfferedError):
        return Refusal(400, text, param="model", code="model_not_available")
    if isinstance(error, NoBackendChosenError):
        return Refusal(400, text, param="model", code="model_ambiguous")
    if isinstance(error, DatasetError):
        return Refusal(400, text, param="training_file", code="invalid_training_file")
    if isinstance(error, UnknownJobError):
        return Refusal(404, text, param="fine_tuning_job_id", code="fine_tune_not_found")
    if isinstance(error, StorageError):
        return Refusal(507, text, code="insufficient_storage")
    if isinstance(error, AuthError):
        # The client's own key is not wrong: 401 would make it ask its user for another one.
        return Refusal(502, text, code="backend_not_authorized")
    if isinstance(error, QuotaError):
        return Refusal(429, text, code="insufficient_quota", kind="insufficient_quota")
    if isinstance(error, RateLimitError):
        return Refusal(429, text, code=error.code or "rate_limit_exceeded", kind="rate_limit_error")
    if isinstance(error, NotFoundError):
        return Refusal(404, text, code=error.code)
    if isinstance(error, UnavailableError):
        return Refusal(503, text, code=error.code or "backend_unavailable")
    if isinstance(error, ProviderError):
        status = error.http_status or 400
        return Refusal(status if status < 500 and status in ERRORS else 400, text, code=error.code)
    if isinstance(error, TrainingError):
        return Refusal(500, text, code="local_model_failed")
    if isinstance(error, NotDeployedError):
        if error.starting:
            return Refusal(503, text, param="model", code="endpoint_starting", headers=retry_after_headers(30))
        return Refusal(400, text, param="model", code="not_deployed")
    if isinstance(error, UnsupportedError):
        return Refusal(400, text, param=error.param, code="unsupported")
    if isinstance(error, ConfigError):
        return Refusal(400, text, code="invalid_value")
    return Refusal(400, text)


def gateway_refusal_for_validation(errors: list[dict[str, Any]], given: Any) -> Refusal:
    """Return pydantic's most precise error in OpenAI's format: the parameter's path, and what is wrong."""
    named = [(_path(row, given), row) for row in errors]
    path, told = max(named, key=lambda pair: len(pair[0]))  # for a union: the type that matched most
    param = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".") or None
    if told["type"] == "extra_forbidden":
        return Refusal(400, f"Unknown parameter: '{param}'.", param=param, code="unknown_parameter")
    if told["type"] == "missing":
        message = f"Missing required parameter: '{param}'." if param else "This request needs a body: a JSON object."
        return Refusal(400, message, param=param, code="missing_required_parameter")
    if told["type"] == "json_invalid":
        return Refusal(400, "We could not parse the JSON body of your request.")
    if told["type"] == "model_attributes_type" and param is None:
        return Refusal(
            400, "This request needs a JSON object, sent with Content-Type: application/json.", code="invalid_value"
        )
    message = str(told["msg"]).removeprefix("Value error, ")
    return Refusal(
        400, f"Invalid value for '{param}': {message}." if param else message, param=param, code="invalid_value"
    )


def _path(error: dict[str, Any], given: Any) -> list[str | int]:
    """Return the error's path without the type names that pydantic adds, which are not keys of the input."""
    where, *parts = error["loc"]
    if where != "body":
        return list(parts)
    path: list[str | int] = []
    here = given
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        if isinstance(here, dict) and (part in here or (last and error["type"] == "missing")):
            here = here.get(part)
        elif isinstance(here, list) and isinstance(part, int) and part < len(here):
            here = here[part]
        else:
            continue
        path.append(part)
    if error["type"].startswith("union_tag"):
        path.append(str(error["ctx"]["discriminator"]).strip("'"))
    return path


def install_error_handlers(app: FastAPI) -> None:
    """Install the handlers that answer every error in one format. `FixedStatus` handles bugs."""

    @app.exception_handler(Refusal)
    def _refused(request: Request, error: Refusal) -> JSONResponse:
        return error.response()

    @app.exception_handler(TuneportError)
    def _tuneport(request: Request, error: TuneportError) -> JSONResponse:
        if isinstance(error, StoreUnavailableError | FilesUnavailableError):
            log.error("%s %s: %s", request.method, request.url.path, error)
        retry_after = getattr(error, "retry_after", None)
        headers = {} if retry_after is None else retry_after_headers(retry_after)
        return gateway_refusal_for_error(error).response(headers)

    @app.exception_handler(RequestValidationError)
    def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        return gateway_refusal_for_validation(list(error.errors()), error.body).response()

    @app.exception_handler(HTTPException)
    def _http(request: Request, error: HTTPException) -> JSONResponse:
        message, headers = str(error.detail), dict(error.headers or {})
        if error.status_code == 404:
            message = f"Unknown request URL: {request.method} {request.url.path}. Please check the URL for typos."
        elif error.status_code == 405:
            message = f"Not allowed to {request.method} on {request.url.path}."
            headers["Allow"] = ", ".join(allowed_http_methods(app, request.url.path))
        elif error.status_code == 413:
            return body_too_large_refusal(request.scope[MAX_BODY_SIZE_SCOPE_KEY]).response(headers)
        code = "unknown_url" if error.status_code == 404 else None
        return Refusal(error.status_code, message, code=code).response(headers)
