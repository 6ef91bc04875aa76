"""The official SDK's client for one account, by its manifest: address, key header, and nothing of the environment."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tuneport.backends.hosted.backend import provider_headers
from tuneport.backends.hosted.http.loop_guard import gateway_hop_hook
from tuneport.backends.hosted.idempotency import add_idempotency_key

if TYPE_CHECKING:
    from tuneport.manifests import Manifest
    from tuneport.settings import Settings


def open_openai_client(
    manifest: Manifest,
    settings: Settings,
    base_url: str,
    key: str,
    seconds: float,
    look_at: Callable[[Any], None],
    *,
    wiring: Callable[[Any, Any], dict[str, Any]],
) -> Any:
    """Make a client without retries of its own. `seconds` without a byte end a call; `look_at` sees every response;
    `wiring` is `HostedBackend.http_client_arguments`."""
    import httpx2
    import openai

    timeout = openai.Timeout(seconds, connect=min(10.0, seconds))
    hooks: dict[str, list[Any]] = {
        "request": [gateway_hop_hook(settings.gateway_id), add_idempotency_key],
        "response": [look_at],
    }
    if manifest.key_header == "api-key":
        hooks["request"].append(_own_key_header(key, base_url))
    headers = provider_headers(key, settings)
    for header, variable in manifest.account_env.items():
        if value := settings.get(variable):
            headers[header] = value
    client = openai.OpenAI(
        api_key=key,
        base_url=base_url,
        max_retries=0,
        timeout=timeout,
        default_headers=headers,
        http_client=openai.DefaultHttpxClient(
            timeout=timeout, event_hooks=hooks, **wiring(httpx2, openai.DEFAULT_CONNECTION_LIMITS)
        ),
    )
    # The SDK takes what it is not given from the process's environment, which another account may own.
    client.organization = client.project = client.admin_api_key = None
    return client


def _own_key_header(key: str, base_url: str) -> Callable[[Any], None]:
    """Return a hook that moves the key to the header `api-key`, and leaves it out if a redirect leads to another
    server."""
    own = urlsplit(base_url)

    def move(request: Any) -> None:
        request.headers.pop("Authorization", None)
        request.headers.pop("api-key", None)
        if (request.url.scheme, request.url.host, request.url.port) == (own.scheme, own.hostname, own.port):
            request.headers["api-key"] = key

    return move
