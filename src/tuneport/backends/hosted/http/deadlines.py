"""The time limit of a whole request: the HTTP libraries bound the wait for the next byte, so that a server that
sends one now and then would never be given up.

A request may wait for the network for as long as its own limit of silence says, and a second more for each
`SLOWEST_BYTES` that move. So an upload or a download of any size ends if its connection is of some use, and a drip ends
in a time-out. What the caller does between two reads does not count. A stream of events, where one was asked for,
counts from its last event, and has `MOST_STREAM_SECONDS` altogether.
"""

from __future__ import annotations

import importlib
import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

SLOWEST_BYTES = 4 * 1024
"""A second of an upload or a download moves at least so many."""
SLOWEST_JSON_BYTES = 32 * 1024
"""The same for an answer in JSON, which a caller waits for."""
SHORTEST_SECONDS = 10.0
"""What a try has, however much of the time of `limit_requests_in_total` earlier tries have used up."""
MOST_STREAM_SECONDS = 4 * 3600.0
"""What a stream of events may keep its reader waiting altogether: 50,000 tokens at 4 a second take less."""
_EVENT = re.compile(rb"[\r\n]data:")
_UPLOAD_BYTES = 64 * 1024  # from here on what was sent is an upload, and the answer to it has a time of its own
_PIECE = 64 * 1024

_until: ContextVar[float | None] = ContextVar("until", default=None)
_allowance: ContextVar[ProviderRequestDeadline | None] = ContextVar("allowance", default=None)


@contextmanager
def limit_requests_in_total(seconds: float) -> Iterator[None]:
    """Give all requests of the block, on this thread, `seconds` together, the pauses between them included."""
    token = _until.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        _until.reset(token)


class ProviderRequestDeadline:
    """The time of one request: `seconds` in which the network may keep it waiting, and what `moved` earns."""

    def __init__(self, seconds: float) -> None:
        until = _until.get()
        if until is not None:
            seconds = min(seconds, max(SHORTEST_SECONDS, until - time.monotonic()))
        self.seconds, self.slowest = seconds, SLOWEST_BYTES
        self._waited, self._moved, self._sending = 0.0, 0, True
        self._event: re.Pattern[bytes] | None = None  # what is progress in a stream of events
        self._streamed, self._before = 0.0, b""

    @property
    def remaining_seconds(self) -> float:
        left = self.seconds + self._moved / self.slowest - self._waited
        return left if self._event is None else min(left, MOST_STREAM_SECONDS - self._streamed)

    @contextmanager
    def count_waiting(self) -> Iterator[None]:
        started = time.monotonic()
        try:
            yield
        finally:
            self._waited += time.monotonic() - started
            self._streamed += time.monotonic() - started

    def count_sent_bytes(self, count: int) -> None:
        self._moved += count

    def begin_answer(self) -> None:
        """Start the server's turn: after an upload it has the whole time for its answer."""
        if self._sending and self._moved >= _UPLOAD_BYTES:
            self._waited = 0.0
        if self._sending:
            self._sending, self._moved = False, 0

    def count_received_bytes(self, data: bytes) -> None:
        self._moved += len(data)
        if self._event is not None:
            seen, self._before = self._before + data, (self._before + data)[-len(b"data:") :]
            if self._event.search(seen):
                self._waited, self._moved = 0.0, 0

    def expect_event_stream(self, encoded: bool) -> None:
        """Expect events from here on. If they are compressed (`encoded`), any byte is progress."""
        self._event, self._before, self._streamed = re.compile(b"(?s).") if encoded else _EVENT, b"\n", 0.0


@contextmanager
def limit_provider_silence(request: Any) -> Iterator[ProviderRequestDeadline | None]:
    """Limit the silence of the connection that sends `request`, in the block and until its answer has been read."""
    seconds = request.extensions.get("timeout", {}).get("read")
    allowance = None if seconds is None else ProviderRequestDeadline(seconds)
    token = _allowance.set(allowance)
    try:
        yield allowance
    finally:
        _allowance.reset(token)


def limit_response_by_kind(allowance: ProviderRequestDeadline | None, request: Any, response: Any) -> None:
    """Bound the rest of an answer by its kind. It is a stream of events only if the request asked for one: else a
    server could switch the limit off by one header."""
    if allowance is None:
        return
    kind = response.headers.get("content-type", "")
    if kind.startswith("text/event-stream") and _asks_for_events(request):
        allowance.expect_event_stream(encoded=response.headers.get("content-encoding", "identity") != "identity")
    elif kind.startswith("application/json"):
        allowance.slowest = SLOWEST_JSON_BYTES


def _asks_for_events(request: Any) -> bool:
    if "text/event-stream" in request.headers.get("accept", ""):
        return True
    if not request.headers.get("content-type", "").startswith("application/json"):
        return False
    try:
        asked = json.loads(request.content)
    except (ValueError, RuntimeError):  # no JSON, or an upload that was read as it was sent
        return False
    return isinstance(asked, dict) and asked.get("stream") is True


def enforce_provider_deadlines(transport: Any) -> Any:
    """Wrap `transport` (an HTTPTransport of httpx or httpx2), so that its connections keep to each request's
    allowance."""
    pool = transport._pool  # neither library has another way to hand in a backend for its connections
    core = importlib.import_module(type(pool).__module__.partition(".")[0])
    pool._network_backend = _DeadlineBackend(pool._network_backend, core)
    return transport


class _DeadlineBackend:
    """A network backend of httpcore or httpcore2: opens connections, in the time that the request has."""

    def __init__(self, inner: Any, core: Any) -> None:
        self._inner, self._core = inner, core

    def connect_tcp(self, host: str, port: int, timeout: float | None = None, **more: Any) -> Any:
        allowance = _allowance.get()
        if allowance is None:
            return _DeadlineConnection(self._inner.connect_tcp(host, port, timeout=timeout, **more), self._core)
        with allowance.count_waiting():
            limit = _least(timeout, allowance, self._core.ConnectTimeout)
            return _DeadlineConnection(self._inner.connect_tcp(host, port, timeout=limit, **more), self._core)

    def connect_unix_socket(self, path: str, timeout: float | None = None, **more: Any) -> Any:
        return _DeadlineConnection(self._inner.connect_unix_socket(path, timeout=timeout, **more), self._core)

    def sleep(self, seconds: float) -> None:
        self._inner.sleep(seconds)


class _DeadlineConnection:
    """A network stream of httpcore or httpcore2. It has one request at a time: the last one that wrote to it."""

    def __init__(self, inner: Any, core: Any, allowance: ProviderRequestDeadline | None = None) -> None:
        self._inner, self._core, self._allowance = inner, core, allowance

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        allowance = self._allowance
        if allowance is None:
            return bytes(self._inner.read(max_bytes, timeout=timeout))
        allowance.begin_answer()
        limit = _least(timeout, allowance, self._core.ReadTimeout)
        with allowance.count_waiting():
            data: bytes = self._inner.read(max_bytes, timeout=limit)
        allowance.count_received_bytes(data)
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        allowance = self._allowance = _allowance.get()
        if allowance is None:
            self._inner.write(buffer, timeout=timeout)
            return
        view = memoryview(buffer)
        while view:
            piece, view = bytes(view[:_PIECE]), view[_PIECE:]
            limit = _least(timeout, allowance, self._core.WriteTimeout)
            with allowance.count_waiting():
                self._inner.write(piece, timeout=limit)
            allowance.count_sent_bytes(len(piece))

    def start_tls(self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None) -> Any:
        allowance = _allowance.get()
        limit = timeout if allowance is None else _least(timeout, allowance, self._core.ConnectTimeout)
        inner = self._inner.start_tls(ssl_context, server_hostname=server_hostname, timeout=limit)
        return _DeadlineConnection(inner, self._core, allowance)

    def close(self) -> None:
        self._inner.close()

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


def _least(timeout: float | None, allowance: ProviderRequestDeadline, error: type[Exception]) -> float:
    """Return the time for one step. Raises `error` if none is left."""
    left = allowance.remaining_seconds
    if left <= 0:
        raise error(f"not finished within {allowance.seconds:g} s")
    return left if timeout is None else min(timeout, left)
