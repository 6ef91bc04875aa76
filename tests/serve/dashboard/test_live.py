"""Pages that change while they are looked at: the stream by itself, as a browser would read it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.serve.dashboard.conftest import HOSTILE, Dashboard
from tests.support.gateways import Running, serving
from tests.support.streaming import Block, blocks
from tuneport.serve import Gateway
from tuneport.serve.dashboard.live import DashboardReaderMark
from tuneport.serve.http.access import COOKIE
from tuneport.serve.timing import GatewayTiming
from tuneport.settings import Settings


@pytest.fixture
def running(settings: Settings) -> Iterator[Running]:
    """Nothing moves here but by the test's hand."""
    timing = GatewayTiming(page=0.05, job_page=0.3, jobs_page=0.3)
    with serving(Gateway(settings, timing=timing), background=False) as found:
        yield found


def news(running: Running, path: str, *, mark: str | None = None, **headers: str) -> Iterator[Block]:
    asked = {"Accept": "text/event-stream"} | ({} if mark is None else {"Last-Event-ID": mark}) | headers
    url = running.url.removesuffix("/v1") + path
    with httpx.stream("GET", url, headers=asked, timeout=20) as answer:
        assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/event-stream")
        yield from blocks(answer.iter_lines())


def told(found: Block) -> list[int]:
    return [position for position, _ in found.data["events"]]


def test_a_job_is_told_part_by_part_and_nothing_twice(running: Running) -> None:
    pages = Dashboard(running.gateway)
    job = pages.job(4, suffix=HOSTILE)
    worker, store = running.gateway.unscoped.worker, running.gateway.unscoped.store
    stream = news(running, f"/jobs/{job}")
    first = next(stream)
    everything = {"state", "actions", "told", "figures", "curves", "events", "spec", "files"}
    assert first.data["parts"].keys() == everything and first.data["events"] == []
    assert "<script>alert" not in str(first.data)
    worker.step(job)
    fresh = [next(stream)]
    while "figures" not in fresh[-1].data["parts"]:  # the event was written first, and is told first
        fresh.append(next(stream))
    parts = {name for found in fresh for name in found.data["parts"]}
    assert not {"state", "actions", "files", "events"} & parts
    second = next(found for found in fresh if found.data["events"])
    assert "data-position" in second.data["events"][0][1]
    while not store.jobs.get(job).job_status.terminal:
        worker.step(job)
    rest = list(stream)
    assert rest[-1].event == "end" and "succeeded" in "".join(
        found.data["parts"].get("state", "") for found in rest[:-1]
    )
    seen = [position for found in (*fresh, *rest[:-1]) for position in told(found)]
    heads = [position for position, _ in store.events.list_job_events(job)]
    assert seen == heads[heads.index(seen[0]) :] and first.id == f"{seen[0] - 1}.{(first.id or '').partition('.')[2]}"
    # Who comes back is told what he has missed, and who has missed nothing, nothing.
    assert [found.event for found in news(running, f"/jobs/{job}", mark=rest[-1].id)] == ["end"]
    (missed, end) = news(running, f"/jobs/{job}", mark=second.id)
    assert told(missed) == [position for position in heads if position > told(second)[-1]] and end.event == "end"
    assert "spec" not in missed.data["parts"] or missed.data["parts"]["spec"] != first.data["parts"]["spec"]
    (whole, _) = news(running, f"/jobs/{job}", mark="rubbish")
    assert "events" in whole.data["parts"]


def test_the_list_tells_of_single_rows_and_of_new_jobs(running: Running) -> None:
    pages = Dashboard(running.gateway)
    one, other = pages.job(3), pages.job(3)
    stream = news(running, "/")
    assert next(stream).data["parts"].keys() == {"month", "jobs"}
    running.gateway.unscoped.worker.step(one)
    running.gateway.streams.wake()
    assert next(stream).data["parts"].keys() == {f"row-{one}"}
    new = pages.job(0)
    running.gateway.streams.wake()
    parts = next(stream).data["parts"]
    assert new in parts["jobs"] and f"row-{other}" not in parts


def test_a_project_sees_its_own_and_a_session_that_ends_ends_the_stream(running: Running) -> None:
    store, pages = running.gateway.unscoped.store, Dashboard(running.gateway)
    ours, theirs = pages.job(3, project="ours"), pages.job(3, project="theirs")
    row, _ = store.tokens.add("ours", scope="read", project="ours")
    cookie = store.tokens.add_session(row.id)
    token, secret = store.tokens.add("theirs", scope="submit", project="theirs")
    seen: list[tuple[str, dict[str, str]]] = [
        (ours, {"Cookie": f"{COOKIE}={cookie}"}),
        (theirs, {"Authorization": f"Bearer {secret}"}),
    ]
    streams: list[Any] = []
    for job, headers in seen:
        streams.append(news(running, "/", **headers))
        parts = next(streams[-1]).data["parts"]["jobs"]
        assert [each for each in (ours, theirs) if each in parts] == [job]
    url = running.url.removesuffix("/v1")
    assert httpx.get(f"{url}/jobs/{theirs}", headers=seen[0][1] | {"Accept": "text/event-stream"}).status_code == 404
    page = httpx.get(f"{url}/jobs/{ours}", headers=seen[0][1]).text
    assert "Cancel" not in page and "New job" not in httpx.get(url, headers=seen[0][1]).text.split("<main")[1], (
        "he may read"
    )
    running.gateway.credentials.end_session(cookie)
    store.tokens.revoke(token.id)
    for stream in streams:
        running.gateway.streams.wake()
        assert list(stream)[-1].event == "gone"
    without = httpx.get(url, headers={"Accept": "text/event-stream"})
    assert without.status_code == 303 and without.headers["location"] == "/login"


def test_a_mark_is_read_back_and_rubbish_is_none() -> None:
    mark = DashboardReaderMark(57, frozenset({"0a1b2c3d", "ffffffff"}))
    assert DashboardReaderMark.parse(str(mark)) == mark and str(mark) == "57.0a1b2c3dffffffff"
    assert (
        DashboardReaderMark.parse(str(DashboardReaderMark()))
        == DashboardReaderMark()
        == DashboardReaderMark.parse("57")
        == DashboardReaderMark.parse("5.xyz")
        == DashboardReaderMark.parse("1" * 5000)
    )
