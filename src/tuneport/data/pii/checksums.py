"""Check digits. Each function takes the bare characters (no separators) and says whether they hold."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from hashlib import sha256


def parse_digits(value: str) -> list[int]:
    return [int(each) for each in value if "0" <= each <= "9"]


def weighted_digit_sum(digits: Iterable[int], weights: Iterable[int]) -> int:
    """Return the sum of the products, up to the shorter of the two."""
    return sum(digit * weight for digit, weight in zip(digits, weights, strict=False))


def luhn(digits: Sequence[int]) -> bool:
    """Check ISO/IEC 7812-1 annex B: every second digit from the right doubled, its digits added, the sum divisible by
    10."""
    doubled = [digit * 2 - 9 * (digit > 4) for digit in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def mod_97(value: str) -> bool:
    """Check ISO 13616: country and check digits moved to the end, letters as 10 to 35, the remainder by 97 is 1."""
    return int("".join(str(int(each, 36)) for each in value[4:] + value[:4])) % 97 == 1


def mod_11_10(digits: Sequence[int]) -> bool:
    """Check ISO/IEC 7064, MOD 11,10: the last digit is the check digit."""
    product = 10
    for digit in digits[:-1]:
        product = ((digit + product) % 10 or 10) * 2 % 11
    return (11 - product) % 10 == digits[-1]


def _dihedral(one: int, other: int) -> int:
    """Return the group of the pentagon's ten symmetries: 0 to 4 turn it, 5 to 9 mirror it."""
    if one < 5:
        return (one + other) % 5 if other < 5 else (one + other - 5) % 5 + 5
    return (one - 5 - other) % 5 + 5 if other < 5 else (one - other) % 5


def _permutations() -> list[list[int]]:
    step = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4]
    found = [list(range(10))]
    for _ in range(7):
        found.append([step[each] for each in found[-1]])
    return found


_PERMUTATIONS = _permutations()


def verhoeff(digits: Sequence[int]) -> bool:
    """Check J. Verhoeff, Error Detecting Decimal Codes (1969): the product in the dihedral group is its identity."""
    product = 0
    for position, digit in enumerate(reversed(digits)):
        product = _dihedral(product, _PERMUTATIONS[position % 8][digit])
    return product == 0


def is_date(year: int, month: int, day: int) -> bool:
    try:
        date(year, month, day)
    except ValueError:
        return False
    return True


_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def base58_check(value: str) -> bool:
    """Check 25 bytes: the last four begin the double SHA-256 of the others."""
    number = 0
    for each in value:
        number = number * 58 + _BASE58.index(each)
    if number >= 1 << 200:
        return False
    raw = number.to_bytes(25, "big")
    return sha256(sha256(raw[:21]).digest()).digest()[:4] == raw[21:]


_BECH32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_BECH32_GENERATORS = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)


def bech32(value: str) -> bool:
    """Check BIP 173 and BIP 350: the polynomial's remainder is 1 (bech32) or 0x2bc830a3 (bech32m)."""
    prefix, _, data = value.rpartition("1")
    if not data or any(each not in _BECH32 for each in data):
        return False
    values = [ord(each) >> 5 for each in prefix] + [0] + [ord(each) & 31 for each in prefix]
    values += [_BECH32.index(each) for each in data]
    remainder = 1
    for each in values:
        top = remainder >> 25
        remainder = (remainder & 0x1FFFFFF) << 5 ^ each
        for bit, generator in enumerate(_BECH32_GENERATORS):
            remainder ^= generator if top >> bit & 1 else 0
    return remainder in (1, 0x2BC830A3)
