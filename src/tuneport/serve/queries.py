"""What stands behind the question mark: objects as OpenAI's clients write them, moments, and what no route knows."""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Mapping
from typing import Annotated, Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic import AwareDatetime, BeforeValidator

from tuneport.serve.errors import Refusal

_KEY = re.compile(r'metadata\[([^\[\]"\\\0]+)\]')
"""SQLite has no way to write a quote or a backslash in the path of a key: asked for, it would find nothing."""


def _written(value: Any) -> Any:
    if isinstance(value, str) and "T" not in value.upper():
        raise ValueError("a moment with its time zone is written like 2026-11-26T12:00:00Z")
    return value


Moment = Annotated[AwareDatetime, BeforeValidator(_written)]
"""A bare number would pass for seconds since 1970, or for milliseconds."""


def by_metadata(query: Mapping[str, str]) -> dict[str, str] | None:
    """`metadata[KEY]=VALUE` for each that is wanted; empty for `metadata=null`: none at all; None: whatever it is."""
    wanted = {}
    for name, value in query.items():
        if not name.startswith("metadata"):
            continue
        match = _KEY.fullmatch(name)
        if match is not None:
            wanted[match[1]] = value
        elif (name, value) != ("metadata", "null"):
            raise Refusal(
                400,
                "Filter by metadata[KEY]=VALUE, the KEY without brackets, quotes and backslashes, or metadata=null.",
                param="metadata",
                code="invalid_value",
            )
    return wanted if wanted or "metadata" in query else None


_ANYWHERE = frozenset({"api-version"})
"""Azure's clients say it of their own accord with every request: it is no wish."""


class StrictRoute(APIRoute):
    """Refuses a query parameter that it does not have: whoever misspells a filter would take all for what he asked."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answer = super().get_route_handler()
        documented = {row["name"] for row in (self.openapi_extra or {}).get("parameters", ()) if row["in"] == "query"}
        known = _ANYWHERE | documented | {field.alias for field in self.dependant.query_params}

        async def checked(request: Request) -> Response:
            if request.scope["query_string"]:
                for name in request.query_params:
                    if name not in known and name.partition("[")[0] not in documented:
                        raise Refusal(
                            400, f"Unknown query parameter: '{name}'.", param=name, code="unknown_query_parameter"
                        )
            return await answer(request)

        return checked
