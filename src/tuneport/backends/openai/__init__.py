"""The backend of OpenAI's fine-tuning API, and of all that speak its wire format."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    """Import the backend when it is asked for: most of its files are needed without it."""
    if name != "OpenAIBackend":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from tuneport.backends.openai.backend import OpenAIBackend

    return OpenAIBackend
