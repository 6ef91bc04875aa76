"""The proxy and the certificates of a request that leaves this machine.

| variable, the first that is set | says |
| --- | --- |
| https_proxy, HTTPS_PROXY; for http:// addresses http_proxy, HTTP_PROXY; then all_proxy, ALL_PROXY | the proxy |
| no_proxy, NO_PROXY | who is reached without: names (with what is below them), addresses, networks, each with or without a port; * for all |
| SSL_CERT_FILE, SSL_CERT_DIR, REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE | the certificates to believe, instead of the usual ones |

The SDKs' HTTP libraries (httpx, and httpx2) read some of these, by rules of their own, and from the process's environment
alone, which knows nothing of `.env`. Here one rule holds for both.
"""  # noqa: E501

from __future__ import annotations

import ipaddress
import ssl
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from tuneport.backends.hosted.http.deadlines import (
    enforce_provider_deadlines,
    limit_provider_silence,
    limit_response_by_kind,
)
from tuneport.backends.hosted.http.redirects import CrossOriginRedirectError, refuse_cross_origin_redirect
from tuneport.errors import ConfigError
from tuneport.installation import install_extra

CERTIFICATE_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class HttpProxy:
    """`variable` is what the user has set; `url` may hold a password, `shown` does not."""

    variable: str
    url: str = field(repr=False)

    @property
    def redacted_url(self) -> str:
        return strip_url_credentials(self.url)


class ProviderNetwork:
    """`get` gives a variable's value: `Settings.get`. Nothing is opened or read before `transport`."""

    def __init__(self, get: Callable[[str], str | None]) -> None:
        self._get = get
        self._without_proxy = [entry.strip() for entry in (self._first("no_proxy")[1] or "").split(",")]

    def _first(self, *names: str) -> tuple[str, str | None]:
        for name in (form for given in names for form in (given, given.upper())):
            if value := self._get(name):
                return name, value
        return "", None

    def proxy_for(self, url: str) -> HttpProxy | None:
        """Return the proxy on the way to `url`, or None if there is none."""
        parts = urlsplit(url)
        return None if self._bypasses(parts.hostname or "", _port(url)) else self._proxy_of(parts.scheme)

    def _proxy_of(self, scheme: str) -> HttpProxy | None:
        name, value = self._first(f"{scheme}_proxy", "all_proxy")
        return None if value is None else HttpProxy(name, value if "://" in value else f"http://{value}")

    @property
    def proxy_urls(self) -> list[str]:
        return [proxy.url for scheme in _PORTS if (proxy := self._proxy_of(scheme)) is not None]

    def _bypasses(self, host: str, port: int | None) -> bool:
        return any(_matches(entry, host, port) for entry in self._without_proxy if entry)

    def certificate_source(self) -> tuple[str, Path] | None:
        """Return the variable that names certificates, and the file or folder that it names."""
        for name in CERTIFICATE_VARIABLES:
            if value := self._get(name):
                return name, Path(value).expanduser()
        return None

    def tls_context(self, library: Any) -> ssl.SSLContext:
        """Return the TLS context that decides which servers are trusted. `library` (httpx or httpx2) knows the usual
        certificates."""
        given = self.certificate_source()
        if given is None:
            context: ssl.SSLContext = library.create_ssl_context(trust_env=False)
            return context
        name, path = given
        try:
            if path.is_dir():
                return ssl.create_default_context(capath=str(path))
            return ssl.create_default_context(cafile=str(path))
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            reason = "it holds no certificate" if isinstance(error, ssl.SSLError) else error.strerror  # type: ignore[union-attr]
            raise ConfigError(
                f"{name} names {path}, which cannot be used ({reason}); name a file of certificates in PEM, or unset it"
            ) from error

    def transport(self, library: Any, limits: Any, *, user_of: str = "") -> ProxyRoutingTransport:
        """Return the arguments of `library`'s Client that route each request as the variables say.

        Requests to the host of the address `user_of` get its user and password, if it has them, in place of a key.
        Raises ConfigError for a proxy or a file of certificates that cannot be used.
        """
        context = self.tls_context(library)
        proxies = {scheme: proxy for scheme in _PORTS if (proxy := self._proxy_of(scheme)) is not None}
        return ProxyRoutingTransport(
            self,
            direct=enforce_provider_deadlines(library.HTTPTransport(verify=context, limits=limits, trust_env=False)),
            proxied={scheme: _proxied(library, proxy, context, limits) for scheme, proxy in proxies.items()},
            basic=_basic(user_of),
        )


class ProxyRoutingTransport:
    """A transport of httpx or httpx2: they ask for no more than these methods.

    A request takes no longer than its limit (see `deadlines`), and its body goes to no other server
    (`CrossOriginRedirectError`).
    """

    def __init__(
        self, network: ProviderNetwork, *, direct: Any, proxied: Mapping[str, Any], basic: tuple[str, str] | None = None
    ) -> None:
        self._network, self._direct, self._proxied, self._basic = network, direct, proxied, basic

    def handle_request(self, request: Any) -> Any:
        url = str(request.url)
        if self._basic is not None and request.url.host == self._basic[0]:
            request.headers["Authorization"] = self._basic[1]
        proxied = None if self._network.proxy_for(url) is None else self._proxied.get(request.url.scheme)
        with limit_provider_silence(request) as allowance:
            response = (proxied or self._direct).handle_request(request)
        limit_response_by_kind(allowance, request, response)
        try:
            refuse_cross_origin_redirect(request, response)
        except CrossOriginRedirectError:
            response.close()
            raise
        return response

    def close(self) -> None:
        for transport in (self._direct, *self._proxied.values()):
            transport.close()

    def __enter__(self) -> ProxyRoutingTransport:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def is_http_url(url: str) -> bool:
    """Return whether `url` can be called: http or https, a host, and a valid port if it has one."""
    try:
        parts = urlsplit(url)
        return parts.scheme in _PORTS and bool(parts.hostname) and (parts.port or 0) >= 0
    except ValueError:
        return False


def strip_url_credentials(url: str) -> str:
    """Return `url` without the name and password of a user."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _proxied(library: Any, proxy: HttpProxy, context: ssl.SSLContext, limits: Any) -> Any:
    try:
        # The proxy itself may be reached by TLS and have a certificate of the same authority.
        encrypted = {"ssl_context": context} if proxy.url.startswith("https://") else {}
        address = library.Proxy(proxy.url, **encrypted)
        return enforce_provider_deadlines(
            library.HTTPTransport(verify=context, limits=limits, trust_env=False, proxy=address)
        )
    except ImportError as error:
        raise ConfigError(
            f"{proxy.variable} names a SOCKS proxy, which needs a package: {install_extra('socks')}"
        ) from error
    except (ValueError, library.InvalidURL):
        # What was raised repeats the address, and with it a password.
        raise ConfigError(
            f"{proxy.variable} is not the address of a proxy; write http://HOST:PORT, "
            "with special characters in a password as %XX"
        ) from None


def _basic(url: str) -> tuple[str, str] | None:
    """Return the host of an address, and the header of the user and password that are in it."""
    parts = urlsplit(url)
    user_info, at, _ = parts.netloc.rpartition("@")
    if not at:
        return None
    user, _, password = user_info.partition(":")
    encoded = b64encode(f"{unquote(user)}:{unquote(password)}".encode()).decode()
    return parts.hostname or "", f"Basic {encoded}"


def _port(url: str) -> int | None:
    try:
        parts = urlsplit(url)
        return parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        return None


def _matches(entry: str, host: str, port: int | None) -> bool:
    """Return whether an entry of NO_PROXY means this host. A name means what is below it, too, as for curl."""
    if entry == "*":
        return True
    entry = entry.rpartition("://")[2].lower()
    name, _, only_port = entry.rpartition(":") if _ends_with_port(entry) else (entry, "", "")
    if only_port and port != int(only_port):
        return False
    name = name.strip("[]")
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(name, strict=False)
    except ValueError:
        name = name.removeprefix("*").removeprefix(".")
        return bool(name) and (host == name or host.endswith(f".{name}"))


def _ends_with_port(entry: str) -> bool:
    """Return whether the host ends with a port. An IPv6 address has colons of its own, unless it is in brackets."""
    name, colon, port = entry.rpartition(":")
    return bool(colon) and port.isdigit() and (":" not in name or name.endswith("]"))
