"""Which format a record is meant to be of that fits none: the one whose keys it has. So what is wrong with a value can
be said, instead of that nothing is known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_KEYS = (
    ("openai-preference", ("preferred_output", "non_preferred_output")),
    ("trl", ("chosen", "rejected")),
    ("alpaca", ("instruction", "output")),
    ("prompt-completion", ("prompt", "completion")),
    ("openai", ("messages",)),
    ("sharegpt", ("conversations",)),
    ("gemini", ("contents",)),
    ("text", ("text",)),
)
"""By what tells most."""


def nearest_format(row: Mapping[str, Any]) -> str | None:
    """Its name; None where the record has the keys of none."""
    return next((name for name, keys in _KEYS if all(key in row for key in keys)), None)
