"""The backend of Together.ai."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    """Import the backend when it is asked for: most of its files are needed without it."""
    if name != "TogetherBackend":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from tuneport.backends.together.backend import TogetherBackend

    return TogetherBackend
