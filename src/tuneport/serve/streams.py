"""Live streams of jobs: what is stored in order, then what comes, to any number of watchers by one reader.

Nothing is kept for a watcher but how far it is: it says so when it comes back, here or at another gateway on the same
store. The store is looked at twice a second while somebody watches, whoever writes to it, and at once when our own
poller has written.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from anyio import CapacityLimiter, to_thread

from tuneport.errors import TuneportError
from tuneport.jobs.asking import Asking, asking, everything, on_behalf_of
from tuneport.jobs.watching import Seen
from tuneport.serve.errors import Refusal
from tuneport.serve.job_documents import job_documents
from tuneport.types import JobEvent, now

if TYPE_CHECKING:
    from tuneport.serve.gateway import Gateway

HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
"""Of every stream: nothing on the way keeps it back."""
LOOK_SECONDS = 0.5
KEEP_ALIVE_SECONDS = 15.0
"""Proxies close what is silent for a minute or so."""
RETRY_MILLISECONDS = 2000
MOST_STREAMS = 2000
"""Each holds a connection and a few kilobytes, and no thread."""
PAGE = 500
REMEMBERED = 1000
"""So many of a job's newest events are kept ready for its watchers; older ones each reads for itself."""
GIVE_UP_SECONDS = 120.0
"""So long after a job's end its last events are waited for, where its provider does not give them."""
OVERLAP = timedelta(seconds=10)
"""What was written a moment before it could be seen is looked for again."""
KEPT_SECONDS = 60.0
"""So long the end of a job is kept for watchers of all jobs that read slowly."""

log = logging.getLogger(__name__)


def message(position: int, told: JobEvent) -> dict[str, Any]:
    """An event as JSON: as `tuneport logs --json` prints it."""
    return {"position": position} | told.model_dump(mode="json")


def encoded(data: Any) -> str:
    """JSON without line breaks, so that it is one line of a stream."""
    return json.dumps(data, ensure_ascii=False, default=str)


def block(data: str, *, event: str | None = None, id_: str | None = None) -> bytes:
    """One block of a stream."""
    lines = [] if event is None else [f"event: {event}"]
    lines += [] if id_ is None else [f"id: {id_}"]
    return ("\n".join([*lines, f"data: {data}"]) + "\n\n").encode()


def event_block(position: int, told: JobEvent) -> bytes:
    return block(encoded(message(position, told)), id_=str(position))


KEEP_ALIVE = b": keep-alive\n\n"


class Changing:
    """What watchers wait for."""

    def __init__(self) -> None:
        self.watchers = 0
        self.known = False  # whether it has been looked at yet
        self.turn = 0  # another one after each change: whoever was busy meanwhile sees that he has missed something
        self._changed = asyncio.Event()

    def tell(self) -> None:
        self.turn += 1
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def changed(self, seconds: float) -> bool:
        """False after so many seconds in which nothing has."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), seconds)
            return True
        return False


class Feed(Changing):
    """One job that somebody watches: the newest events as they are sent, and the newest document of it."""

    def __init__(self, job_id: str) -> None:
        super().__init__()
        self.job_id = job_id
        self.seen: Seen | None = None
        self.head = 0  # the position of the last event in `recent`, or before it
        self.recent: deque[tuple[int, bytes]] = deque(maxlen=REMEMBERED)
        self.document = b""
        self.ended_at: float | None = None  # since when it is seen as ended
        self.over: str | None = None  # "complete", or why not all can be told

    @property
    def version(self) -> str | None:
        return None if self.seen is None else self.seen.version

    def after(self, position: int) -> list[tuple[int, bytes]] | None:
        """The events behind a position; None where they are older than what is kept."""
        if position >= self.head:
            return []
        if not self.recent or self.recent[0][0] > position + 1:
            return None
        return [found for found in self.recent if found[0] > position]


class Streams:
    """All streams of one gateway. Its methods belong to the server's event loop, but for `wake` and `close`."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._feeds: dict[str, Feed] = {}
        self._all: dict[str | None, _All] = {}  # by project
        self._count = 0
        self._reader: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._woken: asyncio.Event | None = None
        self._threads: CapacityLimiter | None = None
        self.closing = False

    # --- from any thread, and from signal handlers ------------------------------------------------------------------

    def wake(self) -> None:
        """Something was written: look now."""
        if (loop := self._loop) is not None:
            with suppress(RuntimeError):  # the loop is closed: nobody watches any more
                loop.call_soon_threadsafe(self._look_now)

    def touch(self, job_id: str) -> None:
        """Something about the job is there that is not in the store: what it draws, say."""
        if (loop := self._loop) is not None:
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(self._touched, job_id)

    def close(self) -> None:
        """Let all watchers go; they come back, to this gateway's successor, with how far they are."""
        self.closing = True
        self.wake()

    def _look_now(self) -> None:
        if self._woken is not None:
            self._woken.set()
        if self.closing:
            for watched in (*self._feeds.values(), *self._all.values()):
                watched.tell()

    def _touched(self, job_id: str) -> None:
        feeds = (self._feeds.get(job_id), *self._all.values())
        for feed in feeds:
            if feed is not None:
                feed.tell()

    # --- streams ----------------------------------------------------------------------------------------------------

    async def of_job(self, job_id: str, after: int) -> AsyncGenerator[bytes]:
        """Events behind `after`, the job whenever it has changed, and its end."""
        with self.watching(job_id) as feed:
            yield f"retry: {RETRY_MILLISECONDS}\n\n".encode()
            position, told = after, b""
            while not self.closing:
                page = feed.after(position)
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
                if not await feed.changed(KEEP_ALIVE_SECONDS):
                    yield KEEP_ALIVE

    @staticmethod
    def _end(feed: Feed, position: int) -> bytes:
        assert feed.seen is not None
        complete = feed.over == "complete"
        data: dict[str, Any] = {"id": feed.job_id, "status": feed.seen.status.value, "complete": complete}
        if not complete:
            data["note"] = feed.over
        return block(encoded(data), event="end", id_=f"{position}.end" if complete else str(position))

    async def of_all(self, since: datetime | None) -> AsyncGenerator[bytes]:
        """Every unfinished job, what ended since then, and then each job whenever it has changed."""
        with self.watching_all() as feed:
            yield f"retry: {RETRY_MILLISECONDS}\n\n".encode()
            told: dict[str, Told] = {}
            if since is not None:
                told = await self._in_thread(feed.catch_up, since)
                for found in told.values():
                    yield found.block()
            while not self.closing:
                fresh = {job_id: found for job_id, found in feed.documents.items() if told.get(job_id) != found}
                for found in fresh.values():
                    yield found.block()
                told |= fresh
                if fresh:
                    continue  # more may have changed while that was sent
                told = {job_id: found for job_id, found in told.items() if job_id in feed.documents}
                if not await feed.changed(KEEP_ALIVE_SECONDS):
                    yield KEEP_ALIVE

    @contextmanager
    def watching(self, job_id: str) -> Iterator[Feed]:
        """The job's news for as long as somebody wants them."""
        feed = self._feeds.setdefault(job_id, Feed(job_id))
        try:
            with self._watched(feed):
                yield feed
        finally:
            if feed.watchers == 0:
                self._feeds.pop(job_id, None)

    @contextmanager
    def watching_all(self) -> Iterator[_All]:
        """Those of all jobs of the project on whose behalf it is asked."""
        project = asking().project
        feed = self._all.setdefault(project, _All(self._gateway, project))
        with self._watched(feed):
            yield feed

    @contextmanager
    def _watched(self, feed: Changing) -> Iterator[None]:
        self._count += 1
        feed.watchers += 1
        if self._reader is None:
            self._loop, self._woken = asyncio.get_running_loop(), asyncio.Event()
            self._threads = CapacityLimiter(4)
            with everything():  # it reads for all, whoever came first
                self._reader = asyncio.create_task(self._read())
        if not feed.known and self._woken is not None:
            self._woken.set()
        try:
            yield
        finally:
            self._count -= 1
            feed.watchers -= 1

    def check_room(self) -> None:
        if self._count >= MOST_STREAMS:
            raise Refusal(
                429, f"{MOST_STREAMS:,} streams are open; try again, or ask for pages of events.",
                code="rate_limit_exceeded", kind="rate_limit_error",
            )  # fmt: skip

    @property
    def count(self) -> int:
        """Watchers at present."""
        return self._count

    # --- the one reader ---------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        """Look at the store for as long as somebody watches."""
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
            elif await self._in_thread(feed.look):
                feed.tell()

    def _look_at(self, feeds: dict[str, Feed]) -> list[tuple[Feed, Seen, list[tuple[int, bytes]], bytes]]:
        """In a thread: what is new of each. Of a job that nobody has watched so far, only its last events."""
        store = self._gateway.store
        found = store.look_at(feeds)
        stale = [job_id for job_id, seen in found.items() if feeds[job_id].version != seen.version]
        documents = job_documents(store, stale)
        news = []
        for job_id, seen in found.items():
            feed = feeds[job_id]
            after = max(feed.head, seen.head - REMEMBERED) if feed.known else max(0, seen.head - REMEMBERED)
            events: list[tuple[int, bytes]] = []
            if seen.head > after:
                page = store.events(job_id, after=after, limit=REMEMBERED)
                events = [(at, event_block(at, told)) for at, told in page if at <= seen.head]
            document = block(encoded(documents[job_id]), event="job") if job_id in documents else feed.document
            self._gateway.hurry(seen)
            news.append((feed, seen, events, document))
        return news

    def _apply(self, feed: Feed, seen: Seen, events: list[tuple[int, bytes]], document: bytes) -> None:
        before = (feed.known, feed.head, feed.document, feed.over)
        if events and feed.recent and events[0][0] != feed.recent[-1][0] + 1:
            feed.recent.clear()  # more came at once than is kept: watchers read what lies between for themselves
        feed.recent.extend(events)
        feed.head = max(feed.head, seen.head)
        feed.seen, feed.document, feed.known = seen, document, True
        if not seen.status.terminal:
            feed.ended_at, feed.over = None, None
        elif feed.ended_at is None:
            feed.ended_at = time.monotonic()  # the next look is the one that counts: what ends it may still tell of it
        elif seen.told and feed.head == before[1]:
            feed.over = "complete"
        elif time.monotonic() - feed.ended_at > GIVE_UP_SECONDS:
            feed.over = f"the provider has not given its last events yet; ask again after {feed.head}"
        if before != (feed.known, feed.head, feed.document, feed.over):
            feed.tell()

    async def _older(self, job_id: str, position: int) -> list[tuple[int, bytes]]:
        def page() -> list[tuple[int, bytes]]:
            found = self._gateway.store.events(job_id, after=position, limit=PAGE)
            return [(at, event_block(at, told)) for at, told in found]

        found: list[tuple[int, bytes]] = await self._in_thread(page)
        return found

    async def _in_thread(self, function: Any, *arguments: Any) -> Any:
        return await to_thread.run_sync(function, *arguments, limiter=self._threads)


class _All(Changing):
    """All jobs that somebody watches at once: those that have not ended, and those that ended a moment ago."""

    def __init__(self, gateway: Gateway, project: str | None) -> None:
        super().__init__()
        self._gateway, self._project = gateway, project
        self.documents: dict[str, Told] = {}
        self._seen: dict[str, Seen] = {}
        self._ended: dict[str, float] = {}

    def look(self) -> bool:
        """In a thread; whether anything has changed."""
        with on_behalf_of(Asking(project=self._project)):
            return self._look()

    def _look(self) -> bool:
        store, moment = self._gateway.store, now()
        found = store.look_around(ended_since=moment - OVERLAP)
        missing = [job_id for job_id, seen in self._seen.items() if job_id not in found and not seen.status.terminal]
        found |= store.look_at(missing)  # a request that was refused, or a provider that told of an end later
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

    def catch_up(self, since: datetime) -> dict[str, Told]:
        """In a thread: the jobs that ended since somebody was here last."""
        return self._told(self._gateway.store.ended_since(since - OVERLAP), now())

    def _told(self, job_ids: list[str], moment: datetime) -> dict[str, Told]:
        documents = job_documents(self._gateway.store, job_ids)
        return {job_id: Told(encoded(told), moment) for job_id, told in documents.items()}


@dataclass(frozen=True, slots=True)
class Told:
    """A job's document, and the moment at which it was so."""

    data: str
    moment: datetime

    def block(self) -> bytes:
        return block(self.data, event="job", id_=self.moment.isoformat())
