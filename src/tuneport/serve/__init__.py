"""The gateway: OpenAI's fine-tuning API over any backend. `tuneport serve` runs it."""

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
