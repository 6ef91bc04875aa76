"""Live streams of jobs: stored events in order, then new ones, to any number of watchers with one reader.

The gateway keeps nothing for a watcher: a watcher says how far it is when it reconnects, here or at another gateway
on the same store. While there are watchers, the store is read twice a second, and at once after our own poller has
written.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from anyio import CapacityLimiter, to_thread
from fastapi.sse import format_sse_event

from tuneport.errors import TuneportError
from tuneport.lifecycle.store.snapshots import JobSnapshot
from tuneport.serve.documents.native_job import native_job_documents
from tuneport.serve.http.errors import Refusal
from tuneport.types import JobEvent, now

if TYPE_CHECKING:
    from tuneport.lifecycle.store.store import Store

HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
"""Headers of every stream, so that no proxy buffers it."""
LOOK_SECONDS = 0.5
KEEP_ALIVE_SECONDS = 15.0
"""Proxies close a connection that is silent for about a minute."""
RETRY_MILLISECONDS = 2000
MOST_STREAMS = 2000
"""The most open streams. Each holds a connection and a few kilobytes, but no thread."""
PAGE = 500
REMEMBERED = 1000
"""Newest events of a job that are kept in memory; a watcher that needs older ones reads them from the store."""
GIVE_UP_SECONDS = 120.0
"""How long after a job's end its stream waits for last events that the provider does not deliver."""
OVERLAP = timedelta(seconds=10)
"""Overlap of two reads: rows written just before a read may become visible only after it."""
KEPT_SECONDS = 60.0
"""How long an ended job is kept for slow watchers of all jobs."""

log = logging.getLogger(__name__)


def event_message(position: int, told: JobEvent) -> dict[str, Any]:
    """Return an event as JSON, as `tuneport logs --json` prints it."""
    return {"position": position} | told.model_dump(mode="json")


def encode_stream_json(data: Any) -> str:
    """Return JSON without line breaks, so that it is one line of a stream."""
    return json.dumps(data, ensure_ascii=False, default=str)


def job_event_stream_block(position: int, told: JobEvent) -> bytes:
    return format_sse_event(data_str=encode_stream_json(event_message(position, told)), id=str(position))


KEEP_ALIVE = b": keep-alive\n\n"


class WatchedFeed:
    """The base of what watchers wait for."""

    def __init__(self) -> None:
        self.watchers = 0
        self.known = False  # whether it was read yet
        self.turn = 0  # counts changes, so that a busy watcher notices what it missed
        self._changed = asyncio.Event()

    def notify_watchers(self) -> None:
        self.turn += 1
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def wait_for_change(self, seconds: float) -> bool:
        """Wait for a change. Returns False after so many seconds without one."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), seconds)
            return True
        return False


class JobEventFeed(WatchedFeed):
    """One watched job: its newest events as they are sent, and its newest document."""

    def __init__(self, job_id: str) -> None:
        super().__init__()
        self.job_id = job_id
        self.seen: JobSnapshot | None = None
        self.head = 0  # the position of the last event in `recent`, or before it
        self.recent: deque[tuple[int, bytes]] = deque(maxlen=REMEMBERED)
        self.document = b""
        self.ended_at: float | None = None  # since when it is seen as ended
        self.over: str | None = None  # "complete", or why events are missing

    @property
    def version(self) -> str | None:
        return None if self.seen is None else self.seen.version

    def events_after(self, position: int) -> list[tuple[int, bytes]] | None:
        """Return the events after a position. Returns None if they are older than what is kept."""
        if position >= self.head:
            return []
        if not self.recent or self.recent[0][0] > position + 1:
            return None
        return [found for found in self.recent if found[0] > position]


class JobEventStreams:
    """All streams of one gateway. Its methods belong to the server's event loop, except `wake` and `close`."""

    def __init__(self, store: Store, request_poll: Callable[[JobSnapshot], None]) -> None:
        """Create the streams. `store` is not limited to a project: a watcher's access to the job was checked before.
        `request_poll` asks for an early poll of a watched job."""
        self._store, self._request_poll = store, request_poll
        self._feeds: dict[str, JobEventFeed] = {}
        self._all: dict[str, _AllJobsFeed] = {}  # by project
        self._count = 0
        self._reader: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._woken: asyncio.Event | None = None
        self._threads: CapacityLimiter | None = None
        self.closing = False

    # --- from any thread, and from signal handlers ------------------------------------------------------------------

    def wake(self) -> None:
        """Read the store now, because something was written."""
        if (loop := self._loop) is not None:
            with suppress(RuntimeError):  # the loop is closed: there are no watchers left
                loop.call_soon_threadsafe(self._look_now)

    def report_job_change(self, job_id: str) -> None:
        """Report a change of the job that is not in the store, such as new curve points."""
        if (loop := self._loop) is not None:
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(self._touched, job_id)

    def close(self) -> None:
        """End all streams; the watchers reconnect to the next gateway and say how far they are."""
        self.closing = True
        self.wake()

    def _look_now(self) -> None:
        if self._woken is not None:
            self._woken.set()
        if self.closing:
            for watched in (*self._feeds.values(), *self._all.values()):
                watched.notify_watchers()

    def _touched(self, job_id: str) -> None:
        feeds = (self._feeds.get(job_id), *self._all.values())
        for feed in feeds:
            if feed is not None:
                feed.notify_watchers()

    # --- streams ----------------------------------------------------------------------------------------------------

    async def stream_job(self, job_id: str, after: int) -> AsyncGenerator[bytes]:
        """Yield events after `after`, the job whenever it has changed, and its end."""
        with self.watch_job(job_id) as feed:
            yield format_sse_event(retry=RETRY_MILLISECONDS)
            position, told = after, b""
            while not self.closing:
                page = feed.events_after(position)
                if page is None:
                    page = await self._older(job_id, position)
                for at, sent in page:
                    yield sent
                    position = at
                if position < feed.head:
                    continue
                if told != feed.document:
                    told = feed.document
                    yield told
                if feed.over is not None and position == feed.head:
                    yield self._end(feed, position)
                    return
                if not await feed.wait_for_change(KEEP_ALIVE_SECONDS):
                    yield KEEP_ALIVE

    @staticmethod
    def _end(feed: JobEventFeed, position: int) -> bytes:
        assert feed.seen is not None
        complete = feed.over == "complete"
        data: dict[str, Any] = {"id": feed.job_id, "status": feed.seen.status.value, "complete": complete}
        if not complete:
            data["note"] = feed.over
        return format_sse_event(
            data_str=encode_stream_json(data), event="end", id=f"{position}.end" if complete else str(position)
        )

    async def stream_all_jobs(self, project: str, since: datetime | None) -> AsyncGenerator[bytes]:
        """Yield every unfinished job, the jobs that ended since then, and each job whenever it has changed."""
        with self.watch_all_jobs(project) as feed:
            yield format_sse_event(retry=RETRY_MILLISECONDS)
            told: dict[str, DatedJobDocument] = {}
            if since is not None:
                told = await self._in_thread(feed.catch_up, since)
                for found in told.values():
                    yield found.to_stream_block()
            while not self.closing:
                fresh = {job_id: found for job_id, found in feed.documents.items() if told.get(job_id) != found}
                for found in fresh.values():
                    yield found.to_stream_block()
                told |= fresh
                if fresh:
                    continue  # more may have changed while that was sent
                told = {job_id: found for job_id, found in told.items() if job_id in feed.documents}
                if not await feed.wait_for_change(KEEP_ALIVE_SECONDS):
                    yield KEEP_ALIVE

    @contextmanager
    def watch_job(self, job_id: str) -> Iterator[JobEventFeed]:
        """Provide the job's feed while it is watched."""
        feed = self._feeds.setdefault(job_id, JobEventFeed(job_id))
        try:
            with self._watched(feed):
                yield feed
        finally:
            if feed.watchers == 0:
                self._feeds.pop(job_id, None)

    @contextmanager
    def watch_all_jobs(self, project: str) -> Iterator[_AllJobsFeed]:
        """Provide the feed of all jobs of the project while it is watched."""
        feed = self._all.setdefault(project, _AllJobsFeed(self._store.scoped(project)))
        with self._watched(feed):
            yield feed

    @contextmanager
    def _watched(self, feed: WatchedFeed) -> Iterator[None]:
        self._count += 1
        feed.watchers += 1
        if self._reader is None:
            self._loop, self._woken = asyncio.get_running_loop(), asyncio.Event()
            self._threads = CapacityLimiter(4)
            self._reader = asyncio.create_task(self._read())
        if not feed.known and self._woken is not None:
            self._woken.set()
        try:
            yield
        finally:
            self._count -= 1
            feed.watchers -= 1

    def refuse_too_many_watchers(self) -> None:
        if self._count >= MOST_STREAMS:
            raise Refusal(
                429, f"{MOST_STREAMS:,} streams are open; try again, or ask for pages of events.",
                code="rate_limit_exceeded", kind="rate_limit_error",
            )  # fmt: skip

    @property
    def watcher_count(self) -> int:
        """Return the number of watchers."""
        return self._count

    # --- the reader -------------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        """Read the store as long as there are watchers."""
        try:
            while self._count and not self.closing:
                assert self._woken is not None
                self._woken.clear()
                try:
                    await self._look()
                except TuneportError as error:
                    log.warning("streams: %s", error)  # they go on when the store answers again
                except Exception:
                    log.exception("streams: looking at the store failed; it is tried again")
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._woken.wait(), LOOK_SECONDS)
        finally:
            self._reader = None

    async def _look(self) -> None:
        if self._feeds:
            feeds = dict(self._feeds)
            for feed, seen, events, document in await self._in_thread(self._look_at, feeds):
                self._apply(feed, seen, events, document)
        for project, feed in list(self._all.items()):
            if feed.watchers == 0:
                del self._all[project]
            elif await self._in_thread(feed.read_changes):
                feed.notify_watchers()

    def _look_at(
        self, feeds: dict[str, JobEventFeed]
    ) -> list[tuple[JobEventFeed, JobSnapshot, list[tuple[int, bytes]], bytes]]:
        """Return the news of each feed; runs in a thread. A newly watched job gets only its last events."""
        store = self._store
        found = store.snapshots.read_snapshots(feeds)
        stale = [job_id for job_id, seen in found.items() if feeds[job_id].version != seen.version]
        documents = native_job_documents(store, stale)
        news = []
        for job_id, seen in found.items():
            feed = feeds[job_id]
            after = max(feed.head, seen.head - REMEMBERED) if feed.known else max(0, seen.head - REMEMBERED)
            events: list[tuple[int, bytes]] = []
            if seen.head > after:
                page = store.events.list_job_events(job_id, after=after, limit=REMEMBERED)
                events = [(at, job_event_stream_block(at, told)) for at, told in page if at <= seen.head]
            document = (
                format_sse_event(data_str=encode_stream_json(documents[job_id]), event="job")
                if job_id in documents
                else feed.document
            )
            self._request_poll(seen)
            news.append((feed, seen, events, document))
        return news

    def _apply(self, feed: JobEventFeed, seen: JobSnapshot, events: list[tuple[int, bytes]], document: bytes) -> None:
        before = (feed.known, feed.head, feed.document, feed.over)
        if events and feed.recent and events[0][0] != feed.recent[-1][0] + 1:
            feed.recent.clear()  # more came at once than is kept: watchers read what lies between for themselves
        feed.recent.extend(events)
        feed.head = max(feed.head, seen.head)
        feed.seen, feed.document, feed.known = seen, document, True
        if not seen.status.terminal:
            feed.ended_at, feed.over = None, None
        elif feed.ended_at is None:
            feed.ended_at = time.monotonic()  # the next read decides: the last events may still be written
        elif seen.events_complete and feed.head == before[1]:
            feed.over = "complete"
        elif time.monotonic() - feed.ended_at > GIVE_UP_SECONDS:
            feed.over = f"the provider has not given its last events yet; ask again after {feed.head}"
        if before != (feed.known, feed.head, feed.document, feed.over):
            feed.notify_watchers()

    async def _older(self, job_id: str, position: int) -> list[tuple[int, bytes]]:
        def page() -> list[tuple[int, bytes]]:
            found = self._store.events.list_job_events(job_id, after=position, limit=PAGE)
            return [(at, job_event_stream_block(at, told)) for at, told in found]

        found: list[tuple[int, bytes]] = await self._in_thread(page)
        return found

    async def _in_thread(self, function: Any, *arguments: Any) -> Any:
        return await to_thread.run_sync(function, *arguments, limiter=self._threads)


class _AllJobsFeed(WatchedFeed):
    """The unfinished jobs and those that ended a moment ago, for watchers of all jobs."""

    def __init__(self, store: Store) -> None:
        super().__init__()
        self._store = store
        self.documents: dict[str, DatedJobDocument] = {}
        self._seen: dict[str, JobSnapshot] = {}
        self._ended: dict[str, float] = {}

    def read_changes(self) -> bool:
        """Read the store in a thread. Returns whether anything has changed."""
        store, moment = self._store, now()
        found = store.snapshots.active_snapshots(ended_since=moment - OVERLAP)
        missing = [job_id for job_id, seen in self._seen.items() if job_id not in found and not seen.status.terminal]
        found |= store.snapshots.read_snapshots(
            missing
        )  # a request that was refused, or a provider that told of an end later
        for job_id, seen in self._seen.items():
            if seen.status.terminal and time.monotonic() - self._ended[job_id] < KEPT_SECONDS:
                found.setdefault(job_id, seen)
        for job_id, seen in found.items():
            if seen.status.terminal:
                self._ended.setdefault(job_id, time.monotonic())
            else:
                self._ended.pop(job_id, None)
        self._ended = {job_id: at for job_id, at in self._ended.items() if job_id in found}
        stale = [job_id for job_id, seen in found.items() if self._seen.get(job_id) != seen]
        documents = {job_id: self.documents[job_id] for job_id in found if job_id in self.documents}
        for job_id, told in self._told(stale, moment).items():
            if job_id not in documents or documents[job_id].data != told.data:
                documents[job_id] = told
        changed = documents != self.documents or not self.known
        self._seen, self.documents, self.known = found, documents, True
        return changed

    def catch_up(self, since: datetime) -> dict[str, DatedJobDocument]:
        """Return the jobs that ended since a watcher was last connected; runs in a thread."""
        return self._told(self._store.snapshots.ended_since(since - OVERLAP), now())

    def _told(self, job_ids: list[str], moment: datetime) -> dict[str, DatedJobDocument]:
        documents = native_job_documents(self._store, job_ids)
        return {job_id: DatedJobDocument(encode_stream_json(told), moment) for job_id, told in documents.items()}


@dataclass(frozen=True, slots=True)
class DatedJobDocument:
    """A job's document and the moment it was read."""

    data: str
    moment: datetime

    def to_stream_block(self) -> bytes:
        return format_sse_event(data_str=self.data, event="job", id=self.moment.isoformat())
