"""Finds personal data and secrets in a text.

Almost all text holds none, so most of the work is to see that quickly: a few searches in one pass over the bytes each
(digits and letters folded to 0 and x, separators dropped) say which recognisers can have anything to do.
Everything here takes time that is linear in the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from string import ascii_letters, digits, hexdigits

from tuneport.data.pii.accounts import ACCOUNTS, find_crypto_wallets
from tuneport.data.pii.issued_keys import find_issued_keys
from tuneport.data.pii.national_ids import LETTERED_IDS, NATIONAL_IDS
from tuneport.data.pii.network import (
    find_emails,
    find_ipv4_addresses,
    find_ipv6_addresses,
    find_mac_addresses,
    find_url_credentials,
)
from tuneport.data.pii.phone import PHONES
from tuneport.data.pii.recogniser import PIIMatch, mask
from tuneport.data.pii.secrets import STEMS, find_api_keys, find_assigned_secrets, find_private_keys

_Found = tuple[int, int, int, str]  # start, rank (the lower wins), end, kind


def _folding(*classes: tuple[str, str]) -> bytes:
    """Build a table for bytes.translate: the members of each class become its letter, all others an underscore."""
    table = bytearray(b"_" * 256)
    for letter, members in classes:
        for member in members.encode():
            table[member] = ord(letter)
    return bytes(table)


_SHAPE = _folding(("x", ascii_letters), ("0", digits), (".", "."))
_TOKEN = _folding(("x", ascii_letters + digits + "_-"))
_HEXADECIMAL = _folding(("h", hexdigits), (":", ":"), ("-", "-"))
_SEPARATORS = b" ()-./"
_LONG_NUMBER, _LONG_TOKEN = b"0" * 7, b"x" * 18
_PAN_SHAPE = b"xxxxx0000x"
*_BY_SHAPE, _PAN = LETTERED_IDS
_LETTERED = tuple(
    zip(
        ((b"xx000000x",), (b"xxxxxx00x00x000x",), (b"000000x000", b"0000000000", b"000000000x")),
        _BY_SHAPE,
        strict=True,
    )
)
_FEWEST_DIGITS = 4  # in an IPv4 address, and in a PAN
_FEWEST_IN_SHAPES = 6  # of all that is looked for without separators
_IBAN_SHAPE = b"xx00xxxx00000"  # Malta's may have no longer run of digits than this
_IPV6_SHAPE, _MAC_SHAPES = b"hhhh:", (b"hh:hh:hh:hh", b"hh-hh-hh-hh")
_NUMBER = re.compile(r"\d(?:[ ()./-]{0,3}\d){6,}")
_LETTERED_BEFORE = 4  # around the digits, letters that may belong to a value
_TO_NEXT_DIGIT = re.compile(r"\D{0,12}")

# A number that a word names wins over one that its shape alone gives away, and that over a phone number.
_NUMBERS = (
    *((20 if each.context else 40, each) for each in (*NATIONAL_IDS, *ACCOUNTS[1:])),
    *enumerate(PHONES, start=60),
)
_IBAN = ACCOUNTS[0]


def find_personal_data(text: str) -> list[PIIMatch]:
    """Return every match, in order, none overlapping another."""
    raw = text.encode("utf-8", "surrogatepass")
    if not text.isascii():
        plain = _plain(text, raw)
        if plain is not text:
            text, raw = plain, plain.encode("utf-8", "surrogatepass")
    has_token = _LONG_TOKEN in raw.translate(_TOKEN)
    keys = _find_keys(text) if has_token else {}
    found = [(start, 0, end, "api_key") for start, end in keys]
    found += _search(text, raw, has_token)
    if not found:
        return []
    found.sort()
    kept = [found[0]]
    for each in found[1:]:
        last = kept[-1]
        if each[0] >= last[2]:
            kept.append(each)
        elif each[1] < last[1]:
            kept[-1] = each
    return [
        PIIMatch(kind, mask(kind, text[start:end], keys.get((start, end), "")), start, end)
        for start, _, end, kind in kept
    ]


def _find_keys(text: str) -> dict[tuple[int, int], str]:
    """Return the places of issued keys, with what a rule says that each is; "" for those that a prefix gives away.

    What several take for a key is one, as long as all of them together.
    """
    keys: dict[tuple[int, int], str] = {}
    last = (0, 0)
    for start, end, issued in sorted([*((*span, "") for span in find_api_keys(text)), *find_issued_keys(text)]):
        if start < last[1]:
            issued = keys.pop(last)
            start, end = last[0], max(last[1], end)
        last = start, end
        keys[last] = issued
    return keys


def _search(text: str, raw: bytes, has_token: bool) -> Iterator[_Found]:
    if "@" in text:
        if "://" in text:
            for start, end in find_url_credentials(text):
                yield start, 1, end, "url_credentials"
        for start, end in find_emails(text):
            yield start, 3, end, "email"
    if "PRIVATE KEY" in text:
        for start, end in find_private_keys(text):
            yield start, 0, end, "api_key"
    if ":" in text or "-" in text:
        yield from _hexadecimal(text, raw)
    if has_token:
        for start, end in find_crypto_wallets(text):
            yield start, 2, end, "crypto_wallet"
    shape = raw.translate(_SHAPE)
    number_of_digits = shape.count(b"0")
    if not number_of_digits:
        return
    yield from _assigned(text)
    if number_of_digits < _FEWEST_DIGITS:
        return
    if shape.count(b"0.0") >= 2:
        for start, end in find_ipv4_addresses(text):
            yield start, 6, end, "ip_address"
    if _PAN_SHAPE in shape:
        for start, end in _PAN.search(text, 0, len(text)):
            yield start, 30, end, _PAN.kind
    if number_of_digits < _FEWEST_IN_SHAPES:
        return
    joined = raw.translate(_SHAPE, _SEPARATORS)
    long_number = _LONG_NUMBER in joined
    if long_number or _IBAN_SHAPE in joined:
        for start, end in _IBAN.search(text, 0, len(text)):
            yield start, 4, end, "iban"
    if long_number:
        yield from _numbers(text)
    for folded, recogniser in _LETTERED:
        for each in folded:
            if each in joined:
                for start, end in recogniser.search(text, 0, len(text)):
                    yield start, 30, end, recogniser.kind
                break


def _assigned(text: str) -> Iterator[_Found]:
    lowered = text.lower()
    stems = [stem for stem in STEMS if stem in lowered]
    if not stems:
        return
    if len(lowered) != len(text):  # some capitals become two characters
        lowered = "".join(each.lower() if len(each.lower()) == 1 else each for each in text)
    for start, end in find_assigned_secrets(text, lowered, stems):
        yield start, 2, end, "secret"


def _numbers(text: str) -> Iterator[_Found]:
    for found in _NUMBER.finditer(text):
        start, end = found.span()
        run = found[0].isdigit()  # nothing but digits: then the value has all of them
        count = end - start if run else sum(map(found[0].count, digits))
        start, end = max(0, start - _LETTERED_BEFORE), _TO_NEXT_DIGIT.match(text, end).end() + 1  # type: ignore[union-attr]
        for rank, recogniser in _NUMBERS:
            if count in recogniser.digits if run else count >= recogniser.digits.start:
                for first, last in recogniser.search(text, start, end):
                    yield first, rank, last, recogniser.kind


def _hexadecimal(text: str, raw: bytes) -> Iterator[_Found]:
    shape = raw.translate(_HEXADECIMAL)
    if _IPV6_SHAPE in shape:
        for start, end in find_ipv6_addresses(text):
            yield start, 6, end, "ip_address"
    if _MAC_SHAPES[0] in shape or _MAC_SHAPES[1] in shape:
        for start, end in find_mac_addresses(text):
            yield start, 7, end, "mac_address"


_SPACES_AND_DASHES = dict.fromkeys("\u00a0\u2007\u2009\u202f\u3000", " ") | dict.fromkeys(
    "\u2010\u2011\u2012\u2013\u2212\uff0d", "-"
)
_FULL_WIDTH = {chr(0xFF10 + digit): str(digit) for digit in range(10)} | {"\uff0b": "+", "\uff08": "(", "\uff09": ")"}
_FIRST_BYTES = {each.encode()[:1] for each in _SPACES_AND_DASHES}
_FULL_WIDTH_BEGINS = b"\xef"


def _plain(text: str, raw: bytes) -> str:
    """Return a text of the same length, with typographic spaces and dashes and full-width digits as in ASCII; `raw` is
    that text in UTF-8."""
    for first in _FIRST_BYTES:  # a single byte is quickly found
        if first in raw:
            for special, plain in _SPACES_AND_DASHES.items():
                if special in text:
                    text = text.replace(special, plain)
            break
    if _FULL_WIDTH_BEGINS in raw:
        for special, plain in _FULL_WIDTH.items():
            text = text.replace(special, plain)
    return text
