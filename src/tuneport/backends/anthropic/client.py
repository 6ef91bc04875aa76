"""The official SDK's client for one account: its address and key, and nothing of the environment."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tuneport.backends.hosted.backend import provider_headers
from tuneport.backends.hosted.http.loop_guard import gateway_hop_hook

if TYPE_CHECKING:
    from tuneport.settings import Settings


def open_anthropic_client(
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
    import anthropic
    import httpx2

    timeout = anthropic.Timeout(seconds, connect=min(10.0, seconds))
    hooks: dict[str, list[Any]] = {"request": [gateway_hop_hook(settings.gateway_id)], "response": [look_at]}
    client = anthropic.Anthropic(
        api_key=key,
        base_url=base_url,
        max_retries=0,
        timeout=timeout,
        default_headers=provider_headers(key, settings),
        http_client=anthropic.DefaultHttpxClient(
            timeout=timeout, event_hooks=hooks, **wiring(httpx2, anthropic.DEFAULT_CONNECTION_LIMITS)
        ),
    )
    client.webhook_key = None  # which the SDK takes from the process's environment
    return client
