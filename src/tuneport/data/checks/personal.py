"""Personal data and secrets, by their shape: what must not be uploaded to a third party without being asked.

Shapes are checked where they have a check: cards by Luhn, IBANs by their modulus, addresses by their range. What can
belong to nobody is left out: the domains and addresses reserved for examples and tests, and fictional phone numbers.
Names and postal addresses have no shape and are not found here.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from ipaddress import AddressValueError, IPv4Address
from pathlib import Path
from typing import Any

from tuneport.data.checks.finding import MAX_EVIDENCE, Evidence, Example, Finding, Verdict, records
from tuneport.data.reading import read_records
from tuneport.data.records import Message, Preference, PromptCompletion, Record

KEPT_MATCHES = 100


@dataclass(frozen=True)
class Match:
    """`start` and `end` bound it in the text; `masked` shows its shape and hides the rest."""

    kind: str
    masked: str
    start: int = 0
    end: int = 0


@dataclass(frozen=True)
class Located:
    line: int
    kind: str
    masked: str


@dataclass
class PersonalData:
    """What a file holds: how many places by kind, and the first of them."""

    kinds: Counter[str] = field(default_factory=Counter)
    matches: list[Located] = field(default_factory=list)
    lines: int = 0

    @property
    def count(self) -> int:
        return self.kinds.total()

    def add(self, line: int, record: Record) -> None:
        before = self.count
        for text in texts(record):
            for match in find(text):
                self.kinds[match.kind] += 1
                if len(self.matches) < KEPT_MATCHES:
                    self.matches.append(Located(line, match.kind, match.masked))
        self.lines += self.count > before

    def as_dict(self) -> dict[str, Any]:
        return {"count": self.count, "lines": self.lines, "kinds": dict(self.kinds)}


def scan(path: Path | str, format: str | None = None) -> PersonalData:
    """Search a dataset. DatasetError if it cannot be read."""
    found = PersonalData()
    for line, record in read_records(path, format):
        found.add(line, record)
    return found


def texts(record: Record) -> Iterator[str]:
    """All text of the record that a model would see."""
    if isinstance(record, PromptCompletion):
        yield from (record.prompt, record.completion)
        return
    messages: list[Message]
    if isinstance(record, Preference):
        messages = [*record.context, *record.chosen, *record.rejected]
    else:
        messages = getattr(record, "messages", None) or [Message("user", getattr(record, "text", ""))]
    for message in messages:
        yield message.text
        if message.reasoning:
            yield message.reasoning
        for call in message.tool_calls:
            yield call.arguments


def find(text: str) -> list[Match]:
    """Every match, in order; where two overlap, the earlier kind of `_KINDS`."""
    taken: list[Match] = []
    for kind, worth_looking, pattern, accept in _KINDS:
        if not worth_looking(text):
            continue
        for found in pattern.finditer(text):
            start, end = found.span()
            if accept(found[0]) and all(end <= match.start or start >= match.end for match in taken):
                taken.append(Match(kind, mask(kind, found[0]), start, end))
    return sorted(taken, key=lambda match: match.start)


def mask(kind: str, value: str) -> str:
    if kind == "email":
        name, _, domain = value.partition("@")
        return f"{name[:1]}***@{domain[:1]}***.{domain.rpartition('.')[2]}"
    if kind == "api_key":
        return f"{value[:4]}***"
    return f"{value[:2]}***{value[-2:]}"


class Personal:
    def __init__(self) -> None:
        self._found = PersonalData()

    def add(self, example: Example) -> None:
        self._found.add(example.line, example.record)

    def finding(self) -> Finding:
        found = self._found
        if not found.count:
            return Finding("personal", Verdict.PASS, "no e-mail address, phone, card, IBAN, IP address or key found")
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in found.kinds.most_common())
        message = f"{records(found.lines)} with what looks like personal data: {kinds}"
        evidence = tuple(Evidence((each.line,), f"{each.kind} {each.masked}") for each in found.matches[:MAX_EVIDENCE])
        fix = "replace it; until then an upload to a third party is refused unless you allow it"
        return Finding("personal", Verdict.WARN, message, evidence, fix, found.lines, found.as_dict())


# --- the shapes ------------------------------------------------------------------------------------------------------

_DIGIT = re.compile(r"\d")
_FOUR_DIGITS = re.compile(r"\d[ .\-()]{0,2}\d[ .\-()]{0,2}\d[ .\-()]{0,2}\d")
_EMAIL = re.compile(
    r"(?<![\w.+-])[A-Za-z0-9][\w.+-]{0,63}@[A-Za-z0-9][A-Za-z0-9-]*(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,24}\b"
)
_RESERVED_DOMAIN = re.compile(r"(?:@|\.)(?:example\.(?:com|org|net)|[\w-]+\.(?:test|example|invalid|localhost))$", re.I)
_KEY = re.compile(
    r"\b(?:sk-(?:proj-|ant-|or-)?[A-Za-z0-9_-]{20,}|(?:AKIA|ASIA)[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{36}"
    r"|github_pat_\w{40,}|xox[abprs]-[A-Za-z0-9-]{10,}|AIza[0-9A-Za-z_-]{35}|hf_[A-Za-z0-9]{30,}"
    r"|[sr]k_live_[0-9A-Za-z]{20,}|glpat-[\w-]{20,}|eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,})"
    r"|-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----"
)
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b")
_CARD = re.compile(
    r"(?<![\w.,-])(?:\d{13,19}|\d{4}([ -])\d{4}\1\d{4}\1\d{1,7}|\d{4}([ -])\d{6}\2\d{4,5})(?![\w-]|[.,]\d)"
)
_ISSUER = re.compile(r"4|5[1-5]|2[2-7]|3[47]|35|3[068]|6")  # Visa, Mastercard, American Express, JCB, Diners and others
_IP = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w]|\.\d)")
_PHONE = re.compile(
    r"(?<![\w.+/-])(?:"
    r"\+\d{1,3}[ .-]?(?:\(0?\d{1,4}\)[ .-]?)?\d{1,4}(?:[ .-]?\d{2,4}){1,4}"  # +49 30 1234567
    r"|\(\d{3}\) ?\d{3}[ .-]\d{4}|\d{3}[.-]\d{3}[.-]\d{4}|1-\d{3}-\d{3}-\d{4}"  # North American
    r"|(?<!\d )0\d{2,4}[ /-]\d{3,4}[ -]?\d{3,5}(?! ?\d)"  # national, with a trunk zero
    r")(?![\w-]|[.,/]\d)"
)
_FICTIONAL_PHONE = re.compile(r"555\D?01\d\d$")


def _luhn(value: str) -> bool:
    digits = [int(each) for each in value if each.isdigit()]
    if not 13 <= len(digits) <= 19 or len(set(digits)) < 2 or not _ISSUER.match(value):
        return False
    doubled = [digit * 2 - 9 * (digit > 4) for digit in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _iban(value: str) -> bool:
    """ISO 13616: the country and check digits moved to the end, letters as 10 to 35, the remainder by 97 is 1."""
    value = value.replace(" ", "")
    if not 15 <= len(value) <= 34:
        return False
    return int("".join(str(int(each, 36)) for each in value[4:] + value[:4])) % 97 == 1


def _public_address(value: str) -> bool:
    try:
        return IPv4Address(value).is_global and not value.endswith((".0", ".255")) and value not in _RESOLVERS
    except AddressValueError:
        return False


_RESOLVERS = {"8.8.8.8", "8.8.4.4", "1.1.1.1", "9.9.9.9"}  # everybody's, so nobody's


def _phone(value: str) -> bool:
    digits = sum(each.isdigit() for each in value)
    return 9 <= digits <= 15 and not _FICTIONAL_PHONE.search(value)


_Kind = tuple[str, Callable[[str], object], re.Pattern[str], Callable[[str], object]]
_KINDS: tuple[_Kind, ...] = (
    ("api_key", lambda text: "-" in text or "_" in text or "AKIA" in text or "AIza" in text, _KEY, bool),
    ("email", lambda text: "@" in text, _EMAIL, lambda value: not _RESERVED_DOMAIN.search(value)),
    ("iban", _DIGIT.search, _IBAN, _iban),
    ("card", _FOUR_DIGITS.search, _CARD, _luhn),
    ("ip_address", lambda text: text.count(".") >= 3 and _DIGIT.search(text), _IP, _public_address),
    ("phone", _FOUR_DIGITS.search, _PHONE, _phone),
)
