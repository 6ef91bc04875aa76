"""One signed request to one endpoint: to a checked address, no redirects, and nothing of the answer but its status."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import time
from dataclasses import dataclass
from datetime import datetime
from functools import cache

import httpx2

from tuneport.errors import ConfigError
from tuneport.lifecycle.webhooks.addresses import PrivateAddressError, resolve_webhook_host
from tuneport.lifecycle.webhooks.endpoints import WebhookEndpoint
from tuneport.lifecycle.webhooks.signing import sign_webhook_headers
from tuneport.rate_limits import parse_retry_after
from tuneport.version import __version__

ALTOGETHER_SECONDS = 15.0
"""Seconds from looking the name up to the answer's status, however slowly it comes."""
"""A receiver may ask for more patience than this and does not get it."""
GONE = 410


@dataclass(frozen=True)
class WebhookDeliveryResult:
    """The result of an attempt: HTTP's `status`, or None and `error` if there was no answer. `retry_after` in seconds,
    if the answer has it."""

    status: int | None
    error: str | None = None
    retry_after: float | None = None

    @property
    def delivered(self) -> bool:
        return self.status is not None and 200 <= self.status < 300

    @property
    def is_final(self) -> bool:
        """Return whether the receiver wants nothing more of this."""
        return self.delivered or self.status == GONE


def webhook_event_body(event_id: str, type_: str, job_id: str, created_at: datetime) -> bytes:
    """Return OpenAI's event object; the same bytes at every attempt."""
    event = {
        "id": event_id,
        "object": "event",
        "created_at": int(created_at.timestamp()),
        "type": type_,
        "data": {"id": job_id},
    }
    return json.dumps(event, separators=(",", ":")).encode()


async def post_webhook(
    endpoint: WebhookEndpoint, delivery_id: str, body: bytes, *, most_seconds: float = ALTOGETHER_SECONDS
) -> WebhookDeliveryResult:
    """Send the request. It never raises for what the network or the receiver does. A name that leads to a private
    address is tried again like one that leads nowhere, because names are corrected, too."""
    try:
        async with asyncio.timeout(most_seconds):
            return await _post(endpoint, delivery_id, body, most_seconds)
    except TimeoutError:
        return WebhookDeliveryResult(None, f"{endpoint.host} did not answer within {most_seconds:.0f} s")
    except PrivateAddressError as error:
        return WebhookDeliveryResult(None, str(error))
    except (OSError, UnicodeError) as error:  # a name that has no address, or is none
        return WebhookDeliveryResult(None, f"{endpoint.host} has no address: {error}")
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        told = str(error) or type(error).__name__
        return WebhookDeliveryResult(None, f"{endpoint.host} cannot be reached: {told}")


async def _post(endpoint: WebhookEndpoint, delivery_id: str, body: bytes, most_seconds: float) -> WebhookDeliveryResult:
    url = httpx2.URL(endpoint.url)
    port = url.port or (443 if url.scheme == "https" else 80)
    name = url.raw_host.decode("ascii")
    addresses = await resolve_webhook_host(name, port, allow_private=endpoint.allow_private)
    headers = {
        "content-type": "application/json",
        "user-agent": f"tuneport/{__version__}",
        "host": url.netloc.decode("ascii"),
        **sign_webhook_headers(endpoint.key, delivery_id, int(time.time()), body),
    }
    if url.userinfo:
        password = base64.b64encode(f"{url.username}:{url.password}".encode()).decode()
        headers["authorization"] = f"Basic {password}"
    # A transport, no client: that one logs whole addresses, follows redirects, and by the environment's proxies would
    # have the name looked up again by another library.
    async with httpx2.AsyncHTTPTransport(verify=_trusted(), trust_env=False) as transport:
        for number, address in enumerate(addresses, start=1):
            request = httpx2.Request(
                "POST",
                url.copy_with(host=address, userinfo=b""),
                content=body,
                headers=headers,
                # The name for the server, which is also the one that its certificate must have.
                extensions={"sni_hostname": name, "timeout": httpx2.Timeout(most_seconds).as_dict()},
            )
            try:
                answer = await transport.handle_async_request(request)
            except httpx2.ConnectError:
                if number == len(addresses):
                    raise
                continue
            await answer.aclose()
            return WebhookDeliveryResult(answer.status_code, retry_after=parse_retry_after(answer.headers))
    raise ConfigError(f"{endpoint.host} has no address")


@cache
def _trusted() -> ssl.SSLContext:
    """Return the usual authorities, or those of SSL_CERT_FILE and SSL_CERT_DIR."""
    return httpx2.create_ssl_context(trust_env=True)
