"""Signatures as OpenAI's webhooks have them, which is the way of standardwebhooks.com."""

from __future__ import annotations

import base64
import binascii
import secrets
from datetime import UTC, datetime

from pydantic import SecretStr
from standardwebhooks import Webhook

from tuneport.errors import ConfigError

PREFIX = "whsec_"
FEWEST_BYTES = 24
"""Standard Webhooks takes keys of 24 to 64 bytes; its library takes any."""


def new_webhook_secret() -> str:
    return PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def parse_webhook_secret(secret: SecretStr, name: str) -> bytes:
    """Return the bytes behind `whsec_...`. Raises ConfigError if it is invalid; the error names the variable and never
    repeats the secret."""
    text = secret.get_secret_value().strip()
    try:
        key = base64.b64decode(text.removeprefix(PREFIX), validate=True) if text.startswith(PREFIX) else b""
    except (binascii.Error, ValueError):
        key = b""
    if len(key) < FEWEST_BYTES:
        raise ConfigError(
            f"{name} is no secret for webhooks, which is whsec_ and at least {FEWEST_BYTES} bytes in base64; "
            "`tuneport webhook secret` makes one"
        )
    return key


def sign_webhook_headers(key: bytes, delivery_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Return the headers with the signature. `timestamp` is the attempt's, in Unix seconds: receivers refuse what is
    older than five minutes."""
    signature = Webhook(key).sign(delivery_id, datetime.fromtimestamp(timestamp, UTC), body.decode())
    return {"webhook-id": delivery_id, "webhook-timestamp": str(timestamp), "webhook-signature": signature}
