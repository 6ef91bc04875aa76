"""The gateway: OpenAI's fine-tuning API over any backend. `tuneport serve` runs it."""

from tuneport.serve.app import create_app
from tuneport.serve.gateway import Gateway

__all__ = ["Gateway", "create_app"]
