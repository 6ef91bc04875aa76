"""API keys by the rules of Kingfisher: what is found, what it is called, what is left alone, and what stands for it."""

from __future__ import annotations

import json
import random
import string
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.libraries.issued_keys import ISSUERS, draw_key, issuers_found
from tests.support.rows import chat, write
from tuneport.data.checks.rows.personal import PersonalDataCheck, scan_personal_data
from tuneport.data.pii import issued_keys
from tuneport.data.pii.issued_keys import describe_rule, find_issued_keys, load_scanner
from tuneport.data.pii.redaction import Redactor
from tuneport.data.pii.search import find_personal_data
from tuneport.data.rows.records import Chat, Message, PlainText, ToolCall


def key(issuer: str, seed: int = 4) -> str:
    return draw_key(random.Random(seed), issuer)


def test_keys_of_most_issuers_are_found() -> None:
    """At least 17 of 25 issuers, by nine in ten of their keys; the prefixes alone find none of these."""
    assert len(ISSUERS) == 25
    assert sum(share >= 0.9 for share in issuers_found(seed=11, each=20).values()) >= 17


@pytest.mark.parametrize(
    ("issuer", "called"),
    [
        ("Slack", "http*** (Slack Webhook)"),
        ("Databricks", "dapi*** (Databricks API token)"),
        ("Heroku", "HRKU*** (Heroku Platform Key)"),
        ("Vault", "hvs.*** (Vault Service Token)"),
    ],
)
def test_a_key_is_called_by_its_issuer(issuer: str, called: str) -> None:
    (match,) = find_personal_data(f"It is {key(issuer)} now")
    assert (match.kind, match.masked) == ("api_key", called)


def test_what_a_prefix_gives_away_is_found_once_and_whole() -> None:
    token = draw_key(random.Random(2), "Linear").replace("lin_api_", "ghp_")[:40]
    assert [(match.kind, match.masked) for match in find_personal_data(f"GITHUB_TOKEN={token}")] == [
        ("api_key", "ghp_***")
    ]


@pytest.mark.parametrize(
    "form", ["It is {}.", "It is {}, ok", "({})", "**{}**", "钥匙是{}，谢谢", "«é{}»", "| {}|", '["{}"]']
)
def test_what_stands_around_a_key_does_not_hide_it(form: str) -> None:
    token = key("Databricks")
    text = form.format(token)
    assert [text[match.start : match.end] for match in find_personal_data(text)] == [token]


@pytest.mark.parametrize(
    "text",
    [
        "https://hooks.slack.com/services/" + "T00000000/B00000000/" + "X" * 24,
        "curl -H 'Authorization: Bearer my-secret-key-of-the-day-1' https://api.acme.io",
        "postgres://user:password@localhost:5432/a_database_of_many_names_1",
        "discord_client_id = 736291846372918463, client_id_of_the_application",  # says who asks, not by what right
        "dapi" + "0123456789abcdef" * 2 + "-1234567890",
    ],
)
def test_samples_and_names_of_clients_are_left_alone(text: str) -> None:
    assert [match for match in find_personal_data(text) if match.kind == "api_key"] == []


def test_names_of_rules_are_short_and_say_what_is_found() -> None:
    scanner = load_scanner()
    assert scanner is not None
    names = [describe_rule(rule["name"]) for rule in scanner.rules.metadata() if rule["visible"]]
    assert len(names) > 400 and max(map(len, names)) <= 65
    assert not [name for name in names if name.startswith(("Detected", "Found", "Identified")) or "which" in name]


def test_rules_are_loaded_once_and_only_for_texts_with_a_long_word() -> None:
    load_scanner.cache_clear()
    find_personal_data("Nothing here is as long as a key, and 12 is a number.")
    assert load_scanner.cache_info().currsize == 0
    for _ in range(3):
        find_personal_data(f"It is {key('Databricks')} now")
    assert load_scanner.cache_info().misses == 1


def test_rules_are_cached_in_a_private_folder_and_nothing_is_said(isolated: Path, tmp_path: Path) -> None:
    code = "from tuneport.data.pii.issued_keys import load_scanner; load_scanner()"
    made = subprocess.run(
        [sys.executable, "-c", code],
        env={"KF_RULE_CACHE_DIR": str(tmp_path / "rules"), "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        cwd=isolated,
    )
    assert (made.returncode, made.stdout, made.stderr) == (0, b"", b"")
    assert list(isolated.iterdir()) == []
    assert (tmp_path / "rules").stat().st_mode & 0o77 == 0
    assert [path.stat().st_mode & 0o77 for path in (tmp_path / "rules").iterdir()] == [0]


# --- without the extra -----------------------------------------------------------------------------------------------


@pytest.fixture
def without_kingfisher(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kingfisher_sdk", None)
    monkeypatch.setattr(issued_keys, "load_scanner", load_scanner.__wrapped__)


@pytest.mark.usefixtures("without_kingfisher")
def test_without_the_extra_prefixes_are_found_and_the_report_says_what_is_missing() -> None:
    assert list(find_issued_keys(key("Databricks"))) == []
    assert [match.masked for match in find_personal_data("sk-proj-" + "Ab3xK9" * 6)] == ["sk-p***"]
    finding = PersonalDataCheck().finding()
    assert "the keys of most issuers" in finding.message and "checks" in finding.message


def test_with_the_extra_the_report_asks_for_nothing() -> None:
    assert "issuers" not in PersonalDataCheck().finding().message


# --- in files and in redaction ---------------------------------------------------------------------------------------


def test_a_dataset_is_told_whose_key_is_where(tmp_path: Path) -> None:
    rows = [chat("hi", "ho"), chat(f"My token: {key('Databricks')}", "Thanks.")]
    (match,) = scan_personal_data(write(tmp_path / "a.jsonl", rows)).matches
    assert (match.line, match.kind, match.masked) == (2, "api_key", "dapi*** (Databricks API token)")


@pytest.mark.parametrize("issuer", sorted(set(ISSUERS) - {"Discord"}))
def test_redaction_replaces_a_key_by_one_placeholder_wherever_it_stands(issuer: str) -> None:
    token = key(issuer)
    name = issuer.replace(" ", "_").lower()
    assigned = f'{name}_api_key = "{token}"'
    redactor = Redactor()
    first, _ = redactor.redact(PlainText(assigned))
    again, _ = redactor.redact(PlainText(assigned))
    assert first == again and isinstance(first, PlainText) and first.text == f'{name}_api_key = "[API_KEY_1]"'
    assert Redactor().redact(first) == (first, {})


def test_redaction_keeps_json() -> None:
    token = key("Doppler")
    record = Chat([Message("assistant", None, tool_calls=[ToolCall("f", json.dumps({"token": token, "n": 1}))])])
    after, counts = Redactor().redact(record)
    assert isinstance(after, Chat) and after.messages[0].tool_calls[0].arguments == '{"token": "[API_KEY_1]", "n": 1}'
    assert counts == {"api_key": 1}


def test_a_document_with_a_key_in_it_is_no_key() -> None:
    """A rule takes the whole of a service account's JSON for its key; in its place would be no JSON."""
    body = "".join(random.Random(3).choices(string.ascii_letters + string.digits, k=640))
    account = {
        "type": "service_account",
        "private_key": f"-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n",
        "auth_provider_x509_cert_url": "https://www.googleapis.com/oauth2/v1/certs",
    }
    record = Chat([Message("assistant", None, tool_calls=[ToolCall("f", json.dumps(account))])])
    after, _ = Redactor().redact(record)
    assert isinstance(after, Chat)
    redacted = account | {"private_key": "[API_KEY_1]\n"}
    assert json.loads(after.messages[0].tool_calls[0].arguments) == redacted
