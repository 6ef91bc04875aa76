"""From a job's end to whoever waits for it, over the store that all processes share."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

import tuneport
from tests.support.webhook_receiver import Receiver
from tuneport.errors import ConfigError
from tuneport.lifecycle.schema.tables import DeliveryRow, EndpointRow
from tuneport.lifecycle.service import JobService
from tuneport.lifecycle.store.requests import JobRequestClaim
from tuneport.lifecycle.webhooks import sender as sending
from tuneport.lifecycle.webhooks.endpoints import parse_webhook_endpoints
from tuneport.lifecycle.webhooks.sender import WAITS, WebhookSender
from tuneport.settings import Settings
from tuneport.testing.fake.backend import FakeBackend
from tuneport.testing.fake.jobs import ArmedFault
from tuneport.types import JobStatus, TuneSpec, now

Configured = Callable[..., Settings]


def ended(workspace: JobService, job_id: str) -> JobStatus:
    row = workspace.worker.drive(job_id, until=lambda row: False, poll_seconds=0.001)
    return row.job_status


def due_now(workspace: JobService) -> None:
    with workspace.store.database.transaction() as session:
        session.execute(update(DeliveryRow).where(DeliveryRow.due_at.is_not(None)).values(due_at=now()))


def test_end_seen_by_a_process_without_webhooks_is_told_by_the_one_that_has_them(
    workspace: JobService, start: Callable[..., str], receiver: Receiver, webhook_secret: str, configured: Configured
) -> None:
    openai = pytest.importorskip("openai", reason="its check of the signature: pip install 'tuneport[openai]'")
    sender = WebhookSender(workspace.store, configured())
    assert sender.send_due() == 0  # and is known from now on
    job_id = start()
    assert parse_webhook_endpoints(workspace.settings) == {}
    assert ended(workspace, job_id) is JobStatus.SUCCEEDED
    assert sender.send_due() == 1
    (received,) = receiver.received
    event = openai.OpenAI(api_key="any").webhooks.unwrap(received.body, received.headers, secret=webhook_secret)
    assert (event.type, event.data.id) == ("fine_tuning.job.succeeded", job_id)
    (row,) = workspace.store.webhooks.list_deliveries()
    assert (row.id, row.event_id) == (received.headers["webhook-id"], event.id)
    assert (row.state, row.attempts, row.due_at, row.last_status) == ("delivered", 1, None, 200)
    assert sender.send_due() == 0


def test_each_end_is_written_once_whatever_is_written_afterwards(
    workspace: JobService, start: Callable[..., str], fake: FakeBackend, configured: Configured
) -> None:
    WebhookSender(workspace.store, configured()).send_due()
    failing, cancelled, deleted = start(), start(), start()
    fake.arm(ArmedFault(on="submit", kind="fail_job"))
    assert ended(workspace, failing) is JobStatus.FAILED
    workspace.cancel(cancelled)
    assert ended(workspace, cancelled) is JobStatus.CANCELLED
    assert ended(workspace, deleted) is JobStatus.SUCCEEDED
    workspace.delete(deleted)
    workspace.worker.collect_events(failing)
    told = {(row.job_id, row.type.rpartition(".")[2]) for row in workspace.store.webhooks.list_deliveries()}
    assert told == {(failing, "failed"), (cancelled, "cancelled"), (deleted, "succeeded")}
    assert len(workspace.store.webhooks.list_deliveries()) == 3


def test_job_that_ends_again_is_told_of_again(
    workspace: JobService, start: Callable[..., str], fake: FakeBackend, configured: Configured
) -> None:
    WebhookSender(workspace.store, configured()).send_due()
    job_id = start()
    fake.arm(ArmedFault(on="submit", kind="fail_job"))
    ended(workspace, job_id)
    store = workspace.store
    owner = "somebody"
    row = store.leases.claim(job_id, owner)
    assert row is not None
    before = {name: getattr(row, name) for name in ("status", "finished_at")}
    store.leases.reopen(job_id, owner)
    store.leases.write(job_id, owner, **before)  # it could not go on: that was no new end
    assert len(store.webhooks.list_deliveries()) == 1
    store.leases.reopen(job_id, owner)
    store.leases.write(job_id, owner, status=JobStatus.SUCCEEDED.value, finished_at=now())
    assert [row.type for row in store.webhooks.list_deliveries()] == [
        "fine_tuning.job.succeeded",
        "fine_tuning.job.failed",
    ]


def test_many_ends_at_once_by_the_poller(
    workspace: JobService, start: Callable[..., str], configured: Configured, receiver: Receiver
) -> None:
    sender = WebhookSender(workspace.store, configured())
    sender.send_due()
    jobs = {start() for _ in range(3)}
    ends = {"status": "cancelled", "finished_at": now(), "due_at": None, "state": None}
    assert set(workspace.store.schedule.record_many({job_id: ends for job_id in jobs})) == jobs
    assert sender.send_due() == 3
    assert {json.loads(received.body)["data"]["id"] for received in receiver.received} == jobs


def test_request_that_never_was_a_job(workspace: JobService, configured: Configured, receiver: Receiver) -> None:
    sender = WebhookSender(workspace.store, configured())
    sender.send_due()
    store = workspace.store
    for job_id in ("ftjob-cancelled", "ftjob-refused"):
        store.requests.add(job_id, {"model": "m"}, backend=None, tuned_model=f"ft:{job_id}", key=None)
    assert store.requests.cancel("ftjob-cancelled") and not store.requests.cancel("ftjob-cancelled")
    owner = "somebody"
    taken = store.requests.claim_oldest(owner)
    assert taken is not None and store.requests.refuse(taken.id, owner, {"code": "bad", "message": "bad data"})
    assert sender.send_due() == 2
    told = {(e["data"]["id"], e["type"]) for e in (json.loads(r.body) for r in receiver.received)}
    assert told == {("ftjob-cancelled", "fine_tuning.job.cancelled"), ("ftjob-refused", "fine_tuning.job.failed")}


def test_success_is_told_when_the_results_are_there(
    workspace: JobService, dataset: Path, configured: Configured, receiver: Receiver
) -> None:
    """A client that is told asks for the job at once, which is shown as running until then."""
    sender = WebhookSender(workspace.store, configured())
    sender.send_due()
    store = workspace.store
    store.requests.add("ftjob-1", {"model": "m"}, backend="fake", tuned_model="ft:m", key=None)
    request = store.requests.claim_oldest("me")
    assert request is not None
    spec = TuneSpec(model="base", dataset=dataset)
    workspace.submit(spec, backend="fake", claim=JobRequestClaim("ftjob-1", "me", request.created_at))
    assert ended(workspace, "ftjob-1") is JobStatus.SUCCEEDED
    assert sender.send_due() == 0
    store.requests.mark_results_settled("ftjob-1", None)
    assert sender.send_due() == 1


@pytest.mark.parametrize("status", [429, 500, 404, 302])
def test_tried_again_later_with_the_same_id_and_the_same_body(
    workspace: JobService, start: Callable[..., str], receiver: Receiver, configured: Configured, status: int
) -> None:
    told: list[tuple[str, str]] = []
    sender = WebhookSender(
        workspace.store, configured(), rng=lambda: 0.5, on_attempt=lambda *attempt: told.append(attempt)
    )
    sender.send_due()
    ended(workspace, start())
    receiver.statuses = [status, status]
    for attempt in (1, 2):
        before = now()
        assert sender.send_due() == 1
        (row,) = workspace.store.webhooks.list_deliveries()
        assert (row.state, row.attempts, row.last_status) == ("waiting", attempt, status)
        assert row.due_at is not None and 0 <= (row.due_at - before).total_seconds() - WAITS[attempt - 1] < 2
        assert sender.send_due() == 0  # not before its time
        due_now(workspace)
    assert sender.send_due() == 1
    assert len({(r.headers["webhook-id"], r.body) for r in receiver.received}) == 1 and len(receiver.received) == 3
    assert [outcome for _, outcome in told] == ["retried", "retried", "delivered"] and {*dict(told)} == {
        *sender.webhooks
    }
    assert workspace.store.webhooks.list_deliveries()[0].state == "delivered"


def test_whoever_is_gone_is_told_nothing_more_and_it_can_be_sent_again(
    workspace: JobService, start: Callable[..., str], receiver: Receiver, configured: Configured
) -> None:
    sender = WebhookSender(workspace.store, configured())
    sender.send_due()
    ended(workspace, start())
    receiver.statuses = [410]
    assert sender.send_due() == 1
    (row,) = workspace.store.webhooks.list_deliveries(state="dead")
    assert (row.last_status, row.last_error, row.due_at) == (410, "answered 410", None)
    assert workspace.store.webhooks.send_again(row.id).id == row.id
    assert sender.send_due() == 1
    assert [r.headers["webhook-id"] for r in receiver.received] == [row.id, row.id]
    assert workspace.store.webhooks.list_deliveries()[0].state == "delivered"
    with pytest.raises(ConfigError, match="no delivery 'wh_x'"):
        workspace.store.webhooks.send_again("wh_x")


def test_given_up_after_three_days(
    workspace: JobService, start: Callable[..., str], receiver: Receiver, configured: Configured
) -> None:
    assert 71 * 3600 < sum(WAITS) * 0.9 + 0.1 * sum(WAITS) < 72 * 3600
    sender = WebhookSender(workspace.store, configured())
    sender.send_due()
    ended(workspace, start())
    receiver.statuses = [500] * (len(WAITS) + 1)
    attempts = 0
    while workspace.store.webhooks.list_deliveries(state="waiting"):
        attempts += sender.send_due()
        due_now(workspace)
    assert attempts == len(WAITS) + 1 == len(receiver.received)
    assert workspace.store.webhooks.list_deliveries()[0].state == "dead"


def test_endpoint_that_no_gateway_has_any_more(
    workspace: JobService, start: Callable[..., str], configured: Configured, receiver: Receiver
) -> None:
    WebhookSender(workspace.store, configured()).send_due()
    ended(workspace, start())
    store = workspace.store
    other = WebhookSender(store, workspace.settings)
    assert other.send_due() == 0
    with store.database.transaction() as session:
        session.execute(update(DeliveryRow).values(began_at=now() - timedelta(days=3.1)))
        session.execute(update(EndpointRow).values(seen_at=now() - timedelta(days=31)))
    assert store.webhooks.give_up_deliveries(days=3) == 1
    assert store.webhooks.list_deliveries()[0].last_error == "no gateway had this endpoint"
    ended(workspace, start())
    assert len(store.webhooks.list_deliveries()) == 1 and receiver.received == []


def test_two_gateways_send_each_once(
    workspace: JobService, start: Callable[..., str], receiver: Receiver, configured: Configured
) -> None:
    settings = configured()
    one, other = WebhookSender(workspace.store, settings), WebhookSender(workspace.store, settings)
    one.send_due()
    ended(workspace, start())
    held = workspace.store.webhooks.claim_due_deliveries("one", ["environment"], limit=10)
    assert len(held) == 1 and other.send_due() == 0
    assert workspace.store.webhooks.record_attempt(held[0].id, "one", state="delivered", status=200, error=None)
    assert not workspace.store.webhooks.record_attempt(held[0].id, "other", state="dead", status=1, error=None)
    assert receiver.received == []


def test_only_the_events_that_were_asked_for(
    workspace: JobService,
    start: Callable[..., str],
    isolated: Path,
    webhook_secret: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OURS_SECRET", webhook_secret)
    text = '[webhooks.ours]\nurl = "https://h.example/x"\nsecret_env = "OURS_SECRET"\nevents = ["failed"]\n'
    (isolated / "tuneport.toml").write_text(text)
    sender = WebhookSender(workspace.store, Settings.load())
    assert list(sender.webhooks) == ["ours"]
    sender.send_due()
    ended(workspace, start())
    assert workspace.store.webhooks.list_deliveries() == []
    assert "h.example" not in repr(sender.webhooks) and webhook_secret not in repr(sender.webhooks)


KILLED = """
import os, signal, sys
from tuneport.lifecycle.store.store import Store
from tuneport.lifecycle.webhooks.sender import WebhookSender
from tuneport.settings import Settings
settings = Settings.load()
store = Store(settings.database_url).unscoped()
store.webhooks.record_attempt = lambda *a, **o: os.kill(os.getpid(), signal.SIGKILL)
WebhookSender(store, settings).send_due()
"""


def test_killed_between_the_answer_and_its_record_sends_again_with_the_same_id(
    workspace: JobService, start: Callable[..., str], receiver: Receiver, configured: Configured
) -> None:
    sender = WebhookSender(workspace.store, configured())
    sender.send_due()
    ended(workspace, start())
    environment = os.environ | {"PYTHONPATH": str(Path(tuneport.__file__).parent.parent)}
    done = subprocess.run([sys.executable, "-c", KILLED], env=environment, capture_output=True, timeout=60)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(receiver.received) == 1 and workspace.store.webhooks.list_deliveries()[0].state == "waiting"
    assert sender.send_due() == 0  # it is still the dead one's
    sender._cleaned = float("-inf")
    assert sender.send_due() == 1
    assert len({r.headers["webhook-id"] for r in receiver.received}) == 1 and len(receiver.received) == 2


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({"TUNEPORT_WEBHOOK_URL": "https://me:geheim@h.example/"}, "needs its secret in TUNEPORT_WEBHOOK_SECRET"),
        ({"TUNEPORT_WEBHOOK_URL": "http://h.example/geheim"}, "is http, which is not encrypted"),
        ({"TUNEPORT_WEBHOOK_URL": "ftp://geheim"}, "write https://HOST/PATH"),
        ({"TUNEPORT_WEBHOOK_URL": "https://h:geheim/"}, "write https://HOST/PATH"),
        ({"TUNEPORT_WEBHOOK_URL": "https://h/", "TUNEPORT_WEBHOOK_ALLOW_PRIVATE": "geheim"}, "is 1 or 0"),
        ({"TUNEPORT_WEBHOOK_URL": "https://h/", "TUNEPORT_WEBHOOK_SECRET": "geheim"}, "is no secret for webhooks"),
    ],
)
def test_wrong_configuration_is_told_in_one_line_without_the_secret(
    environment: dict[str, str], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=told) as caught:
        parse_webhook_endpoints(Settings.load())
    assert "geheim" not in str(caught.value)


def test_trouble_of_one_delivery_stops_no_other(
    workspace: JobService,
    start: Callable[..., str],
    receiver: Receiver,
    configured: Configured,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sender = WebhookSender(workspace.store, configured())
    sender.send_due()
    first, second = start(), start()
    ended(workspace, first), ended(workspace, second)
    real = sending.webhook_event_body

    def broken(event_id: str, type_: str, job_id: str, created_at: object) -> bytes:
        if job_id == first:
            raise RuntimeError("a bug")
        return real(event_id, type_, job_id, created_at)  # type: ignore[arg-type]

    monkeypatch.setattr(sending, "webhook_event_body", broken)
    assert sender.send_due() == 2
    told = {row.job_id: (row.state, row.last_error) for row in workspace.store.webhooks.list_deliveries()}
    assert told[second] == ("delivered", None)
    assert told[first] == ("waiting", "a bug in tuneport (RuntimeError); its log has the traceback")
