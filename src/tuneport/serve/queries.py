"""Queries that OpenAI's clients write as objects."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AwareDatetime, BeforeValidator

from tuneport.serve.errors import Refusal

_KEY = re.compile(r"metadata\[([^\[\]]+)\]")


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
                400, "Filter by metadata[KEY]=VALUE, or metadata=null.", param="metadata", code="invalid_value"
            )
    return wanted if wanted or "metadata" in query else None
