"""The gateway's own OpenAPI document, made from its routes, with every status that they may return."""

from __future__ import annotations

import re
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from tuneport.serve.wire.chat_answer import ChatCompletion, ChatCompletionChunk, ErrorResponse

_REFUSALS = {
    400: "The request is refused; `param` names the parameter.",
    401: "The token is missing or unknown.",
    403: "The token or the request's origin does not permit this.",
    404: "Not found.",
    405: "The method is not allowed; `Allow` lists those that are.",
    409: "The object has changed meanwhile, or conflicts with an earlier request.",
    413: "The body is too large.",
    415: "Compressed bodies are not accepted.",
    429: "Too many requests; try again.",
    500: "tuneport failed; its log has the traceback.",
    502: "The backend refuses the gateway's own key.",
    503: "The store or the backend does not answer; try again.",
    507: "The disk is full.",
}
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorResponse, "description": text} for status, text in _REFUSALS.items()
}
_CHUNK = {"$ref": "#/components/schemas/ChatCompletionChunk"}
_EVENT = {"anyOf": [_CHUNK, {"$ref": "#/components/schemas/ErrorResponse"}]}
CHAT_ANSWERS: dict[str, Any] = {
    "model": ChatCompletion,
    "description": "The answer; with `stream`, its chunks.",
    "content": {
        "text/event-stream": {
            "itemSchema": {
                "type": "object",
                "properties": {
                    "data": {
                        "anyOf": [
                            {"const": "[DONE]"},
                            {"type": "string", "contentMediaType": "application/json", "contentSchema": _EVENT},
                        ]
                    }
                },
                "required": ["data"],
            },
        }
    },
}
BY_METADATA: dict[str, Any] = {
    "parameters": [
        {
            "name": "metadata",
            "in": "query",
            "required": False,
            "style": "deepObject",
            "explode": True,
            "description": "Metadata that a job must have: `metadata[KEY]=VALUE`.",
            # In a query, `true`, `7` and a list of one are plain text, and an empty list is absent.
            "schema": {"type": "object", "additionalProperties": {"description": "As text."}},
        }
    ]
}
_REQUEST_ID = {
    "x-request-id": {"schema": {"type": "string"}, "description": "The id of this response, also in the log."}
}


def install_openapi_document(app: FastAPI) -> None:
    """Make the app serve this document, without responses that FastAPI adds and the gateway never sends."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def allowed_http_methods(app: FastAPI, path: str) -> list[str]:
    """Return all methods of a path; each of its routes knows only one."""
    methods = {
        method.upper()
        for template, operations in app.openapi()["paths"].items()
        if re.fullmatch(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(template)), path)
        for method in operations
    }
    return sorted(methods)


def _document(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    schemas = document["components"]["schemas"]
    chunk = ChatCompletionChunk.model_json_schema(mode="serialization", ref_template="#/components/schemas/{model}")
    for name, schema in chunk.pop("$defs").items():
        schemas.setdefault(name, schema)
    schemas["ChatCompletionChunk"] = chunk
    for name in ("HTTPValidationError", "ValidationError"):  # a request that cannot be read is a 400 here
        schemas.pop(name, None)
    for operations in document["paths"].values():
        for operation in operations.values():
            operation["responses"].pop("422", None)
            for answer in operation["responses"].values():
                answer.setdefault("headers", {}).update(_REQUEST_ID)
    return document
