"""The backend of Anthropic's Messages API: Claude answers, judges and is compared with, and is never trained."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    """Import the backend when it is asked for."""
    if name != "AnthropicBackend":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from tuneport.backends.anthropic.backend import AnthropicBackend

    return AnthropicBackend
