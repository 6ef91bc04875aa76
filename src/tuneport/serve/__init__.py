"""The gateway: OpenAI's fine-tuning API over any backend. `tuneport serve` runs it."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tuneport.serve.app import create_app
    from tuneport.serve.gateway import Gateway
    from tuneport.serve.http.credentials import AccessRules

__all__ = ["AccessRules", "Gateway", "create_app"]

OPEN_TO_OTHER_ROOMS = (
    "background",
    "local_pages.rating",
    "local_pages.review",
)
"""The modules here that other rooms import. The others may change freely."""

_HOMES = {"AccessRules": "http.credentials", "Gateway": "gateway", "create_app": "app"}


def __getattr__(name: str) -> Any:
    """Import the gateway when it is asked for: the page of a review opens sooner without it."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
