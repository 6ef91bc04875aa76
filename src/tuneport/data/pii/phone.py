"""Phone numbers: international ones by libphonenumber, national ones if their form is distinctive."""

from __future__ import annotations

import re

from tuneport.data.pii.recogniser import Recogniser, whole_words

# Set aside by the regulators for film and print: NANPA, Ofcom, Bundesnetzagentur, Arcep, ACMA.
_FICTIONAL = re.compile(
    r"(?:1?[2-9]\d\d55501\d\d"
    r"|(?:44|0)(?:207946 0?\d{3}|2079460\d{3}|1[1-9]\d4960\d{3}|1632960\d{3}|7700900\d{3}|8081570\d{3}|3069990\d{3})"
    r"|(?:49|0)(?:3023125\d{3}|69900009\d\d|4066969\d{3}|2214710\d{3}|8999998\d{3}|17139200\d\d|1729925\d{3})"
    r"|(?:33|0)(?:19900|26191|35301|46571|53649|63998)\d{4}"
    r"|(?:61|0)(?:[2378](?:5550|7010)\d{4}|49157\d{4}))\Z"
)
_COUNTING = ("01234567890123456789", "98765432109876543210")
_DATE = re.compile(r"\d{1,2}[./-]\d{1,2}[./-](?:19|20)\d\d|(?:19|20)\d\d[./-]?\d\d[./-]?\d\d")


_NO_PHONE = re.compile(rf"{_DATE.pattern}|\d{{3}}-\d\d-\d{{4}}\Z")  # dates, and the shape of a US SSN


def _bare(value: str) -> str:
    return "".join(each for each in value if "0" <= each <= "9")


def _assigned(digits: str) -> bool:
    if len(set(digits)) < 3 or any(digits[-7:] in run for run in _COUNTING) or _FICTIONAL.match(digits):
        return False
    return len(set(digits[-6:])) > 1


def _north_american(digits: str) -> bool:
    """Check that area code and exchange begin with 2 to 9 and are not N11; 555 is not in use as an area or exchange."""
    area, exchange = digits[-10:-7], digits[-7:-4]
    return area[0] > "1" < exchange[0] and area[1:] != "11" != exchange[1:] and "555" not in (area, exchange)


def _cut_international(value: str) -> str:
    """Cut off later numbers that a space has put beside it: no country has numbers of that length."""
    while value:
        if value.count("(") == value.count(")") and _is_possible(_international_digits(value)):
            return value
        shorter = max(value.rfind(each) for each in " -./(")
        value = value[:shorter].rstrip(" -./(") if shorter > 0 else ""
    return value


def _international_digits(value: str) -> str:
    return _bare(value.replace("(0)", "")).removeprefix("00")


def _is_possible(digits: str) -> bool:
    """Return whether numbers of that country code have that length, by libphonenumber."""
    import phonenumbers

    try:
        number = phonenumbers.parse(f"+{digits}")
    except phonenumbers.NumberParseException:  # no country has that code
        return False
    return phonenumbers.is_possible_number_with_reason(number) == phonenumbers.ValidationResult.IS_POSSIBLE


def _international(value: str) -> bool:
    digits = _international_digits(value)
    return _assigned(digits) and (digits[0] != "1" or _north_american(digits))


def _formatted_north_american(value: str) -> bool:
    digits = _bare(value)
    return _north_american(digits) and _assigned(digits)


_FRENCH = re.compile(r"0[1-9](?:([ .-])\d\d)(?:\1\d\d){3}\Z")
_DOTTED_GROUPS = re.compile(r"[\d ()]+(?:\.\d{2,})+\Z")


def _trunk(value: str) -> bool:
    """Check for a number in groups with the zero that starts a call within a country."""
    digits = _bare(value)
    if not 9 <= len(digits) <= 12 or value.count("(") != value.count(")") or _NO_PHONE.match(value):
        return False
    if "." in value and not (_FRENCH.match(value) or _DOTTED_GROUPS.match(value)):
        return False
    groups = re.split(r"\D+", value.strip("("))
    if len(groups) < 2 or len(groups[0]) > 5 or (len(groups) > 4 and not _FRENCH.match(value)) or len(groups[-1]) < 2:
        return False
    return _assigned(digits)


def _grouped(value: str) -> bool:
    return _assigned(_bare(value))


def _named_phone(value: str) -> bool:
    """Check for 9 to 12 digits that are not a date, next to a word that says it is a phone number."""
    digits = _bare(value)
    if _DATE.match(value) or value.count("(") != value.count(")") or not _assigned(digits):
        return False
    return len(digits) != 10 or digits[0] in "016789" or _north_american(digits) or digits[0] == "3"


_PHONE_WORDS = whole_words(
    "(?:tele|smart|mobile |cell ?)?phones?(?:[ _-]?(?:number|no|nr))?", "tel", "telephones?",
    "telefon(?:o|e|nummer|nr|szám)?s?", "téléphones?", "teléfonos?", "telefoon(?:nummer)?",
    "mobile?", "móvil", "movil", "handy(?:nummer)?", "rufnummer",
    "cell(?:ular)?", "cellulare", "celular", "portable", "fax", "whats ?app", "sms", "hotline", "contact ?number",
    "(?:call|text|ring|reach|dial|phone)(?:ing)? (?:me|us|him|her|them|back|on|at|to)", "call", "dial",
    "ruf(?:en)?", "anrufen", "erreichbar", "appele[zr]?", "appelle(?:-moi)?", "joindre", "rappele[zr]",
    "llam[ae](?:r|me|dme)?", "llámame", "llamadme", "chiam(?:a|are|ami|ate)", "ligue(?:-me)?", "ligar", "bel",
    "zadzwoń", "numer telefonu", "komórk[ai]",
)  # fmt: skip
_PHONE_SIGNS = re.compile(rf"{_PHONE_WORDS.pattern}|電話|携帯|でんわ|电话|手机|☎|📞|📱|전화", re.IGNORECASE)

_EDGE = r"(?<![\w.+/-])"
_ALONE = rf"{_EDGE}(?<!\d )"  # not the later groups of a longer number
_END = r"(?!\w|-\d|[.,/ ]\d|-\w)"

PHONES: tuple[Recogniser, ...] = (
    Recogniser(
        "phone",
        range(8, 19),
        re.compile(r"(?<![\w+])(?:\+|(?<!\d )00 ?)[1-9](?:[ .\-/()]{0,3}\d){6,16}(?!\w)", re.ASCII),
        _international,
        cut=_cut_international,
    ),
    Recogniser(
        "phone",
        range(10, 12),
        re.compile(rf"{_EDGE}(?:1[-. ])?(?:\(\d{{3}}\) ?|\d{{3}}[.-])\d{{3}}[ .-]\d{{4}}{_END}", re.ASCII),
        _formatted_north_american,
        unless_named=True,
    ),
    Recogniser(
        "phone",
        range(9, 13),
        re.compile(rf"{_ALONE}\(?0[1-9](?:[ \-/.()]{{0,3}}\d){{7,10}}{_END}", re.ASCII),
        _trunk,
        unless_named=True,
    ),
    Recogniser(  # Brazil (11) 91234-5678; Spain 612 34 56 78
        "phone",
        range(9, 12),
        re.compile(rf"{_ALONE}(?:\([1-9]\d\) ?9?\d{{4}}-\d{{4}}|[6789]\d\d(?: \d\d){{3}}){_END}", re.ASCII),
        _grouped,
        unless_named=True,
    ),
    Recogniser(
        "phone",
        range(9, 13),
        re.compile(rf"{_EDGE}\(?\d(?:[ .\-/()]{{0,2}}\d){{8,11}}{_END}", re.ASCII),
        _named_phone,
        _PHONE_SIGNS,
        unless_named=True,
    ),
)
