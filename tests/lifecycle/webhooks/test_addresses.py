from __future__ import annotations

import asyncio

import pytest

from tuneport.lifecycle.webhooks.addresses import PrivateAddressError, is_public_webhook_address, resolve_webhook_host

PRIVATE = (
    "127.0.0.1", "127.8.8.8", "0.0.0.0", "0.1.2.3", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1",
    "169.254.169.254", "169.254.170.2", "100.64.0.1", "100.100.100.200", "168.63.129.16", "192.0.0.192", "192.0.2.1",
    "192.88.99.1", "198.18.0.1", "203.0.113.5", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255",
    "::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe", "64:ff9b:1::a00:1", "2002:7f00:1::", "2002:a9fe:a9fe::1", "fe80::1", "fe80::1%eth0",
    "fec0::1", "fc00::1", "fd00:ec2::254", "ff02::1", "100::1", "2001:db8::1", "2001:0:4136:e378:8000:63bf:80ff:fffe",
)  # fmt: skip
PUBLIC = ("1.1.1.1", "8.8.8.8", "104.18.0.1", "2606:4700::1111", "64:ff9b::808:808", "::ffff:8.8.8.8")


@pytest.mark.parametrize("address", PRIVATE)
def test_private(address: str) -> None:
    assert not is_public_webhook_address(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_public(address: str) -> None:
    assert is_public_webhook_address(address)


@pytest.mark.parametrize(
    "spelled", ["localhost", "127.0.0.1", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "::1"]
)
def test_names_and_odd_spellings_are_what_the_resolver_makes_of_them(spelled: str) -> None:
    with pytest.raises(PrivateAddressError, match="is at .*, which is no public address"):
        asyncio.run(resolve_webhook_host(spelled, 443, allow_private=False))
    assert asyncio.run(resolve_webhook_host(spelled, 443, allow_private=True))[0] in ("127.0.0.1", "::1")


def test_one_private_address_among_public_ones_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(2, 1, 6, "", ("1.1.1.1", 443)), (2, 1, 6, "", ("10.0.0.1", 443))]

    async def resolved(*arguments: object, **options: object) -> object:
        return found

    async def ask() -> list[str]:
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolved)
        return await resolve_webhook_host("hooks.example", 443, allow_private=False)

    with pytest.raises(PrivateAddressError, match="10.0.0.1"):
        asyncio.run(ask())
    del found[1]
    assert asyncio.run(ask()) == ["1.1.1.1"]
