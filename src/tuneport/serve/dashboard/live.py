"""Live pages: a page's own address, requested as a stream, sends what has changed.

Each message has the changed parts of the page as HTML, the new events, and as its id a `DashboardReaderMark`: what the
reader has by then. The gateway keeps nothing for a reader: a reader that reconnects with the mark, to this gateway or
another one on the same store, gets everything missed, once.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

from anyio import CapacityLimiter, to_thread
from fastapi import Request
from fastapi.responses import StreamingResponse
from fastapi.sse import format_sse_event

from tuneport.errors import TuneportError
from tuneport.serve.gateway import Gateway
from tuneport.serve.http.access import is_caller_still_admitted
from tuneport.serve.http.errors import Refusal
from tuneport.serve.live.streams import (
    HEADERS,
    KEEP_ALIVE,
    RETRY_MILLISECONDS,
    WatchedFeed,
    encode_stream_json,
)

_AT_ONCE = 4
_DIGEST = 8
_MARK = re.compile(rf"(\d{{0,9}})\.((?:[0-9a-f]{{{_DIGEST}}}){{0,200}})")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LivePagePart:
    """The HTML within the element `id`. It counts as changed if `key` has changed, by default the HTML itself; a
    part `within` another is sent with that one."""

    id: str
    html: str
    key: str | None = None
    within: str | None = None

    @property
    def digest(self) -> str:
        told = self.html if self.key is None else self.key
        return hashlib.sha256(f"{self.id} {told}".encode()).hexdigest()[:_DIGEST]


@dataclass(frozen=True)
class LivePageView:
    """A page at one moment. `events` are put on top, oldest first, up to the position `head`. If `moving` is False,
    the page will never change again."""

    parts: Sequence[LivePagePart]
    events: Sequence[tuple[int, str]] = ()
    head: int | None = None
    moving: bool = True


@dataclass(frozen=True)
class DashboardReaderMark:
    """A reader's progress: the position of the newest event received, if any, and the parts received."""

    head: int | None = None
    digests: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, text: str) -> DashboardReaderMark:
        """Parse a mark. Any other text gives the mark of a reader who has nothing."""
        match = _MARK.fullmatch(text)
        if match is None:
            return cls()
        head, found = match.groups()
        digests = frozenset(found[start : start + _DIGEST] for start in range(0, len(found), _DIGEST))
        return cls(int(head) if head else None, digests)

    def __str__(self) -> str:
        return f"{'' if self.head is None else self.head}.{''.join(sorted(self.digests))}"


Draw = Callable[[DashboardReaderMark], LivePageView]


class LivePages:
    """The live streams of pages. `watched` reports changes; every `seconds`, a page is also redrawn for changes that
    are not reported."""

    def __init__(self, gateway: Gateway) -> None:
        self._streams, self._pause = gateway.streams, gateway.timing.page
        self._threads: CapacityLimiter | None = None

    @staticmethod
    def is_stream_request(request: Request) -> bool:
        return "text/event-stream" in request.headers.get("accept", "")

    def stream(
        self, request: Request, draw: Draw, watched: AbstractContextManager[WatchedFeed], *, seconds: float
    ) -> StreamingResponse:
        self._streams.refuse_too_many_watchers()
        mark = DashboardReaderMark.parse(request.headers.get("last-event-id") or request.query_params.get("live", ""))
        sent = self._sent(request, draw, watched, mark, seconds)
        return StreamingResponse(sent, media_type="text/event-stream", headers=HEADERS)

    async def _sent(
        self,
        request: Request,
        draw: Draw,
        watched: AbstractContextManager[WatchedFeed],
        mark: DashboardReaderMark,
        seconds: float,
    ) -> AsyncIterator[bytes]:
        with watched as changing:
            yield format_sse_event(retry=RETRY_MILLISECONDS)
            while not self._streams.closing:
                turn, told = changing.turn, KEEP_ALIVE
                view = await self._drawn(draw, mark)
                if not await is_caller_still_admitted(request):
                    yield format_sse_event(data_str="{}", event="gone")
                    return
                if view is not None:
                    news, mark = _news(view, mark)
                    told = KEEP_ALIVE if news is None else format_sse_event(data_str=news, event="news", id=str(mark))
                yield told
                if view is not None and not view.moving:
                    yield format_sse_event(data_str="{}", event="end", id=str(mark))
                    return
                await asyncio.sleep(self._pause)
                if changing.turn == turn:
                    await changing.wait_for_change(seconds)

    async def _drawn(self, draw: Draw, mark: DashboardReaderMark) -> LivePageView | None:
        """Draw the page. Returns None if it cannot be drawn at present."""
        if self._threads is None:
            self._threads = CapacityLimiter(_AT_ONCE)
        try:
            return await to_thread.run_sync(draw, mark, limiter=self._threads)
        except Refusal:  # it is gone
            return LivePageView((), moving=False)
        except TuneportError as error:
            log.warning("a live page: %s", error)
        except Exception:
            log.exception("a live page could not be drawn; it is tried again")
        return None


def _news(view: LivePageView, mark: DashboardReaderMark) -> tuple[str | None, DashboardReaderMark]:
    """Return what the reader does not have, and the mark after it."""
    fresh = [part for part in view.parts if part.digest not in mark.digests]
    ids = {part.id for part in fresh}
    parts = {part.id: part.html for part in fresh if part.within not in ids}
    now = replace(mark, head=view.head, digests=frozenset(part.digest for part in view.parts))
    if not parts and not view.events:
        return None, now
    return encode_stream_json({"parts": parts, "events": view.events}), now
