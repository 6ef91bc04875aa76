from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from tests.support.commands import Run
from tests.support.webhook_receiver import Receiver
from tuneport.lifecycle.store.store import Store
from tuneport.lifecycle.webhooks.signing import parse_webhook_secret, sign_webhook_headers
from tuneport.settings import Settings


@pytest.fixture
def configured(isolated: Path, receiver: Receiver, webhook_secret: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OURS_SECRET", webhook_secret)
    monkeypatch.setenv("TUNEPORT_NOTIFY", "json://localhost/geheim")
    (isolated / "tuneport.toml").write_text(
        f'[webhooks.ours]\nurl = "{receiver.url}?key=geheim"\nsecret_env = "OURS_SECRET"\nallow_private = true\n'
        '[webhooks.outside]\nurl = "https://localhost:9/geheim"\nsecret_env = "OURS_SECRET"\nevents = ["failed"]\n'
    )


def test_secret_is_a_new_one_each_time(run: Run) -> None:
    made = [run("webhook", "secret")[1].strip(), run("webhook", "secret", "--json")[1]["secret"]]
    assert len(set(made)) == 2 and all(len(parse_webhook_secret(SecretStr(one), "S")) == 32 for one in made)


def test_test_sends_a_signed_event(run: Run, configured: None, receiver: Receiver, webhook_secret: str) -> None:
    code, document, _ = run("webhook", "test", "ours", "--event", "failed", "--json")
    assert code == 0 and (document["status"], document["type"]) == (200, "fine_tuning.job.failed")
    (received,) = receiver.received
    at = int(received.headers["webhook-timestamp"])
    signed = sign_webhook_headers(
        parse_webhook_secret(SecretStr(webhook_secret), "S"), document["id"], at, received.body
    )
    assert received.headers["webhook-signature"] == signed["webhook-signature"]
    receiver.statuses = [500]
    code, _, told = run("webhook", "test", "ours")
    assert code == 3 and "127.0.0.1 answered 500" in told and "geheim" not in told
    code, _, told = run("webhook", "test", "outside")
    assert code == 3 and "which is no public address" in told and "allow_private = true" in told
    assert run("webhook", "test", "nobody")[0] == 2 and run("webhook", "test", "ours", "--event", "x")[0] == 2


def test_list_names_hosts_and_services_and_no_secret(run: Run, configured: None, webhook_secret: str) -> None:
    code, out, _ = run("webhook", "list")
    assert code == 0 and "geheim" not in out and webhook_secret not in out and max(map(len, out.splitlines())) <= 80
    (ours, outside, notify) = run("webhook", "list", "--json")[1]["data"]
    assert (ours["to"], ours["private"], outside["events"]) == ("127.0.0.1", True, ["failed"])
    assert (notify["name"], notify["kind"], notify["to"]) == ("notify-1", "notify", "json")


def test_deliveries_and_sending_again(run: Run) -> None:
    store = Store(Settings.load().database_url).unscoped()
    store.webhooks.register_endpoints({"ours": ("webhook", ("cancelled",))})
    store.requests.add("ftjob-1", {"model": "m"}, backend=None, tuned_model="ft:m", key=None)
    store.requests.cancel("ftjob-1")
    (row,) = store.webhooks.claim_due_deliveries("me", ["ours"], limit=1)
    store.webhooks.record_attempt(row.id, "me", state="dead", status=410, error="answered 410")
    store.close()
    (shown,) = run("webhook", "deliveries", "--job", "ftjob-1", "--state", "dead", "--json")[1]["data"]
    assert (shown["id"], shown["state"], shown["last_status"], shown["attempts"]) == (row.id, "dead", 410, 1)
    code, out, _ = run("webhook", "deliveries")
    assert code == 0 and f"{row.id}  dead, 1 attempt" in out and max(map(len, out.splitlines())) <= 80
    (again,) = run("webhook", "resend", row.id, "--json")[1]["data"]
    assert (again["state"], again["attempts"]) == ("waiting", 0)
    assert run("webhook", "deliveries", "--state", "dead")[1] == ""
    assert run("webhook", "resend", "wh_none")[0] == 2 and run("webhook", "deliveries", "--state", "x")[0] == 2
