"""Payment cards, IBANs and wallets of crypto currencies."""

from __future__ import annotations

import re

from tuneport.data.pii.recogniser import Recogniser, stdnum_module, whole_words

# Issuer ranges and lengths: ISO/IEC 7812 as the schemes publish them. Visa's 13 digits are no longer issued.
_ISSUERS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (name, re.compile(pattern))
    for name, pattern in (
        ("visa", r"4\d{15}(?:\d{3})?"),
        ("mastercard", r"(?:5[1-5]\d\d|222[1-9]|22[3-9]\d|2[3-6]\d\d|27[01]\d|2720)\d{12}"),
        ("american_express", r"3[47]\d{13}"),
        ("discover", r"(?:6011|64[4-9]\d|65\d\d)\d{12,15}"),
        ("jcb", r"35(?:2[89]|[3-8]\d)\d{12,15}"),
        ("diners", r"3(?:0[0-5]|[689]\d)\d{11}"),
        ("unionpay", r"62\d{14,17}"),
        ("maestro", r"(?:5018|5020|5038|5893|6304|6759|676[1-3])\d{12,15}"),
        ("mir", r"220[0-4]\d{12}"),
        ("rupay", r"(?:60|81|82|508\d)\d{14}"),
    )
)

# Published for tests by Stripe, PayPal, Adyen and Braintree: no one's.
_TEST_CARDS = frozenset(
    """4242424242424242 4000056655665556 4111111111111111 4012888888881881 4005519200000004 4009348888881881
    4012000033330026 4012000077777777 4217651111111119 4500600000000061 5555555555554444 2223003122003222
    5200828282828210 5105105105105100 5500000000000004 5454545454545454 2222400070000005 5431111111111111
    378282246310005 371449635398431 378734493671000 340000000000009 370000000000002 6011111111111117 6011000990139424
    6011000000000004 6011981111111113 3056930009020004 36227206271667 30569309025904 38520000023237 30000000000004
    3566002020360505 3530111333300000 6200000000000005 6759649826438453""".split()
)


def _card(value: str) -> bool:
    number = "".join(each for each in value if each.isdigit())
    if number in _TEST_CARDS or number.startswith("40000000"):  # Stripe's test numbers by outcome
        return False
    is_issued = len(set(number)) > 2 and any(issuer.fullmatch(number) for _, issuer in _ISSUERS)
    return is_issued and bool(stdnum_module("luhn").is_valid(number))


# The registry's own examples, which documentation repeats.
_EXAMPLE_IBANS = frozenset(
    """DE89370400440532013000 GB29NWBK60161331926819 GB82WEST12345698765432 FR1420041010050500013M02606
    NL91ABNA0417164300 ES9121000418450200051332 IT60X0542811101000000123456 BE68539007547034 AT611904300234573201
    CH9300762011623852957 SE4550000000058398257466 NO9386011117947 DK5000400440116243 FI2112345600000785
    PL61109010140000071219812874 PT50000201231234567890154 IE29AIBK93115212345678""".split()
)


def _cut_iban(value: str) -> str:
    """Cut off the words that stand behind it, in capitals as well; empty if it is no IBAN then either.

    The check digits that some countries have inside are not asked for: an account that is mistyped is still one.
    """
    while value and not stdnum_module("iban").is_valid(value, check_country=False):
        shorter = max(value.rfind(" "), value.rfind("-"))
        value = value[:shorter] if shorter > 0 else ""
    return value


def _iban(value: str) -> bool:
    return value.replace(" ", "").replace("-", "") not in _EXAMPLE_IBANS


_EDGE = r"(?<![\w.,/+-])"
_END = r"(?![\w-]|[.,/]\d)"
_CARD_WORDS = whole_words(
    "cards?", "visa", "mastercard", "maestro", "amex", "american express", "diners", "discover", "unionpay",
    "credit", "debit", "kreditkarte", "karte", "karten(?:nummer|nr)?", "carte(?: bancaire| bleue)?", "tarjeta",
    "carta(?: di credito)?", "cartão", "creditcard", "pan", "cc",
)  # fmt: skip

ACCOUNTS: tuple[Recogniser, ...] = (
    Recogniser(
        "iban",
        range(7, 33),
        re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]){11,30}"),
        _iban,
        cut=_cut_iban,
    ),
    Recogniser(
        "card",
        range(14, 20),
        re.compile(
            rf"{_EDGE}(?<!\d )(?:\d{{15,16}}|\d{{4}}([ -])\d{{4}}\1\d{{4}}\1\d{{4}}(?:\1\d{{3}})?"
            rf"|\d{{4}}([ -])\d{{6}}\2\d{{4,5}}){_END}",
            re.ASCII,
        ),
        _card,
        unless_named=True,
    ),
    Recogniser("card", range(14, 20), re.compile(rf"{_EDGE}\d{{14,19}}{_END}", re.ASCII), _card, _CARD_WORDS),
)

_BITCOIN = re.compile(r"(?<![A-Za-z0-9])[13][1-9A-HJ-NP-Za-km-z]{25,34}(?![A-Za-z0-9])")
_SEGWIT = re.compile(r"(?<![A-Za-z0-9])bc1[a-z0-9]{11,71}(?![A-Za-z0-9])")
_ETHEREUM = re.compile(r"(?<![A-Za-z0-9])0x[0-9a-fA-F]{40}(?![A-Za-z0-9])")


_BECH32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"


def _segwit(value: str) -> bool:
    """Check BIP 173 and BIP 350: the remainder is 1 (bech32) or 0x2bc830a3 (bech32m, which python-stdnum refuses)."""
    if any(each not in _BECH32 for each in value[3:]):
        return False
    prefix = [3, 3, 0, 2, 3]  # "bc"
    remainder = stdnum_module("bitcoin").bech32_checksum(prefix + [_BECH32.index(each) for each in value[3:]])
    return remainder in (1, 0x2BC830A3)


def find_crypto_wallets(text: str) -> list[tuple[int, int]]:
    """Find Bitcoin addresses that pass their checksum, and Ethereum addresses, whose letter case holds their only
    one."""
    spans = [found.span() for found in _BITCOIN.finditer(text) if stdnum_module("bitcoin").is_valid(found[0])]
    if "bc1" in text:
        spans += [found.span() for found in _SEGWIT.finditer(text) if _segwit(found[0])]
    if "0x" in text:  # the zero address and its like have no owner
        spans += [found.span() for found in _ETHEREUM.finditer(text) if len(set(found[0][2:].lower())) > 6]
    return spans
