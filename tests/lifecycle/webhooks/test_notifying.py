"""By the real `apprise` to a real SMTP server and a JSON receiver, both on loopback."""

from __future__ import annotations

import email
import json
import re
import socket
import sys
from collections.abc import Callable, Iterator
from email import policy
from pathlib import Path
from typing import Any

import pytest

from tests.lifecycle.webhooks.test_sender import due_now, ended
from tests.support.webhook_receiver import Receiver
from tuneport.errors import ConfigError
from tuneport.installation import install_extra
from tuneport.lifecycle.service import JobService
from tuneport.lifecycle.webhooks.sender import WebhookSender
from tuneport.settings import Settings
from tuneport.testing.fake.backend import FakeBackend
from tuneport.testing.fake.jobs import ArmedFault

pytest.importorskip("apprise", reason="notifications are of an extra: pip install 'tuneport[serve]'")


class Mailbox:
    def __init__(self) -> None:
        self.refuses = 0
        self.mails: list[Any] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        if self.refuses:
            self.refuses -= 1
            return "451 try again"
        self.mails.append(email.message_from_bytes(envelope.content, policy=policy.default))
        return "250 OK"


@pytest.fixture
def mailbox() -> Iterator[tuple[Mailbox, int]]:
    controller = pytest.importorskip("aiosmtpd.controller", reason="the SMTP server of these tests")
    box = Mailbox()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    running = controller.Controller(box, hostname="127.0.0.1", port=port)
    running.start()
    yield box, port
    running.stop()


def sender_with(workspace: JobService, monkeypatch: pytest.MonkeyPatch, *urls: str) -> WebhookSender:
    monkeypatch.setenv("TUNEPORT_NOTIFY", "  ".join(urls))
    sender = WebhookSender(workspace.store, Settings.load())
    sender.send_due()
    return sender


def test_mail_says_what_whoever_asked_wants_to_know_and_comes_once(
    workspace: JobService,
    start: Callable[..., str],
    mailbox: tuple[Mailbox, int],
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    box, port = mailbox
    sender = sender_with(
        workspace, monkeypatch, f"mailto://127.0.0.1:{port}/?to=me@example.org&from=t@example.org&mode=insecure",
        f"json://127.0.0.1:{receiver.port}/told",
    )  # fmt: skip
    job_id = start()
    ended(workspace, job_id)
    box.refuses = 1
    assert sender.send_due() == 2
    assert {(row.endpoint, row.state) for row in workspace.store.webhooks.list_deliveries()} == {
        ("notify-1", "waiting"),
        ("notify-2", "delivered"),
    }
    due_now(workspace)
    assert sender.send_due() == 1 and sender.send_due() == 0
    (mail,) = box.mails
    assert mail["to"] == "me@example.org" and mail["subject"] == f"tuneport: {job_id} succeeded"
    text = mail.get_body(("plain",)).get_content()
    lines = dict(line.split(": ", 1) for line in text.strip().splitlines())
    assert (lines["Job"], lines["Model"], lines["Backend"], lines["End"]) == (job_id, "base", "fake", "succeeded")
    row = workspace.store.jobs.get(job_id)
    assert lines["Tuned model"] == row.tuned_model
    assert lines["Cost"].startswith(("$", "unavailable, because ")) and "since it was asked for" in lines["Duration"]
    assert lines["Next"] == f'tuneport eval {job_id} --data FILE; tuneport chat {job_id} "QUESTION"'
    (told,) = receiver.received
    assert json.loads(told.body)["title"] == f"tuneport: {job_id} succeeded"


def test_failure_tells_the_reason_and_where_to_look(
    workspace: JobService,
    start: Callable[..., str],
    fake: FakeBackend,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sender = sender_with(workspace, monkeypatch, f"json://127.0.0.1:{receiver.port}/")
    fake.arm(ArmedFault(on="submit", kind="fail_job"))
    job_id = start()
    ended(workspace, job_id)
    workspace.store.requests.add("ftjob-1", {"model": "old"}, backend=None, tuned_model="ft:old", key=None)
    workspace.store.requests.cancel("ftjob-1")
    assert sender.send_due() == 2
    failed, cancelled = (json.loads(received.body)["message"] for received in receiver.received)
    if failed.startswith("Job: ftjob-1"):
        failed, cancelled = cancelled, failed
    reason = str((workspace.store.jobs.get(job_id).error or {})["message"])
    assert f"Reason: {reason}" in failed and f"Next: tuneport logs {job_id}" in failed
    assert cancelled.splitlines()[:3] == ["Job: ftjob-1", "Model: old", "End: cancelled"]


def test_address_that_is_none_is_refused_at_the_start_and_not_repeated(
    workspace: JobService, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="address 2 in TUNEPORT_NOTIFY is not one that apprise supports") as caught:
        sender_with(workspace, monkeypatch, "json://localhost/", "nonsense://geheim")
    assert "geheim" not in str(caught.value)


def test_missing_library_is_one_line(workspace: JobService, monkeypatch: pytest.MonkeyPatch, isolated: Path) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(ConfigError, match="needs the apprise package: " + re.escape(install_extra("serve"))):
        sender_with(workspace, monkeypatch, "json://localhost/")
