"""Cleans the answers of providers: odd values of fields that may be absent count as absent.

A field that must be there (an id, a status) and is odd is an error of its reader; see
`HostedBackend._translating`, which names provider and field.
"""

from __future__ import annotations

import math
from typing import Any

MOST = 2**53
"""Larger counts mean nothing, and neither JSON nor a database keeps them exactly."""
DEEPEST = 40
LONGEST = 100_000  # characters of one text


def sanitise_provider_json(value: Any, depth: int = 0) -> Any:
    """Return `value`, parsed from JSON, made harmless: None for numbers that are not finite or beyond `MOST` and for
    what is nested deeper than `DEEPEST`, texts cut at `LONGEST` characters."""
    if isinstance(value, dict):
        return (
            None
            if depth >= DEEPEST
            else {str(name): sanitise_provider_json(item, depth + 1) for name, item in value.items()}
        )
    if isinstance(value, list):
        return None if depth >= DEEPEST else [sanitise_provider_json(item, depth + 1) for item in value]
    if isinstance(value, str):
        return value if len(value) <= LONGEST else f"{value[:LONGEST]}…"
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return parse_provider_number(value)
    return value


def parse_provider_count(value: Any) -> int | None:
    """Return a whole number from 0 up to `MOST`, or None for anything else."""
    if isinstance(value, float) and value.is_integer():
        value = int(value) if abs(value) <= MOST else None
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST else None


def parse_provider_number(value: Any) -> float | None:
    """Return a finite number, or None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return value if abs(value) <= MOST and math.isfinite(value) else None


def parse_provider_text(value: Any) -> str | None:
    """Return a text that is not empty, or None for anything else."""
    return value if isinstance(value, str) and value else None


def parse_provider_object(value: Any) -> dict[str, Any]:
    """Return a JSON object, or an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def parse_provider_rows(value: Any) -> list[dict[str, Any]]:
    """Return the objects of a list; an empty list for anything else."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


_LONGEST_WORD = 200


def require_provider_text(answer: dict[str, Any], name: str) -> str:
    """Return the text of a required field. Raises ValueError that names the field if it is missing or not a text."""
    if (value := parse_provider_text(answer.get(name))) is None:
        raise ValueError(f"the field {name} is missing or not a text")
    if len(value) > _LONGEST_WORD:
        raise ValueError(f"the field {name} has {len(value):,} characters")
    return value
