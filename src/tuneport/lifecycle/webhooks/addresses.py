"""Addresses of webhooks: public ones of the internet, not those of this machine, its network or its cloud's control."""

from __future__ import annotations

import asyncio
import ipaddress
import socket

from tuneport.errors import ConfigError

_NAT64 = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("64:ff9b:1::/48"))
_NEVER = tuple(
    ipaddress.ip_network(network)
    for network in (
        "168.63.129.16/32",  # Azure's wire server, a public address that only its own machines see
        "192.0.0.0/24",  # protocols, and Oracle's metadata
        "192.88.99.0/24",  # 6to4 relays
        "::/96",  # IPv4-compatible, given up by RFC 4291
        "fec0::/10",  # site-local, given up by RFC 3879
    )
)
"""Private networks that `is_global` takes for public, or took in some Python."""


class PrivateAddressError(ConfigError):
    """A webhook's name leads to an address that is not public."""


def is_public_webhook_address(text: str) -> bool:
    """Return whether the address is one of the public internet. An address that hides another one (mapped, NAT64, 6to4,
    Teredo) counts as that other one."""
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        hidden = address.ipv4_mapped or address.sixtofour or (address.teredo and address.teredo[1])
        if hidden is None and any(address in network for network in _NAT64):
            hidden = ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
        if hidden:
            return is_public_webhook_address(str(hidden))
    if any(address.version == network.version and address in network for network in _NEVER):
        return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


async def resolve_webhook_host(host: str, port: int, *, allow_private: bool) -> list[str]:
    """Return every address of the host, in the resolver's order. Raises PrivateAddressError if one of them is not
    public. The caller connects to one of these, so that a name that changes in between leads nowhere else. Raises
    OSError if the name has none."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    private = [] if allow_private else [address for address in addresses if not is_public_webhook_address(address)]
    if private:
        raise PrivateAddressError(
            f"{host} is at {private[0]}, which is no public address; if it is meant, say allow_private = true"
        )
    return addresses
