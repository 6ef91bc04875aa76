"""Redirects: another server never gets the body of a request, which may be a dataset or hold a key."""

from __future__ import annotations

from typing import Any

_REDIRECTS = (301, 302, 303, 307, 308)
_SAME_AGAIN = (307, 308)  # the others turn a POST into a GET without a body


class CrossOriginRedirectError(Exception):
    """A server wants the body of a request sent to another one."""


def refuse_cross_origin_redirect(request: Any, response: Any) -> None:
    """Raise CrossOriginRedirectError, which names both origins, if `response` redirects a request with a body to
    another origin.

    `request` and `response` are of httpx or httpx2. A POST that is answered with 301, 302 or 303 goes on as a GET
    without a body, and so may be sent anywhere: that is how Together tells where to upload to.
    """
    location = response.headers.get("location")
    if response.status_code not in _REDIRECTS or not location or not _has_body(request):
        return
    if request.method == "POST" and response.status_code not in _SAME_AGAIN:
        return
    try:
        there = extract_url_origin(request.url.join(location))
    except Exception:  # the library's own InvalidURL, and what it lets through
        there = "no address"
    here = extract_url_origin(request.url)
    if there != here:
        what = f"{request.method} {request.url.path} ({response.status_code})"
        raise CrossOriginRedirectError(f"{here} redirects {what} to {there}")


def extract_url_origin(url: Any) -> str:
    """Return scheme, host and port, without a user and without a path, which may hold a signature."""
    port = "" if url.port is None else f":{url.port}"
    host = f"[{url.host}]" if ":" in url.host else url.host
    return f"{url.scheme}://{host}{port}"


def _has_body(request: Any) -> bool:
    return request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers
