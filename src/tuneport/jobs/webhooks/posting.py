"""One signed request to one endpoint: to a checked address, no redirects, and nothing of the answer but its status."""

from __future__ import annotations

import asyncio
import base64
import email.utils
import json
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache

import httpx

from tuneport import __version__
from tuneport.errors import ConfigError
from tuneport.jobs.webhooks.addresses import PrivateAddressError, addresses_of
from tuneport.jobs.webhooks.endpoints import Endpoint
from tuneport.jobs.webhooks.signing import signed_headers

ALTOGETHER_SECONDS = 15.0
"""From looking the name up to the answer's status, however slowly it comes."""
LONGEST_WAIT = 24 * 3600.0
"""A receiver may ask for more patience than this and does not get it."""
GONE = 410


@dataclass(frozen=True)
class Outcome:
    """`status` of HTTP, or None and `error` where there was no answer. `retry_after` in seconds, where it said so."""

    status: int | None
    error: str | None = None
    retry_after: float | None = None

    @property
    def delivered(self) -> bool:
        return self.status is not None and 200 <= self.status < 300

    @property
    def final(self) -> bool:
        """Whether the receiver wants nothing more of this."""
        return self.delivered or self.status == GONE


def event_body(event_id: str, type_: str, job_id: str, created_at: datetime) -> bytes:
    """OpenAI's event object; the same bytes at every attempt."""
    event = {
        "id": event_id,
        "object": "event",
        "created_at": int(created_at.timestamp()),
        "type": type_,
        "data": {"id": job_id},
    }
    return json.dumps(event, separators=(",", ":")).encode()


async def post(endpoint: Endpoint, delivery_id: str, body: bytes) -> Outcome:
    """Never raises for what the network or the receiver does. A name that leads to a private address is tried again
    like one that leads nowhere: names are mended, too."""
    try:
        async with asyncio.timeout(ALTOGETHER_SECONDS):
            return await _post(endpoint, delivery_id, body)
    except TimeoutError:
        return Outcome(None, f"{endpoint.host} did not answer within {ALTOGETHER_SECONDS:.0f} s")
    except PrivateAddressError as error:
        return Outcome(None, str(error))
    except (OSError, UnicodeError) as error:  # a name that has no address, or is none
        return Outcome(None, f"{endpoint.host} has no address: {error}")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        told = str(error) or type(error).__name__
        return Outcome(None, f"{endpoint.host} cannot be reached: {told}")


async def _post(endpoint: Endpoint, delivery_id: str, body: bytes) -> Outcome:
    url = httpx.URL(endpoint.url)
    port = url.port or (443 if url.scheme == "https" else 80)
    name = url.raw_host.decode("ascii")
    addresses = await addresses_of(name, port, allow_private=endpoint.allow_private)
    headers = {
        "content-type": "application/json",
        "user-agent": f"tuneport/{__version__}",
        "host": url.netloc.decode("ascii"),
        **signed_headers(endpoint.key, delivery_id, int(time.time()), body),
    }
    if url.userinfo:
        password = base64.b64encode(f"{url.username}:{url.password}".encode()).decode()
        headers["authorization"] = f"Basic {password}"
    # A transport, no client: that one logs whole addresses, follows redirects, and by the environment's proxies would
    # have the name looked up again by somebody else.
    async with httpx.AsyncHTTPTransport(verify=_trusted(), trust_env=False) as transport:
        for number, address in enumerate(addresses, start=1):
            request = httpx.Request(
                "POST",
                url.copy_with(host=address, userinfo=b""),
                content=body,
                headers=headers,
                # The name for the server, which is also the one that its certificate must have.
                extensions={"sni_hostname": name, "timeout": httpx.Timeout(ALTOGETHER_SECONDS).as_dict()},
            )
            try:
                answer = await transport.handle_async_request(request)
            except httpx.ConnectError:
                if number == len(addresses):
                    raise
                continue
            wait = _retry_after(answer.headers)
            await answer.aclose()
            return Outcome(answer.status_code, retry_after=wait)
    raise ConfigError(f"{endpoint.host} has no address")


@cache
def _trusted() -> ssl.SSLContext:
    """The usual authorities, or those of SSL_CERT_FILE and SSL_CERT_DIR."""
    return httpx.create_ssl_context(trust_env=True)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    given = headers.get("retry-after", "").strip()
    if given.isascii() and given.isdigit():
        return min(float(given), LONGEST_WAIT)
    try:
        return min(max(0.0, email.utils.parsedate_to_datetime(given).timestamp() - time.time()), LONGEST_WAIT)
    except (ValueError, TypeError):
        return None
