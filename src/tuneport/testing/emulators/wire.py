"""HTTP for the emulators: requests (multipart too), answers, and a threaded server.

HTTP/1.1 with keep-alive, bodies by length or chunked, answers by length or chunked (server-sent events).
"""

from __future__ import annotations

import json
import os
import re
import select
import socket
import socketserver
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit


class EmulatedApiError(Exception):
    """An answer that is an error; `payload` is its JSON body."""

    def __init__(self, status: int, payload: Any):
        super().__init__(f"{status}: {payload}")
        self.status, self.payload = status, payload


@dataclass
class EmulatedFormFile:
    filename: str
    content: bytes


@dataclass
class EmulatedRequest:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]  # names in lower case
    body: bytes

    def json(self) -> dict[str, Any]:
        """Return the body as a JSON object; an empty body is an empty object. Raises ValueError for anything else."""
        payload = json.loads(self.body) if self.body.strip() else {}
        if not isinstance(payload, dict):
            raise ValueError("the body is not a JSON object")
        return payload

    def form(self) -> dict[str, str | EmulatedFormFile]:
        """Return the parts of a multipart body by name. Raises ValueError if it is not one."""
        boundary = re.search(r'boundary="?([^";]+)"?', self.headers.get("content-type", ""))
        if not boundary:
            raise ValueError("the body is not multipart/form-data")
        parts: dict[str, str | EmulatedFormFile] = {}
        # Split by hand: the standard library's mail parser alters the line ends of binary parts.
        for part in (b"\r\n" + self.body).split(b"\r\n--" + boundary[1].encode())[1:-1]:
            head, _, content = part.partition(b"\r\n\r\n")
            disposition = head.decode("utf-8", "replace")
            name = re.search(r'[; ]name="([^"]*)"', disposition)
            filename = re.search(r'filename="([^"]*)"', disposition)
            if not name:
                raise ValueError("a part of the form has no name")
            text = content.decode("utf-8", "replace") if not filename else ""
            parts[name[1]] = EmulatedFormFile(filename[1], content) if filename else text
        return parts


@dataclass
class EmulatedResponse:
    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    events: list[bytes] | None = None  # a stream of these instead of the body
    cut: bool = False  # announce the whole body, send half of it, close
    reset: bool = False  # send nothing and reset the connection (RST, not FIN)
    drip: float = 0.0  # seconds between one sixteenth of the body and the next; between events of a stream
    abandoned: threading.Event | None = None  # set when the client of a dripping stream goes away
    close: bool = False  # the connection, after this answer


def emulated_reply(payload: Any, status: int = 200, headers: dict[str, str] | None = None) -> EmulatedResponse:
    body = json.dumps(payload, ensure_ascii=False).encode()
    return EmulatedResponse(body, status, {"content-type": "application/json", **(headers or {})})


def emulated_event_stream(chunks: list[dict[str, Any]]) -> EmulatedResponse:
    """Send server-sent events as both vendors do, with their closing word."""
    events = [b"data: " + json.dumps(chunk, ensure_ascii=False).encode() + b"\n\n" for chunk in chunks]
    return EmulatedResponse(headers={"content-type": "text/event-stream"}, events=[*events, b"data: [DONE]\n\n"])


class EmulatorHTTPServer:
    """Serve `answer` on `host` until `stop`. `answer` returns None to close the connection without a word."""

    def __init__(
        self, answer: Callable[[EmulatedRequest], EmulatedResponse | None], port: int = 0, host: str = "127.0.0.1"
    ):
        handler = type("Handler", (_EmulatorHandler,), {"answer": staticmethod(answer)})
        self._server = _EmulatorSocketServer((host, port), handler)
        self.port: int = self._server.server_address[1]
        # A short poll interval, because stopping waits for one.
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self.stop_listening()
        # Kept-alive connections would otherwise still be answered after the stop.
        for connection in list(self._server.connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def stop_listening(self) -> None:
        """Refuse new connections; open ones continue. May be called while a request is being answered."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _EmulatorSocketServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, *arguments: Any):
        self.connections: set[socket.socket] = set()
        super().__init__(*arguments)

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)  # the parent would look up the host's name, which may ask the network

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a client that went away."""


class _EmulatorHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # one packet for head and body
    answer: Callable[[EmulatedRequest], EmulatedResponse | None]
    server: _EmulatorSocketServer

    def setup(self) -> None:
        self.server.connections.add(self.request)
        super().setup()

    def finish(self) -> None:
        self.server.connections.discard(self.request)
        with suppress(OSError):
            super().finish()

    def _exchange(self) -> None:
        address = urlsplit(self.path)
        request = EmulatedRequest(
            method=self.command,
            path=address.path,
            query=dict(parse_qsl(address.query, keep_blank_values=True)),
            headers={name.lower(): value for name, value in self.headers.items()},
            body=self._read_body(),
        )
        response = self.answer(request)
        if response is None:
            self.close_connection = True
            return
        if response.reset:
            self._reset()
            return
        try:
            self._send(response)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = _exchange

    def _read_body(self) -> bytes:
        if self.headers.get("transfer-encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("content-length") or 0))
        chunks = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def _reset(self) -> None:
        """Close at once with nothing lingering: the peer gets a RST and no orderly end."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.close(self.connection.detach())

    def _send(self, response: EmulatedResponse) -> None:
        if "date" in response.headers:
            self.send_response_only(response.status)  # `send_response` would add the date of this very moment
        else:
            self.send_response(response.status)
        for name, value in response.headers.items():
            self.send_header(name, value)
        if response.close:
            self.send_header("connection", "close")  # which also ends it on this side
        if response.events is None:
            self.send_header("content-length", str(len(response.body)))
            self.end_headers()
            if response.cut:
                self.wfile.write(response.body[: len(response.body) // 2])
                self.close_connection = True
            elif response.drip:
                self._drip(response)
            else:
                self.wfile.write(response.body)
            return
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for event in response.events[: len(response.events) // 2] if response.cut else response.events:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
            self.wfile.flush()
            if response.drip and self._left_within(response.drip):
                if response.abandoned:
                    response.abandoned.set()
                self.close_connection = True
                return
        if response.cut:
            self.close_connection = True
        else:
            self.wfile.write(b"0\r\n\r\n")

    def _drip(self, response: EmulatedResponse) -> None:
        self.wfile.flush()
        size = max(1, len(response.body) // 16)
        for start in range(0, len(response.body), size):
            self.wfile.write(response.body[start : start + size])
            self.wfile.flush()
            time.sleep(response.drip)

    def _left_within(self, seconds: float) -> bool:
        """Return whether the client closes its end while nothing is sent to it."""
        readable, _, _ = select.select([self.connection], [], [], seconds)
        try:
            return bool(readable) and self.connection.recv(1, socket.MSG_PEEK) == b""
        except ConnectionError:
            return True

    def log_message(self, format: str, *arguments: Any) -> None:
        """Log nothing: the emulator keeps its own log."""
