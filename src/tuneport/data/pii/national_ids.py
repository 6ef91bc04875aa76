"""Numbers that states give to persons (and, in Brazil, to companies).

Check digits and the dates of birth in them are python-stdnum's. What is here is how a number is written, which word
must be near it if a plain run of digits would pass too often, which samples are printed everywhere, and the rules of
four countries that python-stdnum does not have or takes too narrowly.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from tuneport.data.pii.recogniser import Recogniser, stdnum_module, whole_words


def _letters_and_digits(value: str) -> str:
    return "".join(each for each in value if each.isalnum()).upper()


def _valid(module: str, samples: str = "(?!)", distinct: int = 3) -> Callable[[str], bool]:
    """Return a check by a module of python-stdnum that refuses `samples`, a pattern of values which are printed
    everywhere, and values of fewer different characters than `distinct`, which only fill a form."""
    printed = re.compile(samples)

    def accept(value: str) -> bool:
        bare = _letters_and_digits(value)
        return len(set(bare)) >= distinct and not printed.match(bare) and bool(stdnum_module(module).is_valid(bare))

    return accept


def _is_born(birth_date: Callable[[str], object], number: str) -> bool:
    """Return whether python-stdnum reads a date of birth from the number."""
    try:
        birth_date(number)
    except stdnum_module("exceptions").ValidationError:
        return False
    return True


def _uk_nino(value: str) -> bool:
    """Check by HMRC, NIM39110; AB123456C and its like are printed on every sample."""
    bare = _letters_and_digits(value)
    return bare[:2] not in ("BG", "GB", "NK", "KN", "TN", "NT", "ZZ") and bare[2:8] != "123456"


def _es_dni(value: str) -> bool:
    bare = _letters_and_digits(value)
    if bare[-8:-1] in ("2345678", "1234567", "0000000"):
        return False
    return bool(stdnum_module("es.nie" if bare[0] in "XYZ" else "es.dni").is_valid(bare))


def _se_personnummer(value: str) -> bool:
    """Check by Skatteverket, SKV 704: 60 is added to the day of a coordination number, which python-stdnum refuses."""
    bare = _letters_and_digits(value)
    birth = f"{bare[:-6]}{int(bare[-6:-4]) % 60:02}{bare[-4:]}"
    return bool(stdnum_module("luhn").is_valid(bare[-10:])) and _is_born(
        stdnum_module("se.personnummer").get_birth_date, birth
    )


def _cn_resident_id(value: str) -> bool:
    """Check by GB 11643-1999. The county is where the number was given, which may be younger than its owner:
    python-stdnum refuses those."""
    bare, module = _letters_and_digits(value), stdnum_module("cn.ric")
    return _is_born(module.get_birth_date, bare) and bool(module.calc_check_digit(bare) == bare[-1])


def _sg_nric(value: str) -> bool:
    """Check the weights 2 7 6 5 4 3 2, 4 more for T and G, the letter by the remainder of 11. S1234567D is the
    example."""
    bare = value.upper()
    total = sum(int(digit) * weight for digit, weight in zip(bare[1:8], (2, 7, 6, 5, 4, 3, 2), strict=True))
    letters = "JZIHGFEDCBA" if bare[0] in "ST" else "XWUTRQPNMLK"
    return bare[1:8] != "1234567" and letters[(total + 4 * (bare[0] in "TG")) % 11] == bare[8]


def _kr_rrn(value: str) -> bool:
    """Check the date of birth, and a digit from 1 to 8 for century and sex; since 2020 there is no check digit."""
    bare = _letters_and_digits(value)
    return _is_born(stdnum_module("kr.rrn").get_birth_date, bare) and len(set(bare[6:])) > 2


_us_ssn = _valid("us.ssn", "123456789|111223333|123121234")
_in_aadhaar = _valid("in_.aadhaar", distinct=4)  # the weakest check: one in ten
_uk_nhs = _valid("gb.nhs", "999")  # begins test numbers
_fr_nir = _valid("fr.nir")
_au_tfn = _valid("au.tfn", "12345678")
_br_cpf = _valid("br.cpf", "123456789")
_br_cnpj = _valid("br.cnpj", distinct=2)

_Row = tuple[str, range, str, Callable[[str], bool], re.Pattern[str] | None]

_ROWS: tuple[_Row, ...] = (
    # Named, however they are spaced.
    ("us_ssn", range(9, 10), r"\d{3}[ -]?\d{2}[ -]?\d{4}", _us_ssn,
     whole_words("ssn", "social security(?: (?:number|no|#))?", "soc sec")),
    ("uk_nhs", range(10, 11), r"\d{3}[ -]?\d{3}[ -]?\d{4}", _uk_nhs, whole_words("nhs(?: (?:number|no))?")),
    ("de_steuer_id", range(11, 12), r"[1-9]\d ?\d{3} ?\d{3} ?\d{3}", _valid("de.idnr"),
     whole_words("steuer-?id(?:entifikationsnummer|entnummer|nr)?", "steuerliche id\\w*", "idnr",
                 "identifikationsnummer", "steuernummer", "tax id(?:entification)?(?: number)?", "tin")),
    ("in_aadhaar", range(12, 13), r"[2-9]\d{3}[ -]?\d{4}[ -]?\d{4}", _in_aadhaar,
     whole_words("aadhaa?r", "uidai", "uid", "आधार")),
    ("br_cpf", range(11, 12), r"\d{11}", _br_cpf, whole_words("cpf")),
    ("br_cnpj", range(14, 15), r"\d{14}", _br_cnpj, whole_words("cnpj")),
    ("ca_sin", range(9, 10), r"\d{3}[ -]?\d{3}[ -]?\d{3}", _valid("ca.sin"),
     whole_words("sin", "social insurance(?: number)?", "nas", "assurance sociale", "numéro d'assurance sociale")),
    ("nl_bsn", range(9, 10), r"\d{4}[. ]?\d{2}[. ]?\d{3}|\d{3}[. ]\d{3}[. ]\d{3}", _valid("nl.bsn", "123456782"),
     whole_words("bsn(?:-nummer)?", "burgerservicenummer", "sofi-?nummer", "citizen service number")),
    ("pl_pesel", range(11, 12), r"\d{11}", _valid("pl.pesel"), whole_words("pesel\\w*")),
    ("se_personnummer", range(10, 13), r"(?:19|20)?\d{6}[-+ ]?\d{4}", _se_personnummer,
     whole_words("person(?:nummer|nr)", "pnr", "samordningsnummer", "personal identity number",
                 "swedish (?:personal )?id")),
    ("no_fodselsnummer", range(11, 12), r"\d{6} ?\d{5}", _valid("no.fodselsnummer"),
     whole_words("fødselsnummer", "fodselsnummer", "personnummer", "fnr", "d-nummer",
                 "norwegian (?:national )?id\\w*")),
    ("dk_cpr", range(10, 11), r"\d{6}[- ]?\d{4}", _valid("dk.cpr"), whole_words("cpr(?:-?(?:nummer|nr|number))?")),
    ("tr_kimlik", range(11, 12), r"[1-9]\d{10}", _valid("tr.tckimlik"),
     whole_words("t\\.?c\\.?(?: kimlik)?", "tckn", "kimlik(?: no| numarası| numaram)?", "turkish id\\w*")),
    ("au_tfn", range(9, 10), r"\d{3}[ -]?\d{3}[ -]?\d{3}", _au_tfn, whole_words("tfn", "tax file(?: number)?")),
    ("jp_my_number", range(12, 13), r"\d{4}[ -]?\d{4}[ -]?\d{4}", _valid("jp.in_"),
     re.compile(r"マイナンバー|個人番号|\bmy number\b", re.I)),
    ("cn_resident_id", range(17, 19), r"[1-9]\d{5}(?:19|20)\d{2}[01]\d[0-3]\d{4}[\dXx]", _cn_resident_id, None),
    # The way they are written, or the strength of their check, is enough.
    ("us_ssn", range(9, 10), r"\d{3}-\d{2}-\d{4}", _us_ssn, None),
    ("es_dni", range(7, 9), r"(?:\d{8}|\d{2}\.\d{3}\.\d{3})-?[A-Z]|[XYZ]-?\d{7}-?[A-Z]", _es_dni, None),
    ("fr_nir", range(12, 16), r"[12] ?\d{2} ?(?:[02-9]\d|1[0-2]) ?(?:\d{2}|2[AB]) ?\d{3} ?\d{3} ?\d{2}", _fr_nir, None),
    ("br_cpf", range(11, 12), r"\d{3}\.\d{3}\.\d{3}-\d{2}", _br_cpf, None),
    ("br_cnpj", range(14, 15), r"\d{2}\.\d{3}\.\d{3}/\d{4}-\d{2}", _br_cnpj, None),
    ("se_personnummer", range(10, 13), r"(?:19|20)?\d{6}[-+]\d{4}", _se_personnummer, None),
    ("ch_ahv", range(13, 14), r"756(?:\.\d{4}\.\d{4}\.\d{2}|\d{10})", _valid("ch.ssn", "75612345678"), None),
    ("be_national_number", range(11, 12), r"\d{2}\.\d{2}\.\d{2}-\d{3}\.\d{2}", _valid("be.nn"), None),
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
        _valid("it.codicefiscale"),
    ),
    # The fourth letter says whose it is; P is a person (Income Tax Department). AAAPL1234C is the department's example.
    Recogniser(
        "fi_hetu",
        range(9, 10),
        re.compile(r"(?<![\w-])[0-3]\d[01]\d{3}[-+A-FU-Y]\d{3}[0-9A-FHJ-NPR-Y](?![\w-])", re.ASCII),
        lambda value: bool(stdnum_module("fi.hetu").is_valid(value)),
    ),
    Recogniser(
        "in_pan",
        range(4, 5),
        re.compile(r"(?<![\w-])[A-Z]{3}P[A-Z]\d{4}[A-Z](?![\w-])", re.ASCII),
        _valid("in_.pan", r"\w{5}1234"),
    ),
)  # fmt: skip
