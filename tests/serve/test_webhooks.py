"""The gateway tells its receivers, and a client that is told finds the job as it was told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.gateways import OLD_MODEL, SOON, Running, chats, ended
from tests.support.waiting import until
from tests.support.webhook_receiver import Receiver

openai = pytest.importorskip("openai", reason="the client of these tests: pip install 'tuneport[openai]'")


@pytest.fixture
def client(
    serve: Callable[..., Running],
    receiver: Receiver,
    webhook_secret: str,
    monkeypatch: pytest.MonkeyPatch,
) -> openai.OpenAI:
    monkeypatch.setenv("TUNEPORT_BACKEND", "fake")
    monkeypatch.setenv("TUNEPORT_WEBHOOK_URL", receiver.url)
    monkeypatch.setenv("TUNEPORT_WEBHOOK_SECRET", webhook_secret)
    monkeypatch.setenv("TUNEPORT_WEBHOOK_ALLOW_PRIVATE", "1")
    timing = replace(SOON, send_webhooks=0.1)
    return serve(f"{OLD_MODEL}=stand-in", timing=timing).client(webhook_secret=webhook_secret)


def test_client_that_is_told_finds_the_job_ended_with_its_results(
    client: openai.OpenAI,
    receiver: Receiver,
    tmp_path: Path,
) -> None:
    file = client.files.create(file=chats(tmp_path / "c.jsonl"), purpose="fine-tune")
    job = client.fine_tuning.jobs.create(model=OLD_MODEL, training_file=file.id)

    def told() -> bool:
        client.fine_tuning.jobs.retrieve(job.id)  # which has the fake provider go on
        return bool(receiver.received)

    until(told)
    event = client.webhooks.unwrap(receiver.received[0].body, receiver.received[0].headers)
    assert (event.type, event.data.id) == ("fine_tuning.job.succeeded", job.id)
    found = client.fine_tuning.jobs.retrieve(event.data.id)
    assert found.status == "succeeded" and found.result_files and len(receiver.received) == 1


def test_what_ends_before_the_sender_has_looked_is_told(
    receiver: Receiver,
    webhook_secret: str,
    tmp_path: Path,
    serve: Callable[..., Running],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TUNEPORT_BACKEND", "fake")
    monkeypatch.setenv("TUNEPORT_WEBHOOK_URL", receiver.url)
    monkeypatch.setenv("TUNEPORT_WEBHOOK_SECRET", webhook_secret)
    monkeypatch.setenv("TUNEPORT_WEBHOOK_ALLOW_PRIVATE", "1")
    running = serve(f"{OLD_MODEL}=stand-in", timing=replace(SOON, send_webhooks=3600.0))
    (tmp_path / "bad.jsonl").write_text('{"messages": []}\n' * 12)
    file = running.client().files.create(file=tmp_path / "bad.jsonl", purpose="fine-tune")
    job = running.client().fine_tuning.jobs.create(model=OLD_MODEL, training_file=file.id)
    assert ended(running.client(), job.id).status == "failed"
    (delivery,) = running.gateway.unscoped.store.webhooks.list_deliveries()
    assert delivery.job_id == job.id


def test_data_that_is_refused_before_there_is_a_job(
    client: openai.OpenAI,
    receiver: Receiver,
    tmp_path: Path,
) -> None:
    (tmp_path / "bad.jsonl").write_text('{"messages": []}\n' * 12)
    file = client.files.create(file=tmp_path / "bad.jsonl", purpose="fine-tune")
    job = client.fine_tuning.jobs.create(model=OLD_MODEL, training_file=file.id)
    until(lambda: receiver.received)
    event = client.webhooks.unwrap(receiver.received[0].body, receiver.received[0].headers)
    assert (event.type, event.data.id) == ("fine_tuning.job.failed", job.id)
