"""Checks what an emulator was asked and what it answered against the vendor's published OpenAPI document.

The documents are not part of the project. They are looked for in the folder named by TUNEPORT_SPECS, else in
`../shared/specs` beside the checkout; where they are missing, the tests that need them are skipped.

They say OpenAPI 3.1 and still use `nullable: true` of 3.0, which a validator of 3.1 ignores, so it is rewritten first.
Where the real services, or the vendors' own clients, differ from a document, the document gives way: see AMENDMENTS.
"""

from __future__ import annotations

import copy
import functools
import json
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jsonschema
import yaml
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from tests.support.folders import SHARED
from tuneport.testing.emulators.server import LOGGED_BODY_BYTES, EmulatorExchange
from tuneport.testing.emulators.wire import EmulatedRequest

DOCUMENTS = {"openai": "openai.yaml", "together": "together.sdk-3.1.1.yaml"}


# Read when imported, because tests run without the user's TUNEPORT_ variables.
FOLDER = Path(os.environ.get("TUNEPORT_SPECS") or SHARED / "specs")


def specification_folder() -> Path | None:
    """Where the documents are, or None."""
    return FOLDER if all((FOLDER / name).is_file() for name in DOCUMENTS.values()) else None


def rewrite_nullable(schema: Any) -> Any:
    """A copy in which `nullable: true` is said in the words of JSON Schema."""
    if isinstance(schema, list):
        return [rewrite_nullable(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    members = schema.get("allOf")
    # `allOf: [X, {nullable: true}]` means that the whole may be null, which no part of an allOf can say.
    nullable = schema.get("nullable") is True or (isinstance(members, list) and {"nullable": True} in members)
    rewritten = {key: rewrite_nullable(value) for key, value in schema.items() if key != "nullable"}
    if isinstance(members, list) and {"nullable": True} in members:
        rewritten["allOf"] = [rewrite_nullable(member) for member in members if member != {"nullable": True}]
    return {"anyOf": [rewritten, {"type": "null"}]} if nullable else rewritten


def _openai_amendments(schemas: dict[str, Any]) -> None:
    job = schemas["FineTuningJob"]["properties"]
    # Real jobs that did not fail have `error` with null members, or an empty one.
    failure = job["error"]["anyOf"][0]
    del failure["required"]
    failure["properties"] |= {name: {"type": ["string", "null"]} for name in ("code", "message")}
    # There are calls to pause and resume, and no word for the state between them.
    job["status"]["enum"].append("paused")


def _together_amendments(schemas: dict[str, Any]) -> None:
    # What has min_lr_ratio and num_cycles fits both kinds of arguments, so `oneOf` turns every cosine scheduler down.
    arguments = schemas["LRScheduler"]["properties"]["lr_scheduler_args"]
    arguments["anyOf"] = arguments.pop("oneOf")
    # The package knows a terminal state more than the document.
    schemas["FinetuneJobStatus"]["enum"].append("user_error")


# The SDK sends these in the query, where the document has them in the body of a GET.
FURTHER_QUERY = {
    ("/fine-tunes/{id}/metrics", "get"): {
        "global_step_from", "global_step_to", "logged_at_from", "logged_at_to", "resolution",
    }
}  # fmt: skip
AMENDMENTS = {"openai": _openai_amendments, "together": _together_amendments}


class Specification:
    """One vendor's document. `complaints` of an exchange are what does not conform; none is well."""

    def __init__(self, provider: str, document: dict[str, Any]):
        document = copy.deepcopy(document)  # the YAML's anchors would have an amendment appear in several places
        AMENDMENTS[provider](document["components"]["schemas"])
        self.document = rewrite_nullable(document)
        self._registry = Registry().with_resource("urn:spec", Resource(self.document, DRAFT202012))
        self._operations = [
            (path, method.upper(), re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(path)) + "$"))
            for path, operations in sorted(self.document["paths"].items(), key=lambda item: item[0].count("{"))
            for method in operations
            if method in ("get", "post", "delete", "put", "patch")
        ]

    @functools.cache  # noqa: B019 (a handful of documents, for the length of a test run)
    def validator(self, *pointer: str) -> jsonschema.Draft202012Validator:
        escaped = "/".join(quote(part.replace("~", "~0").replace("/", "~1")) for part in pointer)
        return jsonschema.Draft202012Validator({"$ref": f"urn:spec#/{escaped}"}, registry=self._registry)

    def operation(self, exchange: EmulatorExchange) -> tuple[str, str] | None:
        path = exchange.path.removeprefix("/v1")
        for template, method, pattern in self._operations:
            if method == exchange.method and pattern.match(path):
                return template, method.lower()
        return None

    def declared(self, exchange: EmulatorExchange) -> tuple[str | None, set[str]] | None:
        """The content type of the body that the document has for such a request (None: no body), and the names of its
        query parameters; None where the document does not have the operation."""
        found = self.operation(exchange)
        if not found:
            return None
        path, operation = self.document["paths"][found[0]], self.document["paths"][found[0]][found[1]]
        given = [*path.get("parameters", []), *operation.get("parameters", [])]
        parameters = [self._resolved(parameter) for parameter in given]
        query = {parameter["name"] for parameter in parameters if parameter["in"] == "query"}
        content = list(operation.get("requestBody", {}).get("content", {}))
        return content[0] if content else None, query | FURTHER_QUERY.get(found, set())

    def _resolved(self, thing: dict[str, Any]) -> dict[str, Any]:
        if "$ref" not in thing:
            return thing
        target: Any = self.document
        for part in thing["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        return target

    def _undeclared(self, exchange: EmulatorExchange, place: str) -> list[str]:
        """About a body of a content type, and query parameters, that the document does not have here."""
        declared = self.declared(exchange)
        assert declared is not None
        body, query = declared
        kind = exchange.request_headers.get("content-type", "").partition(";")[0]
        complaints = []
        if exchange.request_body and kind != body:
            complaints.append(f"{place} request: a body of {kind or 'no type'}, which the document does not have")
        unknown = [name for name in exchange.query if name.partition("[")[0] not in query]
        return complaints + [f"{place} request: ?{name}, which the document does not have" for name in unknown]

    def complaints(self, exchange: EmulatorExchange) -> list[str]:
        """About the request body, and the answer if it is JSON or a stream of it; of unknown endpoints, that."""
        found = self.operation(exchange)
        if not found:
            return [f"{exchange.method} {exchange.path}: not in the document"]
        pointer: tuple[str, ...] = ("paths", *found)
        complaints: list[str] = []
        place = f"{exchange.method} {exchange.path}"
        operation = self.document["paths"][found[0]][found[1]]
        if exchange.request_headers.get("content-type", "").startswith("application/json") and exchange.request_body:
            if "application/json" in operation.get("requestBody", {}).get("content", {}):
                schema = self.validator(*pointer, "requestBody", "content", "application/json", "schema")
                complaints += self._errors(schema, exchange.request_json(), f"{place} request")
        complaints += self._undeclared(exchange, place)
        complaints += self._form_complaints(exchange, operation, pointer, place)
        status = str(exchange.status)
        kind = exchange.response_headers.get("content-type", "")
        place = f"{place} {status}"
        if kind.startswith("text/event-stream"):
            schema = self._component("CreateChatCompletionStreamResponse", "ChatCompletionChunk")
            for line in exchange.response_body.decode().split("\n\n"):
                if line.startswith("data: {"):
                    complaints += self._errors(schema, json.loads(line[6:]), place)
        elif kind.startswith("application/json"):
            content = operation["responses"].get(status, {}).get("content", {})
            if "application/json" in content:
                schema = self.validator(*pointer, "responses", status, "content", "application/json", "schema")
                complaints += self._errors(schema, exchange.json(), place)
            elif (exchange.status or 0) >= 400:
                schema = self._component("ErrorResponse", "ErrorData")
                complaints += self._errors(schema, exchange.json(), place)
            else:
                complaints.append(f"{place}: no such answer in the document")
        return complaints

    def _form_complaints(
        self, exchange: EmulatorExchange, operation: dict[str, Any], pointer: tuple[str, ...], place: str
    ) -> list[str]:
        """About a multipart request, its parts taken as texts. A body that the log has cut short is not judged."""
        content = operation.get("requestBody", {}).get("content", {})
        given = exchange.request_headers.get("content-type", "").startswith("multipart/form-data")
        if not given:
            return [f"{place} request: must be a form"] if "multipart/form-data" in content else []
        if "multipart/form-data" not in content:
            return []  # `_undeclared` has told
        if len(exchange.request_body) >= LOGGED_BODY_BYTES:
            return []
        form = EmulatedRequest(
            exchange.method, exchange.path, {}, exchange.request_headers, exchange.request_body
        ).form()
        values: dict[str, Any] = {}
        for name, part in form.items():
            outer, _, inner = name.partition("[")
            value = part if isinstance(part, str) else part.content.decode("utf-8", "replace")
            if inner:
                values.setdefault(outer, {})[inner.rstrip("]")] = int(value) if value.isdecimal() else value
            else:
                values[name] = value
        schema = self.validator(*pointer, "requestBody", "content", "multipart/form-data", "schema")
        return self._errors(schema, values, f"{place} request")

    def _component(self, *names: str) -> jsonschema.Draft202012Validator:
        """The first of the named schemas that this vendor's document has."""
        name = next(name for name in names if name in self.document["components"]["schemas"])
        return self.validator("components", "schemas", name)

    def _errors(self, validator: jsonschema.Draft202012Validator, instance: Any, place: str) -> list[str]:
        return [f"{place}: {error.json_path}: {error.message[:300]}" for error in validator.iter_errors(instance)]


@functools.cache
def published(provider: str) -> dict[str, Any] | None:
    """A provider's document as it was published, or None where it is not on this machine."""
    folder = specification_folder()
    if folder is None:
        return None
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the loader in C is ten times as fast
    with (folder / DOCUMENTS[provider]).open(encoding="utf-8") as file:
        document: dict[str, Any] = yaml.load(file, loader)
    return document


@functools.cache
def specification(provider: str) -> Specification | None:
    """The document of a provider, or None where there is none on this machine."""
    document = published(provider)
    return None if document is None else Specification(provider, document)
