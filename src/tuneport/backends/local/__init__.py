"""The backend of this machine and its clusters: runs that train in child processes, and what answers for their
models."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    """Import the backend when it is asked for: most of its files are needed without it."""
    if name != "LocalBackend":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from tuneport.backends.local.backend import LocalBackend

    return LocalBackend
