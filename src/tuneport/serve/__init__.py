"""The gateway: OpenAI's fine-tuning API over any backend. `tuneport serve` runs it."""

from tuneport.serve.app import create_app
from tuneport.serve.credentials import AccessRules
from tuneport.serve.gateway import Gateway

__all__ = ["AccessRules", "Gateway", "create_app"]
