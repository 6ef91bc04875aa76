"""/tuneport/v1/jobs/{id}/events and /tuneport/v1/events: what happens to jobs, in pages or live.

A stream sends each stored event with its position as `id:` (so that `Last-Event-ID` says how far a client is), the job
(`event: job`) whenever it has changed, and `event: end` once it has ended and all is told.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from tuneport.jobs.watching import Seen
from tuneport.serve.access import still_admitted
from tuneport.serve.errors import Refusal, not_found
from tuneport.serve.gateway import Gateway
from tuneport.serve.streams import HEADERS, message

LIMIT = 1000
END = ".end"
_STREAM: dict[int | str, dict[str, Any]] = {
    200: {"description": "A page; with `Accept: text/event-stream` a stream", "content": {"text/event-stream": {}}},
    204: {"description": "Its end was told, and nothing has happened since"},
}
Last = Annotated[str | None, Header(alias="Last-Event-ID", max_length=64)]
LastByQuery = Annotated[str | None, Query(alias="last_event_id", max_length=64)]


class JobEvent(BaseModel):
    """As `tuneport logs --json` prints it. `position` counts from 1 within the job."""

    position: int
    id: str
    created_at: datetime
    level: str
    message: str
    type: str
    data: dict[str, Any]


class JobEvents(BaseModel):
    object: str = "list"
    job: str
    data: list[JobEvent]
    has_more: bool


def router(gateway: Gateway) -> APIRouter:
    routes = APIRouter(prefix="/tuneport/v1", tags=["Events"])

    @routes.get("/jobs/{job_id}/events", response_model=JobEvents, responses=_STREAM)
    async def job_events(
        request: Request,
        job_id: str,
        after: Annotated[int, Query(ge=0, le=2**31 - 1)] = 0,
        limit: Annotated[int, Query(ge=1, le=LIMIT)] = 100,
        last_event_id: Last = None,
        last: LastByQuery = None,
    ) -> Response:
        """Oldest first, those behind the position `after`: in pages, or live where `text/event-stream` is accepted.

        A stream begins behind `Last-Event-ID` (or `last_event_id`, for clients that cannot set headers), and sends all
        that is stored and all that comes, each event once."""
        told = last_event_id or last
        position, ended = (after, False) if told is None else _position(told)
        streams = "text/event-stream" in request.headers.get("accept", "")
        if streams:
            gateway.streams.check_room()
        seen = await run_in_threadpool(_seen, gateway, job_id)
        if position > seen.head:
            raise Refusal(400, f"{job_id} has no event {position} yet.", param="after", code="invalid_value")
        if not streams:
            return JSONResponse(await run_in_threadpool(_page, gateway, seen, position, limit))
        if ended and seen.told and position == seen.head:
            return Response(status_code=204)  # by which a browser stops asking
        stream = gateway.streams.of_job(job_id, position)
        return StreamingResponse(_while_admitted(request, stream), media_type="text/event-stream", headers=HEADERS)

    @routes.get("/events", response_class=StreamingResponse, responses={200: {"content": {"text/event-stream": {}}}})
    async def all_jobs(request: Request, last_event_id: Last = None, last: LastByQuery = None) -> StreamingResponse:
        """All jobs, live: at first those that have not ended, then each job whenever it has changed (`event: job`).

        A client that comes back with `Last-Event-ID` is told what ended meanwhile, too."""
        gateway.streams.check_room()
        told = last_event_id or last
        since = None if told is None else _moment(told)
        stream = gateway.streams.of_all(since)
        return StreamingResponse(_while_admitted(request, stream), media_type="text/event-stream", headers=HEADERS)

    return routes


async def _while_admitted(request: Request, stream: AsyncGenerator[bytes]) -> AsyncIterator[bytes]:
    """A stream may be open for days: whoever is not let in any more is told nothing more, keep-alives included."""
    async with aclosing(stream):
        async for sent in stream:
            if not await still_admitted(request):
                return
            yield sent


def _position(told: str) -> tuple[int, bool]:
    """Of an id that a stream has sent; and whether that was of its end."""
    number = told.removesuffix(END)
    if not (number.isascii() and number.isdecimal()):
        raise Refusal(400, f"{told!r} is no event's id; send the last `id:` of the stream.", param="Last-Event-ID")
    return int(number), told.endswith(END)


def _moment(told: str) -> datetime:
    try:
        moment = datetime.fromisoformat(told)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise Refusal(400, f"{told!r} is no event's id; send the last `id:` of the stream.", param="Last-Event-ID")
    return moment


def _seen(gateway: Gateway, job_id: str) -> Seen:
    found = gateway.store.look_at([job_id]).get(job_id)
    if found is None:
        raise not_found(f"No job {job_id!r} here.", "job_id", "job_not_found")
    gateway.hurry(found)
    return found


def _page(gateway: Gateway, seen: Seen, after: int, limit: int) -> dict[str, Any]:
    found = [] if seen.backend is None else gateway.workspace.events(seen.id, after=after, limit=limit + 1)
    data = [message(position, told) for position, told in found[:limit]]
    return {"object": "list", "job": seen.id, "data": data, "has_more": len(found) > limit}
