"""Query parameters: objects in OpenAI's notation, times, and the refusal of unknown parameters."""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Mapping
from typing import Annotated, Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic import AwareDatetime, BeforeValidator

from tuneport.serve.http.errors import Refusal

_KEY = re.compile(r'metadata\[([^\[\]"\\\0]+)\]')
"""A metadata key. Quotes and backslashes are refused: SQLite cannot write them in a path, so the filter would find
nothing."""


def _written(value: Any) -> Any:
    if isinstance(value, str) and "T" not in value.upper():
        raise ValueError("write a time with its zone, like 2026-11-26T12:00:00Z")
    return value


Moment = Annotated[AwareDatetime, BeforeValidator(_written)]
"""A time with its zone. A bare number is refused: it could mean seconds or milliseconds since 1970."""


def parse_metadata_query(query: Mapping[str, str]) -> dict[str, str] | None:
    """Parse `metadata[KEY]=VALUE` filters. Returns an empty dictionary for `metadata=null` (jobs without metadata),
    and None if there is no filter."""
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
"""Azure's clients send it with every request: it is ignored."""


class StrictRoute(APIRoute):
    """The route class that refuses unknown query parameters: a misspelt filter would otherwise return everything."""

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
