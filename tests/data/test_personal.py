"""Personal data by shape: what is found, what is masked, and what only looks like it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.data.rows import chat, write
from tuneport.data.checks.personal import find, scan

KEY = "sk-proj-" + "Ab3" * 12


@pytest.mark.parametrize(
    ("text", "kind", "masked"),
    [
        ("write to anna.bauer+shop@mail.web.de please", "email", "a***@m***.de"),
        ("card 4111 1111 1111 1111, thanks", "card", "41***11"),
        ("5500-0000-0000-0004", "card", "55***04"),
        ("amex 3782 822463 10005", "card", "37***05"),
        ("pay to DE89 3704 0044 0532 0130 00 now", "iban", "DE***00"),
        ("GB29NWBK60161331926819.", "iban", "GB***19"),
        ("from 93.184.216.34 at noon", "ip_address", "93***34"),
        ("call +49 30 90185 432", "phone", "+4***32"),
        ("call (212) 664-7665", "phone", "(2***65"),
        ("my number is 212-664-7665", "phone", "21***65"),
        ("Tel. 030/9018 5432", "phone", "03***32"),
        (f"OPENAI_API_KEY={KEY}", "api_key", "sk-p***"),
        ("AKIAIOSFODNN7EXAMPLE", "api_key", "AKIA***"),
        ("-----BEGIN RSA PRIVATE KEY-----", "api_key", "----***"),
    ],
)
def test_found_and_masked(text: str, kind: str, masked: str) -> None:
    (match,) = find(text)
    assert (match.kind, match.masked) == (kind, masked)
    assert text[match.start : match.end] not in match.masked


@pytest.mark.parametrize(
    "text",
    [
        "user@example.com, a@b.test and x@sub.example.org",  # reserved, so nobody's
        "an @mention and a@b",
        "4111 1111 1111 1112",  # fails Luhn
        "0000 0000 0000 0000",
        "DE89 3704 0044 0532 0130 01",  # fails its check digits
        "127.0.0.1, 192.168.0.10, 10.0.0.1 and 8.8.8.8",
        "version 1.2.3.4.5 and section 300.1.2.3",
        "212-555-0123",  # fictional
        "2026-11-24, 10:30, 384,400 km, 3.14159265358979, 355909190063-746",
        "order 100-2345-778 and ISBN 978-3-16-148410-0",
        "sk-short and ghp_notlongenough",
        "",
    ],
)
def test_what_only_looks_like_it(text: str) -> None:
    assert find(text) == []


def test_matches_do_not_overlap_and_keep_their_order() -> None:
    text = "Mail a@web.de or +49 30 90185 432; card 4111111111111111"
    assert [match.kind for match in find(text)] == ["email", "phone", "card"]


def test_scan_counts_and_locates(tmp_path: Path) -> None:
    called = {
        "role": "assistant",
        "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"to": "a@web.de"}'}}],
    }
    rows = [
        chat("a", "b"),
        chat("I am a@web.de", "and I b@web.de"),
        {"messages": [{"role": "user", "content": "send"}, called]},
    ]
    found = scan(write(tmp_path / "a.jsonl", rows))
    assert (found.count, found.lines, dict(found.kinds)) == (3, 2, {"email": 3})
    assert [match.line for match in found.matches] == [2, 2, 3]
    assert scan(write(tmp_path / "b.jsonl", rows[:1])).count == 0
