"""Why there was no answer, read from the exceptions of the HTTP libraries: httpx and httpx2 name theirs alike."""

from __future__ import annotations

import socket
import ssl
from typing import Any

UNKNOWN_AUTHORITY = (18, 19, 20, 21)  # OpenSSL's codes: self-signed, itself or in the chain, or issuer not found
SILENT = "gave no answer within the time limit"
BROKEN_OFF = "closed the connection before the answer was complete"


def provider_request_never_sent(error: BaseException) -> bool:
    """Return whether the connection failed before the request could leave this machine."""
    return any(
        type(cause).__name__ in ("ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError", "UnsupportedProtocol")
        for cause in connection_error_causes(error)
    )


def connection_error_chain(error: BaseException) -> list[BaseException]:
    """Return `error`, its causes and its contexts, all the way."""
    found: list[BaseException] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        shown = waiting.pop()
        if shown is not None and shown not in found:
            found.append(shown)
            waiting += [shown.__cause__, shown.__context__]
    return found


def connection_error_causes(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        # The HTTP libraries cut the chain of their own errors ("from None"); elsewhere the context may be an error that
        # is being handled further out and has nothing to do with this one.
        own = type(error).__module__.startswith("httpcore")
        error = error.__cause__ or (error.__context__ if own else None)
    return found


def connection_error_reason(error: Exception) -> str | None:
    """Return why there was no answer, in words, or None if there was one. Both HTTP libraries name their errors
    alike."""
    behind = connection_error_causes(error)
    names = {type(cause).__name__ for cause in behind}
    if any(isinstance(cause, ConnectionRefusedError) for cause in behind):
        return "connection refused"
    if any(isinstance(cause, socket.gaierror) for cause in behind):
        return "the name does not resolve"
    if any(isinstance(cause, ssl.SSLError) for cause in behind):
        return "the TLS connection failed"
    if "ConnectTimeout" in names:
        return "no connection within the time limit"
    if names & {"APITimeoutError", "ReadTimeout", "WriteTimeout", "PoolTimeout"}:
        return SILENT
    if names & {"RemoteProtocolError", "ReadError", "WriteError", "CloseError"}:
        return BROKEN_OFF
    if "ProxyError" in names:
        return "the proxy refuses"
    if names & {"APIConnectionError", "RequestError", "TransportError", "ConnectError"}:
        return "the connection failed"
    return None


def error_request_url(error: Any) -> str | None:
    """Return the URL of the request of an error or a response, or None; the HTTP libraries raise if there is none."""
    try:
        return str(error.request.url)
    except (AttributeError, RuntimeError):
        return None
