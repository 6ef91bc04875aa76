"""Faults on demand, and the record of an exchange."""

from __future__ import annotations

import json
import re
import threading
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any, Literal, get_args

from tuneport.testing.emulators.wire import EmulatedRequest, EmulatedResponse, emulated_reply

FaultKind = Literal[
    "status", "html", "hang", "drop", "reset",  # the server did not act (`acts=True`: it did, its answer is lost)
    "drop_after_accept", "reset_after_accept", "slow",  # it acted, and there is no answer, or a late one
    "cut", "truncated", "content_type", "shape", "drip",  # it acted, and the answer has a defect
    "error_in_stream",  # the same, of a stream: half of its events, then `body` as an error
    "down_after",  # this one answer is whole; then it does not listen until `Emulator.start`
]  # fmt: skip
HTML_PAGE = b"<!DOCTYPE html><html><head><title>Bad gateway</title></head><body><h1>Error 502</h1></body></html>"


@dataclass
class EmulatorFault:
    """One armed fault; see `Emulator.fail`.

    `reached` is set when its request is in the server's hands (`slow`, and whatever acts: when it has acted);
    `release` ends its waiting; `abandoned` is set when the client of a dripping stream goes away.
    """

    kind: FaultKind = "status"
    method: str | None = None
    path: str = "**"
    times: int | None = 1
    skip: int = 0
    status: int | None = None
    body: Any = None
    headers: dict[str, str] | None = None
    seconds: float = 30.0
    retry_date: float | None = None  # seconds from the answer's own date to a `retry-after` that is a date
    acts: bool = False  # `status`, `html`: first carry the request out, as behind a gateway that gave up
    reached: threading.Event = field(default_factory=threading.Event, repr=False)
    release: threading.Event = field(default_factory=threading.Event, repr=False)
    abandoned: threading.Event = field(default_factory=threading.Event, repr=False)

    def __post_init__(self) -> None:
        if self.kind not in get_args(FaultKind):
            raise ValueError(f"no such kind of fault: {self.kind}")
        # `*` and `{name}` stand for one segment, `**` for any number.
        escaped = re.sub(r"\\\{\w+\\\}", r"\\*", re.escape(self.path))
        self._pattern = re.compile(escaped.replace(r"\*\*", ".*").replace(r"\*", "[^/]+"))

    def matches_request(self, request: EmulatedRequest, prefix: str) -> bool:
        """Return whether this fault is for the request; counts down when it is."""
        paths = (request.path, request.path.removeprefix(prefix))
        if self.times == 0 or self.method not in (None, request.method):
            return False
        if not any(self._pattern.fullmatch(path) for path in paths):
            return False
        if self.skip:
            self.skip -= 1
            return False
        if self.times is not None:
            self.times -= 1
        return True

    def error_reply(self, default: Any, now: float) -> EmulatedResponse:
        """Return the answer of `status` and `html`; `default` is the body if none is given."""
        headers = dict(self.headers or {})
        if self.retry_date is not None:
            headers |= {
                "date": formatdate(now, usegmt=True),
                "retry-after": formatdate(now + self.retry_date, usegmt=True),
            }
        if self.kind == "html":
            return EmulatedResponse(HTML_PAGE, self.status or 502, {"content-type": "text/html", **headers})
        return emulated_reply(default if self.body is None else self.body, self.status or 500, headers)

    def spoil_reply(self, response: EmulatedResponse) -> EmulatedResponse:
        """Return what the client gets of the answer, after the server acted."""
        match self.kind:
            case "cut":
                response.cut = True
            case "truncated":
                response.body = response.body[: len(response.body) // 2]
            case "content_type":
                response.headers = {**response.headers, "content-type": "text/plain"}
            case "shape":
                return emulated_reply({} if self.body is None else self.body, response.status)
            case "drip":
                response.drip, response.abandoned = self.seconds / 16, self.abandoned
            case "error_in_stream" if response.events:
                named = b"event: error\n" if response.events[0].startswith(b"event: ") else b""
                told = named + b"data: " + json.dumps(self.body).encode() + b"\n\n"
                response.events = [*response.events[: len(response.events) // 2], told]
            case "reset_after_accept":
                response.reset = True
            case "down_after":
                response.close = True
        return response


@dataclass
class EmulatorExchange:
    """One request and what became of it; `status` is None if no answer was sent."""

    method: str
    path: str
    query: dict[str, str]
    request_headers: dict[str, str]
    request_body: bytes
    status: int | None
    response_headers: dict[str, str]
    response_body: bytes
    fault: str | None
    at: float = 0.0  # by the emulator's clock, when it arrived

    def request_json(self) -> Any:
        return json.loads(self.request_body)

    def json(self) -> Any:
        return json.loads(self.response_body)
