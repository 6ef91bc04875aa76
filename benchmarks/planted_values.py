"""Draws personal data that belongs to nobody but passes for real, and things that only look like it.

Used by `personal_data.py` and its test. Written without the recognisers' code or tables: the check digits here are
found by other means (by trial, by counting up), so that a mistake in one is not repeated in the other.
"""

from __future__ import annotations

import hashlib
import ipaddress
import random
import string
import uuid
from collections.abc import Callable

Draw = random.Random


def shaped(draw: Draw, shape: str) -> str:
    """`#` a digit, `@` a capital, `*` either, `%` a letter or digit of any case; all else stands for itself."""
    pools = {"#": string.digits, "@": string.ascii_uppercase, "*": string.ascii_uppercase + string.digits,
             "%": string.ascii_letters + string.digits}  # fmt: skip
    return "".join(draw.choice(pools[each]) if each in pools else each for each in shape)


def one_of(*shapes: str) -> Callable[[Draw], str]:
    return lambda draw: shaped(draw, draw.choice(shapes))


def grouped(value: str, sizes: list[int], separator: str) -> str:
    pieces, rest = [], value
    for size in sizes:
        pieces.append(rest[:size])
        rest = rest[size:]
    return separator.join(piece for piece in [*pieces, rest] if piece)


def by_trial(body: str, holds: Callable[[str], bool], alphabet: str = string.digits, places: int = 1) -> str | None:
    """The body with the check characters that make it hold; None if there are none."""
    for number in range(len(alphabet) ** places):
        tail = "".join(alphabet[number // len(alphabet) ** at % len(alphabet)] for at in reversed(range(places)))
        if holds(body + tail):
            return body + tail
    return None


def until(make: Callable[[], str | None]) -> str:
    while (value := make()) is None:
        pass
    return value


# --- contacts and machines -------------------------------------------------------------------------------------------


def email(draw: Draw) -> str:
    first = draw.choice("anna jörg maria.l ivan p.dubois yuki_t o'neill luca99 k-svensson fatima zoe+news b".split())
    host = draw.choice(
        "gmail.com web.de mail.kyoto-u.ac.jp laposte.net libero.it uni-köln.de proton.me acme.co.uk".split()
    )
    value = f"{first}{draw.randrange(100) or ''}@{host}"
    return value.upper() if draw.random() < 0.05 else value


_PHONES = [  # shapes that say by themselves what they are
    "(212) 62#-####", "415-76#-####", "305.37#.####", "+1 617 49#-####", "+1-312-84#-####", "1-646-72#-####",
    "+1206584####",
    "+44 20 7### ####", "020 3### ####", "07412 ######", "+44 (0)7512 ######", "0161 8## ####", "01273 ######",
    "+447812######",
    "+49 30 8######", "030/8######", "0171 6######", "0160-7######", "(089) 4######", "+49 (0)89 4## ###",
    "0221 / 8## ## ##",
    "+34 6## ## ## ##", "6## ## ## ##", "+3491#######", "06 1# ## ## ##", "01.4#.##.##.##", "+33 6 2# ## ## ##",
    "0033 1 4# ## ## ##",
    "+39 347 #######", "02 8#######", "06-5#######", "03-5###-####", "090-4###-####", "+81 90 4### ####",
    "０３－５２８４－####",
    "06-4#######", "+31 6 4#######", "(11) 9####-####", "+55 11 9####-####", "+91 98### #####", "0412 ### ###",
    "+61 4## ### ###", "+48 6## ### ###", "+41 79 ### ## ##", "070-### ## ##", "+46 70 ### ## ##", "+86 138 #### ####",
]  # fmt: skip
_NAMED_PHONES = [
    "212687####",
    "646 73# ####",
    "0612######",
    "6## ### ###",
    "91 4## ## ##",
    "347 #######",
    "09041######",
    "98### #####",
]
_PHONE_SENTENCES = [
    "Please call me on {}.", "phone: {}", "Meine Telefonnummer lautet {}", "mon téléphone : {}", "mi móvil es el {}",
    "il mio cellulare è {}", "電話番号は{} です", "WhatsApp {} anytime", '{{"phone": "{}"}}', "Ruf mich an, Handy {}.",
]  # fmt: skip
_BARE_SENTENCES = [
    "You can have it: {}",
    "Ich bin unter {} da.",
    "{} (after six)",
    "C'est le {}, merci.",
    "es {} vale?",
]


def phone(draw: Draw) -> str:
    named = draw.random() < 0.3
    value = shaped(draw, draw.choice(_NAMED_PHONES if named else _PHONES))
    return draw.choice(_PHONE_SENTENCES if named or draw.random() < 0.5 else _BARE_SENTENCES).format(f"\0{value}\0")


def ip_address(draw: Draw) -> str:
    if draw.random() < 0.4:
        groups = [draw.choice(["2a02", "2a01", "2600", "2001", "2404"]), f"{draw.randrange(0x1000, 0xFFFF):x}"]
        address = ipaddress.IPv6Address(
            ":".join([*groups, *(f"{draw.choice([0, draw.randrange(65536)]):x}" for _ in range(6))])
        )
        return draw.choice([str(address), address.exploded, str(address).upper()])
    return until(
        lambda: _public(
            f"{draw.randrange(11, 223)}.{draw.randrange(256)}.{draw.randrange(256)}.{draw.randrange(1, 255)}"
        )
    )


def _public(value: str) -> str | None:
    return value if ipaddress.ip_address(value).is_global else None


def mac_address(draw: Draw) -> str:
    raw = bytes([draw.randrange(64) * 4, *draw.randbytes(5)])
    value = raw.hex(draw.choice(":-"))
    return value.upper() if draw.random() < 0.5 else value


def url_credentials(draw: Draw) -> str:
    scheme, host = (
        draw.choice(["postgres", "https", "amqp", "mongodb+srv", "redis"]),
        draw.choice(["db.acme.io", "10.0.3.4:5432"]),
    )
    return f"{scheme}://\0{draw.choice(['app', 'anna.b', 'svc-7'])}:{shaped(draw, '%%%%%%%%%%')}\0@{host}/main"


# --- accounts --------------------------------------------------------------------------------------------------------


def _luhn_sum(number: str) -> int:
    total = 0
    for place, each in enumerate(reversed(number)):
        total += sum(map(int, str(int(each) * (place % 2 + 1))))
    return total


def luhn_holds(number: str) -> bool:
    return _luhn_sum(number) % 10 == 0


def card(draw: Draw) -> str:
    body, sizes = draw.choice([
        ("4##############", [4, 4, 4]), ("5[1-5]", [4, 4, 4]), ("2345###########", [4, 4, 4]), ("37############",
        [4, 6]),
        ("6011###########", [4, 4, 4]), ("65#############", [4, 4, 4]), ("3540###########", [4, 4, 4]),
        ("36###########", [4, 6]),
        ("62#############", [4, 4, 4]),
    ])  # fmt: skip
    body = shaped(draw, body.replace("5[1-5]", f"5{draw.randrange(1, 6)}#############"))
    number = by_trial(body, luhn_holds) or ""
    separator = draw.choice([" ", "-"] if len(number) == 14 else [" ", "-", ""])
    return grouped(number, sizes, separator) if separator else number


_BBAN = {"DE": "##################", "GB": "@@@@##############", "FR": "##########***********##",
    "NL": "@@@@##########",
         "ES": "####################", "IT": "@######################", "BE": "############",
         "PL": "########################",
         "CH": "#################", "AT": "################", "PT": "#####################", "IE": "@@@@##############",
         "MT": "@@@@#####******************", "NO": "###########", "DK": "##############",
         "SE": "####################"}  # fmt: skip


def iban(draw: Draw) -> str:
    country, shape = draw.choice(list(_BBAN.items()))
    bban = shaped(draw, shape)
    number = "".join(each if each.isdigit() else str(ord(each) - 55) for each in bban + country)
    value = f"{country}{98 - int(number + '00') % 97:02}{bban}"
    return grouped(value, [4] * (len(value) // 4), " ") if draw.random() < 0.5 else value


_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def crypto_wallet(draw: Draw) -> str:
    if draw.random() < 0.4:
        return "0x" + draw.randbytes(20).hex()
    raw = bytes([draw.choice([0, 5])]) + draw.randbytes(20)
    raw += hashlib.sha256(hashlib.sha256(raw).digest()).digest()[:4]
    number, value = int.from_bytes(raw, "big"), ""
    while number:
        number, rest = divmod(number, 58)
        value = _BASE58[rest] + value
    return "1" * (len(raw) - len(raw.lstrip(b"\0"))) + value


# --- secrets ---------------------------------------------------------------------------------------------------------

_KEYS = ["sk-" + "%" * 48, "sk-proj-" + "%" * 60, "sk-ant-api03-" + "%" * 80, "ghp_" + "%" * 36,
         "github_pat_" + "%" * 60, "glpat-" + "%" * 20, "xoxb-############-############-" + "%" * 24, "AIza" + "%" * 35,
         "hf_" + "%" * 34, "sk_live_" + "%" * 24, "npm_" + "%" * 36, "SG." + "%" * 22 + "." + "%" * 43,
         "eyJ" + "%" * 30 + ".eyJ" + "%" * 60 + "." + "%" * 43]  # fmt: skip


def api_key(draw: Draw) -> str:
    which = draw.random()
    if which < 0.1:
        return "AKIA" + "".join(draw.choice(string.ascii_uppercase + "234567") for _ in range(16))
    if which < 0.2:
        body = "\n".join(shaped(draw, "%" * 64) for _ in range(4))
        kind = draw.choice(["RSA ", "EC ", "OPENSSH ", ""])
        return f"-----BEGIN {kind}PRIVATE KEY-----\n{body}\n-----END {kind}PRIVATE KEY-----"
    return shaped(draw, draw.choice(_KEYS))


def secret(draw: Draw) -> str:
    thought_up = (
        draw.choice(["Sommer", "Rosebud", "Tortuga", "kestrel", "Zebra"])
        + shaped(draw, "##!")
        + draw.choice(["Regen", "hill", "Lake"])
    )
    value = draw.choice(
        [thought_up, shaped(draw, "%%%%%%%%%%%%"), shaped(draw, "%%%#-%%%@!%%%"), draw.randbytes(16).hex()]
    )
    form = draw.choice(["password: {}", "DB_PASSWORD={}", 'secret = "{}"', "my password is {} now",
    '{{"api_key": "{}"}}',
                        "Mein Passwort lautet {}", "mot de passe : {}", "client_secret={}", "PWD={}",
                        "contraseña: {}"])  # fmt: skip
    return form.format(f"\0{value}\0")


# --- national ids ----------------------------------------------------------------------------------------------------


def _birth(draw: Draw, order: str) -> str:
    parts = {"y": f"{draw.randrange(100):02}", "m": f"{draw.randrange(1, 13):02}", "d": f"{draw.randrange(1, 29):02}"}
    return "".join(parts[each] for each in order)


def _weights(text: str) -> Callable[[str], int]:
    weights = [int(each) for each in text.split()]
    return lambda number: sum(int(each) * weight for each, weight in zip(number, weights, strict=False))


def us_ssn(draw: Draw) -> str:
    number = (
        f"{draw.choice([*range(1, 666), *range(667, 900)]):03}{draw.randrange(1, 100):02}{draw.randrange(1, 10000):04}"
    )
    return f"{number[:3]}-{number[3:5]}-{number[5:]}"


def uk_nino(draw: Draw) -> str:
    number = draw.choice(["AB", "CE", "JH", "PW", "SK", "TY", "ZX"]) + shaped(draw, "######") + draw.choice("ABCD")
    return draw.choice([number, grouped(number, [2, 2, 2, 2], " ")])


def uk_nhs(draw: Draw) -> str:
    total = _weights("10 9 8 7 6 5 4 3 2 1")
    number = until(lambda: by_trial(shaped(draw, "4########"), lambda each: total(each) % 11 == 0))
    return draw.choice([number, grouped(number, [3, 3], " ")])


def es_dni(draw: Draw) -> str:
    lead, digits = draw.choice([("", 8), ("X", 7), ("Y", 7), ("Z", 7)])
    number = draw.randrange(10 ** (digits - 1), 10**digits)
    letter = "TRWAGMYFPDXBNJZSQVHLCKE"[(number + {"": 0, "X": 0, "Y": 10**7, "Z": 2 * 10**7}[lead]) % 23]
    return f"{lead}{number}{draw.choice(['', '-'])}{letter}"


def fr_nir(draw: Draw) -> str:
    number = draw.choice("12") + _birth(draw, "ym") + f"{draw.randrange(1, 96):02}" + shaped(draw, "######")
    number += f"{97 - int(number) % 97:02}"
    return draw.choice([number, grouped(number, [1, 2, 2, 2, 3, 3], " ")])


def it_codice_fiscale(draw: Draw) -> str:
    body = (
        "".join(draw.choice("BCDFGHJKLMNPQRSTVWXYZ") for _ in range(6))
        + shaped(draw, "##")
        + draw.choice("ABCDEHLMPRST")
        + f"{draw.randrange(1, 29) + draw.choice([0, 40]):02}"  # a day that every month has; 40 more for a woman
        + draw.choice("ABCDEFGHILMZ")
        + shaped(draw, "###")
    )
    odd = "BAKPLCQDREVOSFTGUHMINJWZYX"  # the letters in the order of the values they have in odd places
    total = 0
    for place, each in enumerate(body):
        rank = int(each) if each.isdigit() else ord(each) - ord("A")
        total += odd.index(chr(ord("A") + rank)) if place % 2 == 0 else rank
    return body + chr(ord("A") + total % 26)


def _mod_11_10(number: str) -> bool:
    rest = 10
    for each in number[:-1]:
        rest = (rest + int(each)) % 10
        rest = (rest if rest else 10) * 2 % 11
    return (rest + int(number[-1])) % 10 == 1


def de_steuer_id(draw: Draw) -> str:
    def make() -> str | None:
        digits = draw.sample(string.digits, 9)
        digits.insert(draw.randrange(10), draw.choice(digits))
        return by_trial("".join(digits), _mod_11_10) if digits[0] != "0" else None

    number = until(make)
    return draw.choice([number, grouped(number, [2, 3, 3], " ")])


# Verhoeff's multiplication and permutation tables, written out.
_D = [
    "0123456789",
    "1234067895",
    "2340178956",
    "3401289567",
    "4012395678",
    "5987604321",
    "6598710432",
    "7659821043",
    "8765932104",
    "9876543210",
]
_P = ["0123456789", "1576283094", "5803796142", "8916043527", "9453126870", "4286573901", "2793806415", "7046913258"]


def in_aadhaar(draw: Draw) -> str:
    def holds(number: str) -> bool:
        rest = 0
        for place, each in enumerate(reversed(number)):
            rest = int(_D[rest][int(_P[place % 8][int(each)])])
        return rest == 0

    number = by_trial(draw.choice("23456789") + shaped(draw, "##########"), holds) or ""
    return draw.choice([number, grouped(number, [4, 4], " ")])


def in_pan(draw: Draw) -> str:
    return shaped(draw, "@@@P@####@")


def _br_digit(number: str, top: int) -> str:
    total, weight = 0, 2
    for each in reversed(number):
        total, weight = total + int(each) * weight, weight + 1 if weight < top else 2
    return str(0 if total % 11 < 2 else 11 - total % 11)


def br_cpf(draw: Draw) -> str:
    number = shaped(draw, "#########")
    number += _br_digit(number, 99)
    number += _br_digit(number, 99)
    return draw.choice([number, f"{number[:3]}.{number[3:6]}.{number[6:9]}-{number[9:]}"])


def br_cnpj(draw: Draw) -> str:
    number = shaped(draw, "########0001")
    number += _br_digit(number, 9)
    number += _br_digit(number, 9)
    return draw.choice([number, f"{number[:2]}.{number[2:5]}.{number[5:8]}/{number[8:12]}-{number[12:]}"])


def ca_sin(draw: Draw) -> str:
    number = by_trial(draw.choice("12345679") + shaped(draw, "#######"), luhn_holds) or ""
    return grouped(number, [3, 3], draw.choice([" ", "-"])) if draw.random() < 0.7 else number


def nl_bsn(draw: Draw) -> str:
    total = _weights("9 8 7 6 5 4 3 2 -1")
    return until(lambda: by_trial(shaped(draw, "########"), lambda each: total(each) % 11 == 0))


def pl_pesel(draw: Draw) -> str:
    total = _weights("1 3 7 9 1 3 7 9 1 3 1")
    birth = _birth(draw, "ymd")
    if draw.random() < 0.3:
        birth = birth[:2] + str(int(birth[2:4]) + 20) + birth[4:]
    return by_trial(birth + shaped(draw, "####"), lambda each: total(each) % 10 == 0) or ""


def se_personnummer(draw: Draw) -> str:
    number = by_trial(_birth(draw, "ymd") + shaped(draw, "###"), luhn_holds) or ""
    return draw.choice(["", "19"]) + number[:6] + draw.choice(["-", "-", ""]) + number[6:]


def no_fodselsnummer(draw: Draw) -> str:
    first, second = _weights("3 7 6 1 8 9 4 5 2 1"), _weights("5 4 3 2 7 6 5 4 3 2 1")

    def make() -> str | None:
        birth = _birth(draw, "dmy")
        century = draw.choice("56789" if birth[4:] <= "25" else "01234")  # 2000 to 2025, and 1926 to 1999: Skatteetaten
        return by_trial(
            birth + century + shaped(draw, "##"), lambda each: first(each) % 11 == second(each) % 11 == 0, places=2
        )

    return until(make)


def dk_cpr(draw: Draw) -> str:
    birth = _birth(draw, "dmy")
    century = draw.choice("456789" if birth[4:] <= "25" else "0123")  # 2000 to 2025, and 1926 to 1999: CPR-kontoret
    return birth + "-" + century + shaped(draw, "###")


def fi_hetu(draw: Draw) -> str:
    birth, number = _birth(draw, "dmy"), f"{draw.randrange(2, 900):03}"
    return birth + draw.choice("-A") + number + "0123456789ABCDEFHJKLMNPRSTUVWXY"[int(birth + number) % 31]


def be_national_number(draw: Draw) -> str:
    birth, number = _birth(draw, "ymd"), shaped(draw, "###")
    return f"{birth[:2]}.{birth[2:4]}.{birth[4:]}-{number}.{97 - int(birth + number) % 97:02}"


def ch_ahv(draw: Draw) -> str:
    total = _weights("1 3 1 3 1 3 1 3 1 3 1 3 1")
    number = by_trial(shaped(draw, "756#########"), lambda each: total(each) % 10 == 0) or ""
    return draw.choice([number, f"{number[:3]}.{number[3:7]}.{number[7:11]}.{number[11:]}"])


def cn_resident_id(draw: Draw) -> str:
    body = (
        draw.choice(["110105", "310112", "440305", "510107"])
        + draw.choice(["19", "20"])
        + _birth(draw, "ymd")
        + shaped(draw, "###")
    )
    body = body[:8] + f"{int(body[8:10]) % 25:02}" + body[10:]

    def holds(number: str) -> bool:
        rest = 0
        for each in number:
            rest = (rest * 2 + (10 if each == "X" else int(each))) % 11
        return rest == 1

    return by_trial(body, holds, "0123456789X") or ""


def tr_kimlik(draw: Draw) -> str:
    def holds(number: str) -> bool:
        digits = [int(each) for each in number]
        odd, even = sum(digits[0:9:2]), sum(digits[1:8:2])
        return (odd * 7 - even) % 10 == digits[9] and sum(digits[:10]) % 10 == digits[10]

    return until(lambda: by_trial(draw.choice("123456789") + shaped(draw, "########"), holds, places=2))


def au_tfn(draw: Draw) -> str:
    total = _weights("1 4 3 7 5 8 6 9 10")
    number = until(lambda: by_trial(shaped(draw, "########"), lambda each: total(each) % 11 == 0))
    return grouped(number, [3, 3], draw.choice([" ", ""]) or "") if draw.random() < 0.7 else number


def sg_nric(draw: Draw) -> str:
    lead, number = draw.choice("STFG"), shaped(draw, "#######")
    rest = (_weights("2 7 6 5 4 3 2")(number) + (4 if lead in "TG" else 0)) % 11
    return lead + number + ("ABCDEFGHIZJ" if lead in "ST" else "KLMNPQRTUWX")[10 - rest]


def kr_rrn(draw: Draw) -> str:
    return _birth(draw, "ymd") + "-" + shaped(draw, draw.choice("1234") + "######")


def jp_my_number(draw: Draw) -> str:
    body = shaped(draw, "###########")
    rest = (
        sum(int(each) * weight for each, weight in zip(reversed(body), [2, 3, 4, 5, 6, 7, 2, 3, 4, 5, 6], strict=True))
        % 11
    )
    number = body + str(0 if rest < 2 else 11 - rest)
    return grouped(number, [4, 4], draw.choice([" ", "-"])) if draw.random() < 0.5 else number


# --- what only looks like it -----------------------------------------------------------------------------------------

_LOOK_ALIKES = [
    "Order number ################ has shipped.", "Bestellnummer: ##########", "invoice 2024-######",
    "tracking no. 1Z*@##@#######" + "####",
    "on 2024-0#-1# at 1#:2#:3#", "am 1#.0#.2023 um 1#:45 Uhr", "01-0#-2024 10:30", "timestamp 17########",
    "17###########",
    "version 1#.0.##.####", "v2.##.#", "release 10.##.#.#", "3.14159265###", "0.########", "1,###,###.## dollars",
    "1## ### ### people",
    "ISBN 978-#-##-######-#", "ISBN 0306######", "52.5#####, 13.4#####", "48.85####° N", "GPS -33.86####, 151.20####",
    "4## + 3#### = #######", "#########-###", "pages 1##-1##, 2##-2##", "1 2 3 4 5 6 7 8 9", "10 20 30 40 50 60",
    "call the function with ## and ####",
    "part no. AB-####-####", "SKU @@@####@", "@@##-####", "the years 19## 19## 19## 20##", "room ### floor #",
    "0x####", "#F#A#C",
    "127.0.0.1:80##", "192.168.#.1##", "10.#.#.#", "555-01##", "(212) 555-01##", "123-456-7890", "1234567890",
    "000-00-0000",
    "user@example.com", "@mention and a@b", "logo@2x.png", "react@18.#.#", "git@github.com:acme/repo.git",
    "your_email@example.org",
    "password: required", "the token is invalid", "password = input()", "secret: your_secret_here",
    "api_key=YOUR_API_KEY", "token: Optional[str] = None",
    "AKIAIOSFODNN7EXAMPLE", "sk-...", "hf_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    "postgres://user:password@localhost/db", "https://acme.io/a?b=##########",
    "4242 4242 4242 4242", "DE## #### #### #### #### #x", "std::vector<int> a::b", "10:30:45", "2001:db8::##",
    "00:11:22:33:44:55",
    "0.5 0.25 0.125 ####", "[1##, 2##, 3####, ####]", "$1#,###,###.00", "chr1:########-########", "CVE-2024-#####",
    "RFC ####", "id=########",
]  # fmt: skip


def look_alike(draw: Draw) -> str:
    which = draw.random()
    if which < 0.05:
        return str(uuid.UUID(bytes=draw.randbytes(16), version=4))
    if which < 0.1:
        return f"commit {draw.randbytes(20).hex()}"
    if which < 0.13:
        return f"sha256:{draw.randbytes(32).hex()}"
    if which < 0.2:  # numbers that fail their check digit
        number = by_trial(shaped(draw, "4##############"), lambda each: _luhn_sum(each) % 10 == 5) or ""
        return draw.choice([number, grouped(number, [4, 4, 4], " ")])
    return shaped(draw, draw.choice(_LOOK_ALIKES))
