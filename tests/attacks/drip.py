"""A server that never ends (bytes now and then, of the head, the body or a chunk), and one that takes its time."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: %s\r\n"
MODES = ("head", "body", "chunks")
"""Beside these: "lines" and "comments" of a stream of events, which has none, and "events" without end."""
_PIECES = {"lines": b"\n", "comments": b": still here\n\n", "events": b'data: {"choices": []}\n\n'}


class DripServer:
    """Answers every connection with a byte each `pause` seconds; `mode` says of what. Counts what it was asked."""

    def __init__(self, mode: str, pause: float, content_type: str = "application/json") -> None:
        self.mode, self.pause, self.content_type = mode, pause, content_type.encode()
        self.asked: list[bytes] = []
        self._stopping = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.origin = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self) -> None:
        self._stopping.set()
        self._socket.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            self.asked.append(connection.recv(65_536))
            head = HEAD % self.content_type
            if self.mode == "head":
                self._drip(connection, head + b"x-filler: " + b"a" * 90_000)
            elif self.mode == "body":
                connection.sendall(head + b"content-length: 1000000\r\n\r\n")
                self._drip(connection, b" " * 1_000_000)
            elif self.mode in _PIECES:
                connection.sendall(head + b"connection: close\r\n\r\n")
                for _ in range(500):
                    if self._stopping.wait(self.pause):
                        return
                    connection.sendall(_PIECES[self.mode])
            else:
                connection.sendall(head + b"transfer-encoding: chunked\r\n\r\n")
                self._drip(connection, b"0" * 90_000)

    def _drip(self, connection: socket.socket, data: bytes) -> None:
        for value in data[:500]:  # then the connection is broken off, which is another error
            if self._stopping.wait(self.pause):
                return
            connection.sendall(bytes([value]))


@contextmanager
def dripping(mode: str, pause: float = 0.02, content_type: str = "application/json") -> Iterator[DripServer]:
    server = DripServer(mode, pause, content_type)
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def answering_slowly(answer: bytes, *, content_type: str, read_rate: int = 0, write_rate: int = 0,
                     piece: int = 16_384) -> Iterator[str]:  # fmt: skip
    """A server that takes and gives so many bytes a second (0: at once); its origin."""
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32_768)

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listening.accept()
                with connection:
                    _take(connection, read_rate, piece)
                    head = HEAD % content_type.encode() + b"content-length: %d\r\n\r\n" % len(answer)
                    connection.sendall(head)
                    for start in range(0, len(answer), piece):
                        connection.sendall(answer[start : start + piece])
                        time.sleep(piece / write_rate if write_rate else 0)

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        listening.close()


def _take(connection: socket.socket, rate: int, piece: int) -> None:
    received = b""
    while b"\r\n\r\n" not in received:
        received += connection.recv(piece)
    head, _, body = received.partition(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    left = int(lengths[0].partition(b":")[2]) - len(body) if lengths else 0
    while left > 0:
        data = connection.recv(min(piece, left))
        left -= len(data)
        time.sleep(len(data) / rate if rate else 0)
