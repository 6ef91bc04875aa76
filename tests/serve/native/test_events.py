"""Streams of a job's events: all of them in order, live, behind `Last-Event-ID`, to many watchers at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.gateways import OLD_MODEL, Running, chats, ended, open_job
from tests.support.streaming import Block, blocks
from tests.support.waiting import until
from tuneport.types import JobEvent, now

pytest.importorskip("openai", reason="the client of these tests: pip install 'tuneport[openai]'")


@pytest.fixture
def running(serve: Callable[..., Running], monkeypatch: pytest.MonkeyPatch) -> Running:
    monkeypatch.setenv("TUNEPORT_BACKEND", "fake")
    return serve(f"{OLD_MODEL}=stand-in")


@pytest.fixture
def still(serve: Callable[..., Running], monkeypatch: pytest.MonkeyPatch) -> Running:
    """A gateway that takes up no job by itself."""
    monkeypatch.setenv("TUNEPORT_BACKEND", "fake")
    return serve(f"{OLD_MODEL}=stand-in", background=False)


def requested(running: Running, tmp_path: Path) -> str:
    client = running.client()
    file = client.files.create(file=chats(tmp_path / "c.jsonl"), purpose="fine-tune")
    return str(client.fine_tuning.jobs.create(model=OLD_MODEL, training_file=file.id).id)


def own(running: Running, path: str) -> str:
    return running.url.removesuffix("/v1") + f"/tuneport/v1/{path}"


@contextmanager
def stream(running: Running, path: str, **headers: str) -> Iterator[Iterator[Block]]:
    asked = {"Accept": "text/event-stream", **headers}
    with httpx.stream("GET", own(running, path), headers=asked, timeout=60) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield blocks(answer.iter_lines())


def told(*messages: str) -> list[JobEvent]:
    return [JobEvent(id=message, created_at=now(), message=message) for message in messages]


def test_from_the_request_to_the_end(running: Running, tmp_path: Path) -> None:
    job_id = requested(running, tmp_path)
    with stream(running, f"jobs/{job_id}/events") as streamed:
        found = list(streamed)
    assert found[-1].event == "end" and found[-1].data == {"id": job_id, "status": "succeeded", "complete": True}
    events = [row for row in found if row.event == "message"]
    assert [int(row.id or 0) for row in events] == list(range(1, len(events) + 1)) and len(events) > 5
    pages = httpx.get(own(running, f"jobs/{job_id}/events"), params={"limit": 1000}).json()
    assert pages == {"object": "list", "job": job_id, "data": [row.data for row in events], "has_more": False}
    jobs = [row.data for row in found if row.event == "job"]
    assert all(row["id"] == job_id and row["dataset"]["path"].startswith("file-") for row in jobs)
    statuses = [row["status"] for row in jobs]
    assert statuses[-1] == "succeeded" and len(set(statuses)) > 1
    assert all(row.id is None for row in found if row.event == "job"), "only events move a client on"

    with stream(running, f"jobs/{job_id}/events", **{"Last-Event-ID": "3"}) as streamed:
        rest = list(streamed)
    assert [row.id for row in rest if row.event == "message"] == [str(row.id) for row in events[3:]]
    last = f"{len(events)}.end"
    assert rest[-1].id == found[-1].id == last
    again = httpx.get(
        own(running, f"jobs/{job_id}/events?last_event_id={last}"), headers={"Accept": "text/event-stream"}
    )
    assert again.status_code == 204, "a browser stops asking"
    running.gateway.unscoped.store.events.add(job_id, told("later"), origin="tuneport")
    with stream(running, f"jobs/{job_id}/events", **{"Last-Event-ID": last}) as streamed:
        assert [row.data["message"] for row in streamed if row.event == "message"] == ["later"]


def test_pages_and_what_is_refused(still: Running, tmp_path: Path) -> None:
    job_id = requested(still, tmp_path)
    assert httpx.get(own(still, f"jobs/{job_id}/events")).json()["data"] == []
    still.client().fine_tuning.jobs.cancel(job_id)
    with stream(still, f"jobs/{job_id}/events") as streamed:
        assert [(row.event, row.data["status"]) for row in streamed] == [("job", "cancelled"), ("end", "cancelled")]
    for path, status in (
        ("jobs/ftjob-none/events", 404),
        (f"jobs/{job_id}/events?last_event_id=7", 400),
        (f"jobs/{job_id}/events?last_event_id=-1", 400),
        (f"jobs/{job_id}/events?last_event_id=seven", 400),
        (f"jobs/{job_id}/events?after=-1", 400),
        (f"jobs/{job_id}/events?limit=0", 400),
        ("events?last_event_id=yesterday", 400),
    ):
        answer = httpx.get(own(still, path), headers={"Accept": "text/event-stream"})
        assert answer.status_code == status and answer.json()["error"]["message"], path


def test_many_events_at_once_come_in_pages(still: Running) -> None:
    job_id = open_job(still.gateway.unscoped.store)
    still.gateway.unscoped.store.events.add(job_id, told(*(f"number {at}" for at in range(2500))), origin="tuneport")
    with stream(still, f"jobs/{job_id}/events") as streamed:
        events = (row for row in streamed if row.event == "message")
        assert [int(next(events).id or 0) for _ in range(2500)] == list(range(1, 2501))
        still.gateway.unscoped.store.events.add(job_id, told(*(f"then {at}" for at in range(1500))), origin="tuneport")
        assert [int(next(events).id or 0) for _ in range(1500)] == list(range(2501, 4001))
    page = httpx.get(own(still, f"jobs/{job_id}/events"), params={"limit": 1000, "after": 1200}).json()
    assert page["has_more"] and [row["position"] for row in page["data"]] == list(range(1201, 2201))


def test_two_hundred_watchers_hold_no_thread_and_delay_nobody(still: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0
    look_at = still.gateway.unscoped.store.snapshots.read_snapshots

    def counted(job_ids: Any) -> Any:
        nonlocal looks
        looks += 1
        return look_at(job_ids)

    held = open_job(still.gateway.unscoped.store)
    address = own(still, f"jobs/{held}/events")
    with ExitStack() as stack:
        client = stack.enter_context(httpx.Client(limits=httpx.Limits(max_connections=None), timeout=60))
        threads = threading.active_count()
        answers = [
            stack.enter_context(client.stream("GET", address, headers={"Accept": "text/event-stream"}))
            for _ in range(200)
        ]
        streams = [blocks(answer.iter_lines()) for answer in answers]
        assert {next(row).event for row in streams} == {"job"}
        assert still.gateway.streams.watcher_count == 200
        monkeypatch.setattr(still.gateway.unscoped.store.snapshots, "read_snapshots", counted)
        assert still.client().models.list().data
        still.gateway.unscoped.store.events.add(held, told("one", "two"), origin="tuneport")
        for row in streams:
            assert [(found.id, found.data["message"]) for found in (next(row), next(row))] == [
                ("1", "one"),
                ("2", "two"),
            ]
        assert threading.active_count() < threads + 60, "no thread for each"
        assert looks < 100, "one reader for all"
    until(lambda: still.gateway.streams.watcher_count == 0)


def test_all_jobs_as_they_change(running: Running, tmp_path: Path) -> None:
    held = open_job(running.gateway.unscoped.store)
    with stream(running, "events") as streamed:
        assert next(streamed).data["id"] == held
        job_id = requested(running, tmp_path)
        assert ended(running.client(), job_id).status == "succeeded"  # whose questions have it looked at sooner
        statuses = []
        while statuses[-1:] != ["succeeded"]:
            row = next(streamed)
            assert row.event == "job"
            if row.data["id"] == job_id:
                statuses.append(row.data["status"])
        assert len(set(statuses)) > 1
        seen = row.id
    other = requested(running, tmp_path)
    assert ended(running.client(), other).status == "succeeded"
    with stream(running, "events", **{"Last-Event-ID": str(seen)}) as streamed:
        found = {}
        while {other, held} - found.keys():
            row = next(streamed)
            found[row.data["id"]] = row.data["status"]
    assert found[other] == "succeeded", "what ended while nobody watched is told"
