"""Endpoints to notify, as this process is configured: `[webhooks.NAME]` in `tuneport.toml`, and the environment."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NoReturn
from urllib.parse import urlsplit

from pydantic import SecretStr

from tuneport.errors import ConfigError
from tuneport.lifecycle.webhooks.signing import parse_webhook_secret
from tuneport.settings import Settings

ENDS = ("succeeded", "failed", "cancelled")
OF_ENVIRONMENT = "environment"
"""The name of the endpoint of TUNEPORT_WEBHOOK_URL."""
NOTIFY = "notify-"


@dataclass(frozen=True)
class WebhookEndpoint:
    """One receiver of webhooks."""

    name: str
    url: str = field(repr=False)  # which may hold a password
    key: bytes = field(repr=False)
    events: tuple[str, ...]
    allow_private: bool

    def __reduce__(self) -> NoReturn:
        raise TypeError("a webhook's endpoint holds its secret and cannot be pickled")

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""


@dataclass(frozen=True)
class WebhookNotificationTarget:
    """One of the addresses of TUNEPORT_NOTIFY, by its place among them, since each is a secret."""

    name: str
    url: SecretStr
    events: tuple[str, ...] = ENDS

    def __reduce__(self) -> NoReturn:
        raise TypeError("an address of TUNEPORT_NOTIFY holds secrets and cannot be pickled")

    @property
    def service(self) -> str:
        return self.url.get_secret_value().partition(":")[0]


def parse_webhook_endpoints(settings: Settings) -> dict[str, WebhookEndpoint]:
    """Return the webhooks by name. Raises ConfigError if one is not valid."""
    return {endpoint.name: endpoint for endpoint in _webhooks(settings)}


def _webhooks(settings: Settings) -> Iterator[WebhookEndpoint]:
    for name, table in settings.project.webhooks.items():
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name) or name == OF_ENVIRONMENT or name.startswith(NOTIFY):
            raise ConfigError(f"[webhooks.{name}]: a name has letters, digits, - and _, and is not {OF_ENVIRONMENT!r}")
        where = f"[webhooks.{name}]"
        yield _endpoint(settings, name, table.url, where, table.secret_env, table.events, table.allow_private)
    url = settings.get("TUNEPORT_WEBHOOK_URL")
    if url is not None:
        private = settings.get("TUNEPORT_WEBHOOK_ALLOW_PRIVATE") or "0"
        if private not in ("0", "1"):
            raise ConfigError("TUNEPORT_WEBHOOK_ALLOW_PRIVATE is 1 or 0")
        secret = "TUNEPORT_WEBHOOK_SECRET"
        yield _endpoint(settings, OF_ENVIRONMENT, url, "TUNEPORT_WEBHOOK_URL", secret, (), private == "1")


def _endpoint(
    settings: Settings, name: str, url: str, where: str, variable: str, events: tuple[str, ...], private: bool
) -> WebhookEndpoint:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if host is None or parts.scheme not in ("https", "http"):
        raise ConfigError(f"the address of {where} is not valid; write https://HOST/PATH")
    if parts.scheme == "http" and not private:
        raise ConfigError(f"the address of {where} is http, which is not encrypted; use https")
    secret = settings.secret(variable)
    if secret is None:
        raise ConfigError(f"{where} needs its secret in {variable}; `tuneport webhook secret` makes one")
    return WebhookEndpoint(name, url, parse_webhook_secret(secret, variable), events or ENDS, private)


def read_notification_targets(settings: Settings) -> dict[str, WebhookNotificationTarget]:
    """Return the addresses in TUNEPORT_NOTIFY, which spaces separate, by name."""
    given = settings.get("TUNEPORT_NOTIFY") or ""
    return {
        f"{NOTIFY}{n}": WebhookNotificationTarget(f"{NOTIFY}{n}", SecretStr(url))
        for n, url in enumerate(given.split(), start=1)
    }
