"""API keys and tokens by their issuers' prefixes, private keys, and secrets that are assigned to a telling name."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from math import log2

Span = tuple[int, int]

# What follows each prefix, as the issuers document it (or as their keys have looked).
_ISSUED: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (prefix, re.compile(prefix + rest))
    for prefix, rest in (
        ("sk-", r"[A-Za-z0-9_-]{20,}"),  # OpenAI (sk-, sk-proj-), Anthropic (sk-ant-), OpenRouter (sk-or-)
        ("AKIA", r"[A-Z2-7]{16}"),  # AWS, long-lived
        ("ASIA", r"[A-Z2-7]{16}"),  # AWS, temporary
        ("ghp_", r"[A-Za-z0-9]{36,}"),  # GitHub: personal, OAuth, user-to-server, server-to-server, refresh
        ("gho_", r"[A-Za-z0-9]{36,}"),
        ("ghu_", r"[A-Za-z0-9]{36,}"),
        ("ghs_", r"[A-Za-z0-9]{36,}"),
        ("ghr_", r"[A-Za-z0-9]{36,}"),
        ("github_pat_", r"\w{40,}"),
        ("glpat-", r"[\w-]{20,}"),  # GitLab
        ("xox", r"[abeoprs]-[A-Za-z0-9-]{10,}"),  # Slack
        ("xapp-", r"\d-[A-Za-z0-9-]{20,}"),
        ("AIza", r"[0-9A-Za-z_-]{35}"),  # Google API
        ("ya29.", r"[0-9A-Za-z_-]{20,}"),  # Google OAuth
        ("GOCSPX-", r"[0-9A-Za-z_-]{28}"),
        ("hf_", r"[A-Za-z0-9]{30,}"),  # Hugging Face
        ("sk_live_", r"[0-9A-Za-z]{16,}"),  # Stripe; keys for its test mode move no money
        ("rk_live_", r"[0-9A-Za-z]{16,}"),
        ("whsec_", r"[0-9A-Za-z+/]{24,}"),
        ("npm_", r"[A-Za-z0-9]{36}"),
        ("pypi-AgE", r"[\w-]{50,}"),
        ("SG.", r"[\w-]{22}\.[\w-]{43}"),  # SendGrid
        ("gsk_", r"[A-Za-z0-9]{40,}"),  # Groq
        ("tgp_v1_", r"[\w-]{30,}"),  # Together
        ("dop_v1_", r"[a-f0-9]{64}"),  # DigitalOcean
        ("shpat_", r"[a-fA-F0-9]{32}"),  # Shopify
        ("eyJ", r"[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}"),  # JSON Web Token
    )
)
_TOKEN_CHARACTERS = re.compile(r"[A-Za-z0-9_-]")
_EXAMPLE = re.compile(r"EXAMPLE|example|x{6}|X{6}|your[_-]|0{8}|1234567890|abcdefghij|(?:\.\.\.)|(.)\1{7}")
_EXAMPLE_JWT = "eyJzdWIiOiIxMjM0NTY3ODkwI"  # jwt.io's: {"sub":"1234567890"
_PRIVATE_KEY = re.compile(
    r"-----BEGIN (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----"
    r"(?:(?:[A-Za-z0-9+/=\\,: \t\r\n]++|-(?!-))*+-----END [A-Z0-9 ]{0,40}-----)?"
)


def find_api_keys(text: str) -> Iterator[Span]:
    """Yield keys with a known prefix; the examples of documentation are left out."""
    for prefix, pattern in _ISSUED:
        at = text.find(prefix)
        while at >= 0:
            after = at + len(prefix)
            if not at or not _TOKEN_CHARACTERS.match(text, at - 1):
                found = pattern.match(text, at)
                if found:
                    after = found.end()
                    if _is_issued(found[0]) and not _TOKEN_CHARACTERS.match(text, after):
                        yield at, after
            at = text.find(prefix, after)


def is_example(key: str) -> bool:
    """Return whether it only shows what keys look like, as documentation does."""
    return bool(_EXAMPLE.search(key)) or _EXAMPLE_JWT in key


def _is_issued(key: str) -> bool:
    if is_example(key):
        return False
    if key.startswith(("AKIA", "ASIA", "eyJ")) or _has_digit_and_letter(key[4:]):
        return True
    body = key[6:]
    return body.isalnum() and body.upper() != body != body.lower()


def _has_digit_and_letter(value: str) -> bool:
    return any(each.isdigit() for each in value) and any(each.isalpha() for each in value)


def find_private_keys(text: str) -> Iterator[Span]:
    """Find the text from BEGIN to END, or the first line alone if the end is missing."""
    at = text.find("-----BEGIN ")
    while at >= 0:
        found = _PRIVATE_KEY.match(text, at)
        if found:
            yield found.span()
        at = text.find("-----BEGIN ", found.end() if found else at + 1)


# --- secrets by the name they are assigned to ------------------------------------------------------------------------

_NAMES = ("passw", "pwd", "passphrase", "secret", "token", "apikey", "api_key", "api-key", "api key", "access_key",
          "access key", "auth_key", "account_key", "accountkey", "private_key", "kennwort", "contraseña",
          "mot de passe", "senha", "wachtwoord", "hasło")  # fmt: skip
STEMS = ("pass", "pwd", "secret", "token", "key", "wort", "contrase", "senha", "woord", "has\u0142o")
"""One of them is in every name: what a text is searched for first."""
_NAMES_BY_STEM = {stem: tuple(name for name in _NAMES if stem in name) for stem in STEMS}
_ASSIGNED = re.compile(
    r"(?:passw(?:or[dt])?|passwd|pwd|passphrase|secret(?:[_ -]?(?:access[_ -]?)?key)?|token|api[_ -]?key|"
    r"access[_ -]key|auth_key|account_?key|private_key|kennwort|contraseña|mot de passe|senha|wachtwoord|hasło)"
    r"(?:[\"'\]`*]{0,3}\s{0,3}(?:=>|:=|[:=：])\s{0,3}| (?:is|was|ist|lautet|es|est|é|è|to)(?: now)?:? {1,2})"
    r"[\"'`*]{0,3}"
    r"((?:Bearer )?)([^\s\"'`,;<>()\[\]{}|\\]{8,200})",
    re.IGNORECASE,
)
_PLACEHOLDER = re.compile(
    r"(?i).*(?:pass(?:word|wd|phrase)?\d*|secret|token|your|my[_-]|example|sample|dummy|placeholder|change[_-]?me|xxx|\*\*\*|"
    r"\.\.\.|123456|abcdef|abc123|qwerty|foobar|insert|api_?key|access_?key|process\.env|os\.environ|https?://|\$).*"
)
_MIN_BITS = 2.75  # a character of it, by Shannon; eight different characters have 3, "aaaa1111" has 1


def find_assigned_secrets(text: str, lowered: str, stems: Iterable[str]) -> Iterator[Span]:
    """Yield values of `password = ...` and the like that look random or chosen, not written for a manual.

    `lowered` is the text in lower case, of the same length; `stems` are those of `STEMS` in it. A value has a digit and
    a letter, at least 8 characters and 2.75 bits a character, no word that stands for a secret, and is not a path,
    number or code.
    """
    for name in {name for stem in stems for name in _NAMES_BY_STEM[stem]}:
        at = lowered.find(name)
        while at >= 0:
            found = _ASSIGNED.match(text, at)
            if found:
                value = found[2].rstrip(".!?:*_")
                if looks_secret(value):
                    yield found.start(2), found.start(2) + len(value)
            at = lowered.find(name, at + len(name))


_NO_SECRET = re.compile(
    r"(?:[A-Za-z_]\w*\.)+[A-Za-z_]\w*\Z|[\d.,:/%-]+\w?\Z|[A-Za-z]+[_-][A-Za-z_-]+\d?\Z|\d{4}-\d\d-\d\dT.*|[a-z]+\d\Z|[A-Z]\w+_\d\Z"
)


def looks_secret(value: str) -> bool:
    """Return whether a value looks random or chosen: see `find_assigned_secrets`."""
    if len(value) < 8 or not _has_digit_and_letter(value) or _PLACEHOLDER.match(value) or _NO_SECRET.match(value):
        return False
    counts = Counter(value)
    bits = -sum(count / len(value) * log2(count / len(value)) for count in counts.values())
    return bits >= _MIN_BITS
