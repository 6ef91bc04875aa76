"""Numbers that states give to persons (and, in Brazil, to companies).

Each is checked by its own check digits where it has some, and by the date of birth in it. Where a plain run of digits
would pass too often, a word near it must say what it is. Sources are the issuers' own rules, named at each.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from tuneport.data.pii.checksums import is_date, luhn, mod_11_10, parse_digits, verhoeff, weighted_digit_sum
from tuneport.data.pii.recogniser import Recogniser, whole_words


def _letters_and_digits(value: str) -> str:
    return "".join(each for each in value if each.isalnum()).upper()


def _year(two_digits: int) -> int:
    """Return a year for the two digits; any century will do: 2000 had a 29 February and 1900 had none."""
    return 2000 + two_digits


def _us_ssn(value: str) -> bool:
    """Check by SSA: no area 000, 666 or 9xx, no group 00, no serial 0000. The others are samples that were printed."""
    digits = "".join(map(str, parse_digits(value)))
    if digits in ("078051120", "219099999", "123456789", "111223333", "123121234", "457555462"):
        return False
    return digits[:3] not in ("000", "666") and digits[0] != "9" and digits[3:5] != "00" and digits[5:] != "0000"


def _uk_nino(value: str) -> bool:
    """Check by HMRC, NIM39110; AB123456C and its like are printed on every sample."""
    bare = _letters_and_digits(value)
    return bare[:2] not in ("BG", "GB", "NK", "KN", "TN", "NT", "ZZ") and bare[2:8] != "123456"


def _uk_nhs(value: str) -> bool:
    """Check by the NHS Data Dictionary: modulus 11 by the weights 10 to 2. 999 begins test numbers."""
    digits = parse_digits(value)
    return (
        digits[:3] != [9, 9, 9]
        and len(set(digits)) > 2
        and (weighted_digit_sum(digits, range(10, 1, -1)) + digits[9]) % 11 == 0
    )


_DNI_LETTERS = "TRWAGMYFPDXBNJZSQVHLCKE"


def _es_dni(value: str) -> bool:
    """Check by Real Decreto 1553/2005: the letter is the number modulo 23; X, Y and Z of a NIE count as 0, 1 and 2."""
    bare = _letters_and_digits(value)
    number = bare[:-1].translate({ord("X"): "0", ord("Y"): "1", ord("Z"): "2"})
    if number[-7:] in ("2345678", "1234567", "0000000"):
        return False
    return _DNI_LETTERS[int(number) % 23] == bare[-1]


def _fr_nir(value: str) -> bool:
    """Check by Insee: 97 minus the first thirteen modulo 97; Corsica's 2A counts as 19 and 2B as 18."""
    bare = _letters_and_digits(value)
    number = bare[:13].replace("2A", "19").replace("2B", "18")
    return number.isdigit() and 97 - int(number) % 97 == int(bare[13:])


_ODD_VALUES = dict(zip("0123456789", (1, 0, 5, 7, 9, 13, 15, 17, 19, 21), strict=True)) | dict(
    zip(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
        (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23),
        strict=True,
    )
)


def _it_codice_fiscale(value: str) -> bool:
    """Check by the Decreto ministeriale of 23 December 1976: odd places by a table, even ones by their rank, modulo
    26."""
    bare = _letters_and_digits(value)
    odd = sum(_ODD_VALUES[each] for each in bare[:15:2])
    even = sum(int(each) if each.isdigit() else ord(each) - 65 for each in bare[1:15:2])
    return chr(65 + (odd + even) % 26) == bare[15]


def _de_steuer_id(value: str) -> bool:
    """Check by § 139b AO: of the first ten digits one stands twice or three times, the others once; then ISO 7064 MOD
    11,10."""
    digits = parse_digits(value)
    repeated = [digit for digit in set(digits[:10]) if digits[:10].count(digit) > 1]
    return len(repeated) == 1 and digits[:10].count(repeated[0]) <= 3 and mod_11_10(digits)


def _in_aadhaar(value: str) -> bool:
    digits = parse_digits(value)
    return len(set(digits)) > 3 and verhoeff(digits)


def _br_cpf(value: str) -> bool:
    """Check by Receita Federal: two digits modulo 11, by the weights 10 to 2 and 11 to 2."""
    digits = parse_digits(value)
    if len(set(digits)) == 1 or digits[:9] == list(range(1, 10)):
        return False
    return all(
        weighted_digit_sum(digits[:size], range(size + 1, 1, -1)) * 10 % 11 % 10 == digits[size] for size in (9, 10)
    )


def _br_cnpj(value: str) -> bool:
    digits = parse_digits(value)
    weights = (6, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2)
    if len(set(digits)) == 1:
        return False
    return all(
        weighted_digit_sum(digits[:size], weights[13 - size :]) * 10 % 11 % 10 == digits[size] for size in (12, 13)
    )


def _ca_sin(value: str) -> bool:
    """Check by Service Canada: Luhn; no number begins with 0 or 8. 046 454 286 is the usual example, and begins
    with 0."""
    digits = parse_digits(value)
    return digits[0] not in (0, 8) and len(set(digits)) > 2 and luhn(digits)


def _nl_bsn(value: str) -> bool:
    """Check the eleven test: weights 9 to 2 and -1. 123456782 is in every manual."""
    digits = parse_digits(value)
    if digits == [1, 2, 3, 4, 5, 6, 7, 8, 2] or len(set(digits)) < 3:
        return False
    return weighted_digit_sum(digits, (9, 8, 7, 6, 5, 4, 3, 2, -1)) % 11 == 0


def _pl_pesel(value: str) -> bool:
    """Check by the Ustawa o ewidencji ludności, art. 15: weights 1 3 7 9; the month gives the century."""
    digits = parse_digits(value)
    year, month, day = (int("".join(map(str, digits[at : at + 2]))) for at in (0, 2, 4))
    if not is_date(_year(year), month % 20, day):
        return False
    return (weighted_digit_sum(digits[:10], (1, 3, 7, 9) * 3) + digits[10]) % 10 == 0 and len(set(digits)) > 2


def _se_personnummer(value: str) -> bool:
    """Check by Skatteverket, SKV 704: Luhn over the last ten digits; 60 is added to the day of a coordination
    number."""
    digits = parse_digits(value)[-10:]
    year, month, day = (int("".join(map(str, digits[at : at + 2]))) for at in (0, 2, 4))
    return is_date(_year(year), month, day % 60) and luhn(digits)


def _cn_resident_id(value: str) -> bool:
    """Check by GB 11643-1999: ISO 7064 MOD 11-2."""
    bare = _letters_and_digits(value)
    if not is_date(int(bare[6:10]), int(bare[10:12]), int(bare[12:14])):
        return False
    total = weighted_digit_sum(parse_digits(bare[:17]), (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2))
    return "10X98765432"[total % 11] == bare[17]


def _ch_ahv(value: str) -> bool:
    """Check the check digit of EAN-13; 756.1234.5678.97 is the authorities' own example."""
    digits = parse_digits(value)
    return digits[3:11] != list(range(1, 9)) and weighted_digit_sum(digits, (1, 3) * 7) % 10 == 0


def _fi_hetu(value: str) -> bool:
    """Check by the Digital and Population Data Services Agency: modulo 31; numbers from 900 on belong to no person."""
    bare = value.upper()
    day, month, year, number = int(bare[:2]), int(bare[2:4]), int(bare[4:6]), bare[7:10]
    if not is_date(_year(year), month, day) or not 2 <= int(number) <= 899:
        return False
    return "0123456789ABCDEFHJKLMNPRSTUVWXY"[int(bare[:6] + number) % 31] == bare[10]


def _be_national_number(value: str) -> bool:
    """Check 97 minus the first nine digits modulo 97; with a 2 before them for people born from 2000 on."""
    bare = "".join(map(str, parse_digits(value)))
    return int(bare[9:]) in (97 - int(bare[:9]) % 97, 97 - int(f"2{bare[:9]}") % 97) and int(bare[2:4]) <= 12


def _no_fodselsnummer(value: str) -> bool:
    """Check by Skatteetaten: two digits modulo 11; 40 is added to the day of a D-number."""
    digits = parse_digits(value)
    day, month, year = (int("".join(map(str, digits[at : at + 2]))) for at in (0, 2, 4))
    if not is_date(_year(year), month, day % 40):
        return False
    first = (weighted_digit_sum(digits, (3, 7, 6, 1, 8, 9, 4, 5, 2)) + digits[9]) % 11
    second = (weighted_digit_sum(digits, (5, 4, 3, 2, 7, 6, 5, 4, 3, 2)) + digits[10]) % 11
    return first == second == 0


def _dk_cpr(value: str) -> bool:
    digits = parse_digits(value)
    day, month, year = (int("".join(map(str, digits[at : at + 2]))) for at in (0, 2, 4))
    return is_date(_year(year), month, day)


def _tr_kimlik(value: str) -> bool:
    """Check by NVI: the tenth is seven times the odd places less the even ones, the eleventh the sum of the ten, modulo
    10."""
    digits = parse_digits(value)
    tenth = (7 * sum(digits[0:9:2]) - sum(digits[1:8:2])) % 10
    return digits[0] != 0 and digits[9] == tenth and digits[10] == sum(digits[:10]) % 10


def _au_tfn(value: str) -> bool:
    """Check the weights 1 4 3 7 5 8 6 9 10, modulo 11. 123 456 782 is the usual example."""
    digits = parse_digits(value)
    if digits[:8] == list(range(1, 9)) or len(set(digits)) < 3:
        return False
    return weighted_digit_sum(digits, (1, 4, 3, 7, 5, 8, 6, 9, 10)) % 11 == 0


def _sg_nric(value: str) -> bool:
    """Check the weights 2 7 6 5 4 3 2, 4 more for T and G, the letter by the remainder of 11. S1234567D is the
    example."""
    bare = value.upper()
    total = weighted_digit_sum(parse_digits(bare), (2, 7, 6, 5, 4, 3, 2)) + 4 * (bare[0] in "TG")
    letters = "JZIHGFEDCBA" if bare[0] in "ST" else "XWUTRQPNMLK"
    return bare[1:8] != "1234567" and letters[total % 11] == bare[8]


def _kr_rrn(value: str) -> bool:
    """Check the date of birth, and a digit from 1 to 8 for century and sex; since 2020 there is no check digit."""
    digits = parse_digits(value)
    year, month, day = (int("".join(map(str, digits[at : at + 2]))) for at in (0, 2, 4))
    return is_date(_year(year), month, day) and len(set(digits[6:])) > 2


def _jp_my_number(value: str) -> bool:
    """Check by ministry order 85 of 2014: weights 2 to 7 and 2 to 6 from the right, 11 less the remainder, 0 for 10 and
    11."""
    digits = parse_digits(value)
    remainder = weighted_digit_sum(digits[10::-1], (2, 3, 4, 5, 6, 7, 2, 3, 4, 5, 6)) % 11
    return len(set(digits)) > 2 and digits[11] == (0 if remainder <= 1 else 11 - remainder)


_Row = tuple[str, range, str, Callable[[str], bool], re.Pattern[str] | None]

_ROWS: tuple[_Row, ...] = (
    # Named, however they are spaced.
    ("us_ssn", range(9, 10), r"\d{3}[ -]?\d{2}[ -]?\d{4}", _us_ssn,
     whole_words("ssn", "social security(?: (?:number|no|#))?", "soc sec")),
    ("uk_nhs", range(10, 11), r"\d{3}[ -]?\d{3}[ -]?\d{4}", _uk_nhs, whole_words("nhs(?: (?:number|no))?")),
    ("de_steuer_id", range(11, 12), r"[1-9]\d ?\d{3} ?\d{3} ?\d{3}", _de_steuer_id,
     whole_words("steuer-?id(?:entifikationsnummer|entnummer|nr)?", "steuerliche id\\w*", "idnr",
                 "identifikationsnummer", "steuernummer", "tax id(?:entification)?(?: number)?", "tin")),
    ("in_aadhaar", range(12, 13), r"[2-9]\d{3}[ -]?\d{4}[ -]?\d{4}", _in_aadhaar,
     whole_words("aadhaa?r", "uidai", "uid", "आधार")),
    ("br_cpf", range(11, 12), r"\d{11}", _br_cpf, whole_words("cpf")),
    ("br_cnpj", range(14, 15), r"\d{14}", _br_cnpj, whole_words("cnpj")),
    ("ca_sin", range(9, 10), r"\d{3}[ -]?\d{3}[ -]?\d{3}", _ca_sin,
     whole_words("sin", "social insurance(?: number)?", "nas", "assurance sociale", "numéro d'assurance sociale")),
    ("nl_bsn", range(9, 10), r"\d{4}[. ]?\d{2}[. ]?\d{3}|\d{3}[. ]\d{3}[. ]\d{3}", _nl_bsn,
     whole_words("bsn(?:-nummer)?", "burgerservicenummer", "sofi-?nummer", "citizen service number")),
    ("pl_pesel", range(11, 12), r"\d{11}", _pl_pesel, whole_words("pesel\\w*")),
    ("se_personnummer", range(10, 13), r"(?:19|20)?\d{6}[-+ ]?\d{4}", _se_personnummer,
     whole_words("person(?:nummer|nr)", "pnr", "samordningsnummer", "personal identity number",
                 "swedish (?:personal )?id")),
    ("no_fodselsnummer", range(11, 12), r"\d{6} ?\d{5}", _no_fodselsnummer,
     whole_words("fødselsnummer", "fodselsnummer", "personnummer", "fnr", "d-nummer",
                 "norwegian (?:national )?id\\w*")),
    ("dk_cpr", range(10, 11), r"\d{6}[- ]?\d{4}", _dk_cpr, whole_words("cpr(?:-?(?:nummer|nr|number))?")),
    ("tr_kimlik", range(11, 12), r"[1-9]\d{10}", _tr_kimlik,
     whole_words("t\\.?c\\.?(?: kimlik)?", "tckn", "kimlik(?: no| numarası| numaram)?", "turkish id\\w*")),
    ("au_tfn", range(9, 10), r"\d{3}[ -]?\d{3}[ -]?\d{3}", _au_tfn, whole_words("tfn", "tax file(?: number)?")),
    ("jp_my_number", range(12, 13), r"\d{4}[ -]?\d{4}[ -]?\d{4}", _jp_my_number,
     re.compile(r"マイナンバー|個人番号|\bmy number\b", re.I)),
    ("cn_resident_id", range(17, 19), r"[1-9]\d{5}(?:19|20)\d{2}[01]\d[0-3]\d{4}[\dXx]", _cn_resident_id, None),
    # The way they are written, or the strength of their check, is enough.
    ("us_ssn", range(9, 10), r"\d{3}-\d{2}-\d{4}", _us_ssn, None),
    ("es_dni", range(7, 9), r"(?:\d{8}|\d{2}\.\d{3}\.\d{3})-?[A-Z]|[XYZ]-?\d{7}-?[A-Z]", _es_dni, None),
    ("fr_nir", range(12, 16), r"[12] ?\d{2} ?(?:[02-9]\d|1[0-2]) ?(?:\d{2}|2[AB]) ?\d{3} ?\d{3} ?\d{2}", _fr_nir, None),
    ("br_cpf", range(11, 12), r"\d{3}\.\d{3}\.\d{3}-\d{2}", _br_cpf, None),
    ("br_cnpj", range(14, 15), r"\d{2}\.\d{3}\.\d{3}/\d{4}-\d{2}", _br_cnpj, None),
    ("se_personnummer", range(10, 13), r"(?:19|20)?\d{6}[-+]\d{4}", _se_personnummer, None),
    ("ch_ahv", range(13, 14), r"756(?:\.\d{4}\.\d{4}\.\d{2}|\d{10})", _ch_ahv, None),
    ("be_national_number", range(11, 12), r"\d{2}\.\d{2}\.\d{2}-\d{3}\.\d{2}", _be_national_number, None),
    ("sg_nric", range(7, 8), r"[STFG]\d{7}[A-Z]", _sg_nric, None),
    ("kr_rrn", range(13, 14), r"\d{6}-[1-8]\d{6}", _kr_rrn, None),
)  # fmt: skip

_EDGE = r"(?<![\w.,/+-])"
_END = r"(?![\w-]|[.,/]\d)"

NATIONAL_IDS: tuple[Recogniser, ...] = (
    *(
        Recogniser(kind, digits, re.compile(f"{_EDGE}(?:{pattern}){_END}"), accept, context)
        for kind, digits, pattern, accept, context in _ROWS
    ),
    # One number in ten passes its check: not where another name stands before it.
    Recogniser(
        "in_aadhaar",
        range(12, 13),
        re.compile(rf"{_EDGE}(?<!\d )[2-9]\d{{3}} \d{{4}} \d{{4}}(?![\w-]|[ .,/]\d)", re.ASCII),
        _in_aadhaar,
        unless_named=True,
    ),
)

# Letters and digits in an order that nothing else has; they need no long run of digits.
LETTERED_IDS: tuple[Recogniser, ...] = (
    Recogniser(
        "uk_nino",
        range(6, 7),
        re.compile(
            r"(?<![\w-])[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z]([ -]?)\d{2}(?:\1\d{2}){2}\1?[A-D](?![\w-])", re.ASCII
        ),
        _uk_nino,
    ),
    Recogniser(
        "it_codice_fiscale",
        range(7, 8),
        re.compile(r"(?i)(?<![\w-])[A-Z]{3} ?[A-Z]{3} ?\d{2}[ABCDEHLMPRST]\d{2} ?[A-Z]\d{3}[A-Z](?![\w-])", re.ASCII),
        _it_codice_fiscale,
    ),
    # The fourth letter says whose it is; P is a person (Income Tax Department). AAAPL1234C is the department's example.
    Recogniser(
        "fi_hetu",
        range(9, 10),
        re.compile(r"(?<![\w-])[0-3]\d[01]\d{3}[-+A-FU-Y]\d{3}[0-9A-FHJ-NPR-Y](?![\w-])", re.ASCII),
        _fi_hetu,
    ),
    Recogniser(
        "in_pan",
        range(4, 5),
        re.compile(r"(?<![\w-])[A-Z]{3}P[A-Z]\d{4}[A-Z](?![\w-])", re.ASCII),
        lambda value: value[5:9] != "1234",
    ),
)  # fmt: skip
