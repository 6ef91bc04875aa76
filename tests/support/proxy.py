"""A proxy on this machine: CONNECT tunnels and plain forwarding, with or without a user and password.

It records the first line of each connection. With `refuses` it answers every request with that status.
"""

from __future__ import annotations

import base64
import http
import socket
import socketserver
import threading
from contextlib import suppress
from types import TracebackType


class ProxyServer:
    """Use it as a context manager. `user` is `"name:password"`."""

    def __init__(self, *, user: str | None = None, refuses: int | None = None) -> None:
        self.user, self.refuses = user, refuses
        self.seen: list[str] = []  # "CONNECT localhost:443", "GET http://127.0.0.1/v1/files"
        self.heads: list[bytes] = []
        outer = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with suppress(OSError):
                    outer._serve(self.request)

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> ProxyServer:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _serve(self, client: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            if not (piece := client.recv(65536)):
                return
            head += piece
        method, target = head.split(b"\r\n", 1)[0].decode().split(" ")[:2]
        self.seen.append(f"{method} {target}")
        self.heads.append(head.partition(b"\r\n\r\n")[0])
        status = self._refusal(head)
        if status is not None:
            self._answer(client, status)
            return
        host, _, port = (target if method == "CONNECT" else target.split("/")[2]).rpartition(":")
        with socket.create_connection((host, int(port))) as upstream:
            if method == "CONNECT":
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                upstream.sendall(head)
            relay(client, upstream)

    def _refusal(self, head: bytes) -> int | None:
        if self.refuses is not None:
            return self.refuses
        if self.user is None:
            return None
        wanted = b"proxy-authorization: basic " + base64.b64encode(self.user.encode()).lower()
        return None if wanted in head.lower() else 407

    def _answer(self, client: socket.socket, status: int) -> None:
        reason = http.HTTPStatus(status).phrase
        body = f"<html><h1>{status} {reason}</h1></html>"
        client.sendall(
            f"HTTP/1.1 {status} {reason}\r\nContent-Type: text/html\r\nProxy-Authenticate: Basic\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode()
        )


def relay(one: socket.socket, other: socket.socket) -> None:
    """Pass on what each says to the other, until either is done."""

    def pump(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while piece := source.recv(65536):
                target.sendall(piece)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    back = threading.Thread(target=pump, args=(other, one), daemon=True)
    back.start()
    pump(one, other)
    back.join()
