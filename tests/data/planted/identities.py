"""Personal data that nobody has: made up, with check digits that hold, in the spellings that people use."""

from __future__ import annotations

import base64
import json
import string
from collections.abc import Callable
from random import Random
from typing import Any

from tests.data.planted.answers import Spoiled

DIGITS, LETTERS, UPPER = string.digits, string.ascii_letters, string.ascii_uppercase
ALNUM = LETTERS + DIGITS
NAMES = ("maria", "john", "s.okafor", "li.wei", "anna-lena", "p_dubois", "tomasz", "r.sharma", "ines", "q.nguyen")
HOSTS = ("gmail.com", "web.de", "orange.fr", "proton.me", "yahoo.co.uk", "uni-koeln.de", "mail.ru", "icloud.com")


def draw(rng: Random, alphabet: str, count: int) -> str:
    return "".join(rng.choices(alphabet, k=count))


def email(rng: Random) -> str:
    name = rng.choice(NAMES) + rng.choice(("", "", str(rng.randint(1, 99)), "+shop", ".work"))
    return rng.choice((f"{name}@{rng.choice(HOSTS)}", f"{name.title()}@{rng.choice(HOSTS)}"))


def phone(rng: Random) -> str:
    """Numbers outside the ranges kept for fiction."""

    def some(count: int) -> str:
        return draw(rng, "23456789", 1) + draw(rng, DIGITS, count - 1)

    area = rng.choice(("212", "415", "312", "617", "206"))
    exchange = rng.choice(("664", "383", "842", "735", "278"))
    return rng.choice(
        (
            f"({area}) {exchange}-{some(4)}",
            f"{area}-{exchange}-{some(4)}",
            f"+1 {area} {exchange} {some(4)}",
            f"+49 30 {some(5)} {some(3)}",
            f"+49 171 {some(7)}",
            f"+33 6 {some(2)} {some(2)} {some(2)} {some(2)}",
            f"+44 7700 {some(6)}".replace("7700", "7" + some(3)),
            f"+34 6{some(2)} {some(3)} {some(3)}",
            f"+91 98{some(3)} {some(5)}",
            f"+81 90-{some(4)}-{some(4)}",
        )
    )


def luhn(digits: str) -> str:
    """The check digit of ISO/IEC 7812-1, annex B."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if place % 2 == 0 else 1)
        total += value - 9 if value > 9 else value
    return str(-total % 10)


def card(rng: Random) -> str:
    prefix, length = rng.choice((("4", 16), ("51", 16), ("54", 16), ("34", 15), ("37", 15), ("6011", 16)))
    number = prefix + draw(rng, DIGITS, length - 1 - len(prefix))
    number += luhn(number)
    groups = (4, 6, 5) if length == 15 else (4, 4, 4, 4)
    parts, start = [], 0
    for size in groups:
        parts.append(number[start : start + size])
        start += size
    return rng.choice((" ", "-", "")).join(parts)


IBANS: dict[str, Callable[[Random], str]] = {
    "DE": lambda rng: draw(rng, DIGITS, 18),
    "ES": lambda rng: draw(rng, DIGITS, 20),
    "AT": lambda rng: draw(rng, DIGITS, 16),
    "BE": lambda rng: draw(rng, DIGITS, 12),
    "PL": lambda rng: draw(rng, DIGITS, 24),
    "CH": lambda rng: draw(rng, DIGITS, 17),
    "GB": lambda rng: draw(rng, UPPER, 4) + draw(rng, DIGITS, 14),
    "NL": lambda rng: draw(rng, UPPER, 4) + draw(rng, DIGITS, 10),
    "FR": lambda rng: draw(rng, DIGITS, 23),
    "IT": lambda rng: draw(rng, UPPER, 1) + draw(rng, DIGITS, 22),
}


def iban(rng: Random) -> str:
    """Check digits by ISO 13616: the number, moved and spelled in digits, is 1 modulo 97."""
    country = rng.choice(list(IBANS))
    account = IBANS[country](rng)
    spelled = "".join(str(int(sign, 36)) for sign in f"{account}{country}00")
    number = f"{country}{98 - int(spelled) % 97:02}{account}"
    if rng.random() < 0.4:
        return number
    return " ".join(number[start : start + 4] for start in range(0, len(number), 4))


def us_ssn(rng: Random) -> str:
    """Area 001 to 899 without 666, group and serial not zero."""
    area = rng.choice([area for area in range(100, 800) if area != 666])
    return f"{area}-{rng.randint(10, 99)}-{rng.randint(1000, 9999)}"


def uk_nino(rng: Random) -> str:
    prefix = rng.choice(("AB", "CE", "HJ", "JT", "LM", "PW", "SX", "YZ", "WK"))
    two = [draw(rng, DIGITS, 2) for _ in range(3)]
    space = rng.choice((" ", ""))
    return space.join([prefix, *two, rng.choice("ABCD")])


def es_dni(rng: Random) -> str:
    number = rng.randint(10_000_000, 99_999_999)
    return f"{number}{rng.choice(('', '-'))}{'TRWAGMYFPDXBNJZSQVHLCKE'[number % 23]}"


def fr_nir(rng: Random) -> str:
    """Sex, year, month, department, commune, order; the key is 97 less the remainder by 97."""
    parts = [
        rng.choice("12"),
        f"{rng.randint(40, 99)}",
        f"{rng.randint(1, 12):02}",
        f"{rng.choice((13, 33, 59, 69, 75))}",
        f"{rng.randint(1, 300):03}",
        f"{rng.randint(1, 900):03}",
    ]
    parts.append(f"{97 - int(''.join(parts)) % 97:02}")
    return rng.choice((" ", "")).join(parts)


def de_tax_id(rng: Random) -> str:
    """Eleven digits: among the first ten exactly one comes twice; ISO 7064 MOD 11,10."""
    digits = rng.sample(DIGITS, 9)
    digits.insert(rng.randint(0, 9), rng.choice(digits))
    if digits[0] == "0":
        digits.reverse()
    if digits[0] == "0":
        return de_tax_id(rng)
    product = 10
    for digit in digits:
        total = (int(digit) + product) % 10 or 10
        product = total * 2 % 11
    number = "".join(digits) + str((11 - product) % 10)
    return rng.choice((number, f"{number[:2]} {number[2:5]} {number[5:8]} {number[8:]}"))


ODD = dict(
    zip(
        DIGITS + UPPER,
        (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16)
        + (10, 22, 25, 24, 23),
        strict=True,
    )
)


def it_code(rng: Random) -> str:
    """Codice fiscale; the last letter is the check sign of the decree of 1976-12-23."""
    consonants = "BCDFGLMNPRSTVZ"
    code = draw(rng, consonants, 6) + f"{rng.randint(40, 99)}" + rng.choice("ABCDEHLMPRST")
    code += f"{rng.randint(1, 28):02}" + rng.choice("FHLDAG") + f"{rng.randint(100, 999)}"
    total = sum(
        ODD[sign] if place % 2 == 0 else (int(sign) if sign.isdigit() else ord(sign) - 65)
        for place, sign in enumerate(code)
    )
    return code + UPPER[total % 26]


def br_cpf(rng: Random) -> str:
    digits = [int(digit) for digit in draw(rng, DIGITS, 9)]
    for _ in range(2):
        rest = sum(digit * weight for digit, weight in zip(digits, range(len(digits) + 1, 1, -1), strict=True)) % 11
        digits.append(0 if rest < 2 else 11 - rest)
    text = "".join(map(str, digits))
    return f"{text[:3]}.{text[3:6]}.{text[6:9]}-{text[9:]}"


def pl_pesel(rng: Random) -> str:
    digits = f"{rng.randint(40, 99)}{rng.randint(1, 12):02}{rng.randint(1, 28):02}{draw(rng, DIGITS, 4)}"
    total = sum(int(digit) * weight for digit, weight in zip(digits, (1, 3, 7, 9) * 3, strict=False))
    return digits + str(-total % 10)


def ipv4(rng: Random) -> str:
    """Outside the ranges kept for private networks, documentation and multicast."""
    first = rng.choice((23, 34, 46, 52, 63, 81, 93, 104, 134, 151, 185, 209))
    return f"{first}.{rng.randint(20, 250)}.{rng.randint(1, 250)}.{rng.randint(1, 250)}"


def ipv6(rng: Random) -> str:
    groups = [f"{rng.randint(4_096, 65_535):x}" for _ in range(6)]
    return f"{rng.choice(('2a00', '2a02', '2600', '2401'))}:{f'{rng.randint(257, 4_095):x}'}:" + ":".join(groups)


def api_key(rng: Random) -> str:
    return rng.choice(
        (
            "sk-proj-" + draw(rng, ALNUM + "_-", 48).strip("-_") + draw(rng, ALNUM, 4),
            "sk-ant-api03-" + draw(rng, ALNUM, 80) + "AA",
            "AKIA" + draw(rng, UPPER + "234567", 16),
            "ghp_" + draw(rng, ALNUM, 36),
            f"xoxb-{draw(rng, '123456789', 12)}-{draw(rng, '123456789', 12)}-{draw(rng, ALNUM, 24)}",
            "AIza" + draw(rng, ALNUM, 35),
            "sk_live_" + draw(rng, ALNUM, 24),
            "glpat-" + draw(rng, ALNUM, 20),
            "hf_" + draw(rng, LETTERS, 34),
        )
    )


def jwt(rng: Random) -> str:
    def part(value: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    claims = {"sub": draw(rng, DIGITS, 10), "name": rng.choice(NAMES), "iat": rng.randint(10**9, 2 * 10**9)}
    return f"{part({'alg': 'HS256', 'typ': 'JWT'})}.{part(claims)}.{draw(rng, ALNUM + '-_', 42)}{draw(rng, ALNUM, 1)}"


def private_key(rng: Random) -> str:
    kind = rng.choice(("RSA ", "EC ", "", "OPENSSH "))
    body = "\n".join(draw(rng, ALNUM + "+/", 64) for _ in range(4))
    return f"-----BEGIN {kind}PRIVATE KEY-----\n{body}\n-----END {kind}PRIVATE KEY-----"


def password_url(rng: Random) -> str:
    scheme = rng.choice(("postgres", "mysql", "mongodb+srv", "https", "redis"))
    return f"{scheme}://{rng.choice(NAMES)}:{draw(rng, ALNUM, 14)}@db{rng.randint(1, 9)}.{rng.choice(HOSTS)}/main"


ENTITIES: dict[str, tuple[Callable[[Random], str], tuple[str, ...]]] = {
    "email": (email, ("Please write to {}.", "You can reach me at {} most days.", "From: {}")),
    "phone": (phone, ("Call me on {} after six.", "My number is {}.", "Phone: {}")),
    "card": (card, ("The card is {}, valid until 09/28.", "Charge it to {} please.", "I paid with {} yesterday.")),
    "iban": (iban, ("Send the money to {}.", "My account is {}.", "IBAN: {}")),
    "us ssn": (us_ssn, ("My social security number is {}.", "SSN: {}", "For the form, the SSN is {}.")),
    "uk nino": (uk_nino, ("My national insurance number is {}.", "NI number: {}", "The NINO on the letter is {}.")),
    "es dni": (es_dni, ("Mi DNI es {}.", "My Spanish ID (DNI) is {}.", "DNI: {}")),
    "fr nir": (fr_nir, ("My French social security number is {}.", "Numéro de sécurité sociale : {}", "NIR: {}")),
    "it code": (it_code, ("My codice fiscale is {}.", "Codice fiscale: {}", "The tax code on the card is {}.")),
    "de tax id": (de_tax_id, ("My German tax ID is {}.", "Steuer-ID: {}", "Meine Steueridentifikationsnummer ist {}.")),
    "br cpf": (br_cpf, ("My CPF is {}.", "CPF: {}", "Meu CPF é {}.")),
    "pl pesel": (pl_pesel, ("My PESEL is {}.", "PESEL: {}", "Numer PESEL: {}")),
    "ipv4": (ipv4, ("I connected from {} at noon.", "The log shows {} again and again.", "IP: {}")),
    "ipv6": (ipv6, ("My router says {}.", "The visit came from {} last night.", "IPv6 address: {}")),
    "api key": (api_key, ("The key is {}.", "export API_KEY={}", "I use the token {} in the script.")),
    "jwt": (jwt, ("Authorization: Bearer {}", "The token is {}", "It sent {} as the session.")),
    "private key": (private_key, ("Here is my key:\n{}", "{}\nWhy does the server refuse it?")),
    "password in a URL": (password_url, ("Connect with {} and look.", "DATABASE_URL={}")),
}
LENIENT = frozenset(("br cpf", "pl pesel"))
"""The issue asks for national ids without naming countries; these two are printed and not tested."""


def planter(entity: str) -> Callable[[dict[str, Any], Random], Spoiled]:
    make, carriers = ENTITIES[entity]

    def spoil(row: dict[str, Any], rng: Random) -> Spoiled:
        told = rng.choice(carriers).format(make(rng))
        message = row["messages"][rng.choice((-1, -2))]
        before = rng.random() < 0.5
        message["content"] = f"{told}\n{message['content']}" if before else f"{message['content']}\n{told}"
        return entity, row

    return spoil
