"""E-mail addresses, IP and MAC addresses, and URLs with credentials in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import AddressValueError, IPv4Address, IPv6Address

Span = tuple[int, int]

# --- e-mail ----------------------------------------------------------------------------------------------------------

_LOCAL_BACKWARDS = re.compile(r"[\w.+%'-]{0,63}[\w+-]")  # RFC 5321: 64 characters at most
_DOMAIN = re.compile(r"(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,8}[^\W\d_]{2,24}(?![\w-])")
_RESERVED_DOMAIN = re.compile(r"(?:^|\.)(?:example[\w-]*\.[a-z.]+|[\w-]+\.(?:test|example|invalid|localhost))$", re.I)
_NO_TOP_DOMAIN = frozenset("png jpg jpeg gif svg webp css js json html htm txt pdf local internal".split())
_NOBODY = re.compile(
    r"(?:git|no-?reply|do-?not-?reply|mailer-daemon|postmaster|x{2,}|your[._-]?(?:e?mail|name))$", re.I
)


def find_emails(text: str) -> Iterator[Span]:
    """Find email addresses, except RFC 2606's domains and others called example, git@ and noreply@."""
    at = text.find("@")
    while at >= 0:
        after = at + 1
        local = _LOCAL_BACKWARDS.match(text[max(0, at - 65) : at][::-1])
        domain = _DOMAIN.match(text, after) if local else None
        if local and domain:
            name = local[0][::-1].lstrip(".'%+-")
            clean = name and ".." not in name and not _NOBODY.match(name)
            top = domain[0].rpartition(".")[2].lower()
            if clean and top not in _NO_TOP_DOMAIN and not _RESERVED_DOMAIN.search(domain[0]):
                yield at - len(name), domain.end()
            after = domain.end()
        at = text.find("@", after)


# --- addresses of machines -------------------------------------------------------------------------------------------

_IPV4 = re.compile(r"(?<![\w.:-])(?<![^/\s]/)\d{1,3}(?:\.\d{1,3}){3}(?![\w-]|\.\d)", re.ASCII)
_IPV6 = re.compile(
    r"(?<![\w:.])[23][0-9A-Fa-f]{3}:[0-9A-Fa-f:]{2,34}(?![\w:]|\.\d)", re.ASCII
)  # 2000::/3, all that is in use
_VERSION = re.compile(r"(?:version|release|build|update|section|chapter|firmware|v)[\s.:=]{0,3}\Z", re.I)
_RESOLVERS = frozenset("8.8.8.8 8.8.4.4 1.1.1.1 1.0.0.1 9.9.9.9 208.67.222.222 208.67.220.220".split())
_RESOLVERS_V6 = tuple(
    map(IPv6Address, ("2001:4860:4860::8888", "2001:4860:4860::8844", "2606:4700:4700::1111", "2606:4700:4700::1001"))
)
_DOCUMENTATION_V6 = ("2001:db8:", "2001:0db8:", "3fff:")  # RFC 3849, RFC 9637


def find_ipv4_addresses(text: str) -> Iterator[Span]:
    """Find public addresses, except well-known resolvers, and section and version numbers."""
    for found in _IPV4.finditer(text):
        if _public_v4(found[0]) and not _VERSION.search(text, max(0, found.start() - 12), found.start()):
            yield found.span()


def _public_v4(value: str) -> bool:
    try:
        address = IPv4Address(value)
    except AddressValueError:
        return False
    counting = all(each < 10 for each in address.packed)  # 1.2.3.4 is a section more often than an address
    return address.is_global and not counting and address.packed[3] not in (0, 255) and value not in _RESOLVERS


def find_ipv6_addresses(text: str) -> Iterator[Span]:
    for found in _IPV6.finditer(text):
        value = found[0].rstrip(":") if not found[0].endswith("::") else found[0]
        if value.lower().startswith(_DOCUMENTATION_V6):
            continue
        try:
            address = IPv6Address(value)
        except AddressValueError:
            continue
        if address.is_global and address not in _RESOLVERS_V6:
            yield found.start(), found.start() + len(value)


_MAC = re.compile(r"(?<![\w:-])[0-9A-Fa-f]{2}([:-])[0-9A-Fa-f]{2}(?:\1[0-9A-Fa-f]{2}){4}(?![\w:-])", re.ASCII)
_EXAMPLE_MACS = ("001122334455", "0123456789ab", "aabbccddeeff", "123456789abc", "a1b2c3d4e5f6", "1a2b3c4d5e6f")


def find_mac_addresses(text: str) -> Iterator[Span]:
    """Find addresses of single devices, not those for groups, and not the ones of examples (RFC 7042, section 2.1)."""
    for found in _MAC.finditer(text):
        value = found[0].replace(found[1], "").lower()
        single = not int(value[:2], 16) & 1
        if single and value not in _EXAMPLE_MACS and not value.startswith("00005e0053") and len(set(value)) > 3:
            yield found.span()


# --- credentials in URLs ---------------------------------------------------------------------------------------------

_CREDENTIALS = re.compile(r"([^\s/:@\"'<>{}$\[\]]{1,128}):([^\s/@\"'<>{}$\[\]]{3,256})@[\w.\[-]")
_PLACEHOLDER_PASSWORD = re.compile(
    r"(?i)(?:.*pass(?:word|wd)?|pwd|secret|x+|\*+|\.+|.*(?:example|your).*|postgres|root|admin|guest)$"
)


def find_url_credentials(text: str) -> Iterator[Span]:
    """Find the `user:password` of `scheme://user:password@host`, except the placeholders of documentation."""
    at = text.find("://")
    while at >= 0:
        found = _CREDENTIALS.match(text, at + 3)
        if found and found[2] != found[1] and not _PLACEHOLDER_PASSWORD.match(found[2]):
            yield found.start(1), found.end(2)
        at = text.find("://", at + 3)
