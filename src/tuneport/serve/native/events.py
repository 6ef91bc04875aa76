"""The routes /tuneport/v1/jobs/{id}/events and /tuneport/v1/events: events of jobs, in pages or live.

A stream sends each stored event with its position as `id:` (so that `Last-Event-ID` says how far a client is), the
job (`event: job`) whenever it has changed, and `event: end` once the job has ended and everything is sent.
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

from tuneport.lifecycle.store.snapshots import JobSnapshot
from tuneport.serve.gateway import Gateway
from tuneport.serve.http.access import is_caller_still_admitted
from tuneport.serve.http.errors import Refusal, gateway_not_found_refusal
from tuneport.serve.live.streams import HEADERS, event_message

LIMIT = 1000
END = ".end"
_STREAM: dict[int | str, dict[str, Any]] = {
    200: {"description": "A page; with `Accept: text/event-stream` a stream", "content": {"text/event-stream": {}}},
    204: {"description": "The stream has ended, and nothing has happened since"},
}
Last = Annotated[str | None, Header(alias="Last-Event-ID", max_length=64)]
LastByQuery = Annotated[str | None, Query(alias="last_event_id", max_length=64)]


class JobEvent(BaseModel):
    """An event of a job, as `tuneport logs --json` prints it. `position` counts from 1 within the job."""

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
        """List a job's events after the position `after`, oldest first: in pages, or live if `text/event-stream` is
        accepted.

        A stream begins after `Last-Event-ID` (or `last_event_id`, for clients that cannot set headers), and sends
        all stored and all new events, each once.
        """
        told = last_event_id or last
        position, ended = (after, False) if told is None else _position(told)
        streams = "text/event-stream" in request.headers.get("accept", "")
        if streams:
            gateway.streams.refuse_too_many_watchers()
        seen = await run_in_threadpool(_seen, gateway, job_id)
        if position > seen.head:
            raise Refusal(400, f"{job_id} has no event {position} yet.", param="after", code="invalid_value")
        if not streams:
            return JSONResponse(await run_in_threadpool(_page, gateway, seen, position, limit))
        if ended and seen.events_complete and position == seen.head:
            return Response(status_code=204)  # a browser stops asking then
        stream = gateway.streams.stream_job(job_id, position)
        return StreamingResponse(_while_admitted(request, stream), media_type="text/event-stream", headers=HEADERS)

    @routes.get("/events", response_class=StreamingResponse, responses={200: {"content": {"text/event-stream": {}}}})
    async def all_jobs(request: Request, last_event_id: Last = None, last: LastByQuery = None) -> StreamingResponse:
        """Stream all jobs: first the unfinished ones, then each job whenever it has changed (`event: job`).

        A client that reconnects with `Last-Event-ID` also gets the jobs that ended meanwhile.
        """
        gateway.streams.refuse_too_many_watchers()
        told = last_event_id or last
        since = None if told is None else _moment(told)
        stream = gateway.streams.stream_all_jobs(gateway.project, since)
        return StreamingResponse(_while_admitted(request, stream), media_type="text/event-stream", headers=HEADERS)

    return routes


async def _while_admitted(request: Request, stream: AsyncGenerator[bytes]) -> AsyncIterator[bytes]:
    """Yield the stream while its caller is admitted. A stream may be open for days; after a revocation it sends
    nothing, not even keep-alives."""
    async with aclosing(stream):
        async for sent in stream:
            if not await is_caller_still_admitted(request):
                return
            yield sent


def _position(told: str) -> tuple[int, bool]:
    """Return the position in a stream's id, and whether the id was that of its end."""
    number = told.removesuffix(END)
    if not (number.isascii() and number.isdecimal()):
        raise Refusal(400, f"{told!r} is not an event's id; send the last `id:` of the stream.", param="Last-Event-ID")
    return int(number), told.endswith(END)


def _moment(told: str) -> datetime:
    try:
        moment = datetime.fromisoformat(told)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise Refusal(400, f"{told!r} is not an event's id; send the last `id:` of the stream.", param="Last-Event-ID")
    return moment


def _seen(gateway: Gateway, job_id: str) -> JobSnapshot:
    found = gateway.store.snapshots.read_snapshots([job_id]).get(job_id)
    if found is None:
        raise gateway_not_found_refusal(f"No job {job_id!r} here.", "job_id", "job_not_found")
    gateway.request_poll(found)
    return found


def _page(gateway: Gateway, seen: JobSnapshot, after: int, limit: int) -> dict[str, Any]:
    found = [] if seen.backend is None else gateway.workspace.events(seen.id, after=after, limit=limit + 1)
    data = [event_message(position, told) for position, told in found[:limit]]
    return {"object": "list", "job": seen.id, "data": data, "has_more": len(found) > limit}
