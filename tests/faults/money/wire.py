"""HTTP of the bench's servers: requests parsed strictly, and answers that go astray on purpose."""

from __future__ import annotations

import email.parser
import email.policy
import json
import os
import socket
import struct
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.faults.money.account import DEAD_FIRST, LONGEST_SILENCE, NOTHING, Account


class Refused(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Request:
    """One request: its path below the account's address, its query, its headers and its body."""

    def __init__(self, method: str, path: str, query: list[tuple[str, str]], headers: Any, body: bytes) -> None:
        self.method, self.path, self.query, self.headers, self.body = method, path, dict(query), headers, body

    def json(self) -> dict[str, Any]:
        try:
            given = json.loads(self.body)
        except ValueError:
            raise Refused(400, "the body is no JSON") from None
        if not isinstance(given, dict):
            raise Refused(400, "the body is no JSON object")
        return given

    def form(self) -> dict[str, tuple[str | None, bytes]]:
        """The parts of a multipart form: the name of the file, where there is one, and the content."""
        head = f"Content-Type: {self.headers.get('content-type', '')}\r\n\r\n".encode()
        message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + self.body)
        found = {}
        for part in message.iter_parts():
            name = part.get_param("name", header="content-disposition")
            content = part.get_payload(decode=True)
            found[str(name)] = (part.get_filename(), content if isinstance(content, bytes) else b"")
        return found


class Answer:
    def __init__(self, document: Any = None, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.body = b"" if document is None else json.dumps(document).encode()
        self.status, self.headers = status, headers or {}


class Provider:
    """A wire format. `prefix`: of the ids of its jobs."""

    prefix = ""

    def token_of(self, request: dict[str, Any]) -> str | None:
        raise NotImplementedError

    def is_create(self, request: Request) -> bool:
        raise NotImplementedError

    def checked(self, account: Account, request: Request) -> dict[str, Any]:
        """The body of a create. Refused where the real service would refuse it."""
        raise NotImplementedError

    def shown(self, account: Account, job: Any) -> dict[str, Any]:
        raise NotImplementedError

    def answer(self, account: Account, request: Request, address: str) -> Answer:
        raise NotImplementedError


class Server:
    """Serves many accounts, each below its own path, until it is closed."""

    def __init__(self, providers: dict[str, Provider]) -> None:
        self.providers = providers
        self.accounts: dict[str, tuple[Provider, Account]] = {}
        bench = self

        class Handler(_Handler):
            server_of_bench = bench

        self._http = _Listening(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._http.server_address[1]}"
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.2}, daemon=True).start()

    def open(self, provider: str, account: Account) -> str:
        """The address of a new account."""
        self.accounts[account.name] = (self.providers[provider], account)
        return f"{self.address}/{account.name}"

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()


class _Listening(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Connections that break are what this server is for."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_of_bench: Server

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        _, name, *rest = parts.path.split("/", 2)
        length = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(length)
        request = Request(self.command, "/" + "".join(rest), parse_qsl(parts.query), self.headers, body)
        if name not in self.server_of_bench.accounts:
            self._send(Answer({"error": {"message": "no such account"}}, 404))
            return
        provider, account = self.server_of_bench.accounts[name]
        try:
            if provider.is_create(request):
                self._create(provider, account, request)
            else:
                self._send(provider.answer(account, request, f"{self.server_of_bench.address}/{name}"))
        except Refused as error:
            if error.status == 405:
                account.strange.append(f"{request.method} {request.path}")
            self._send(Answer({"error": {"message": str(error), "type": "invalid_request_error"}}, error.status))

    do_GET = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815 - names of the base class

    def _create(self, provider: Provider, account: Account, request: Request) -> None:
        given = provider.checked(account, request)
        create, how = account.arrived(provider.token_of(given), request.headers.get("idempotency-key"))
        if how == NOTHING:
            self._reset()
            return
        with account.under_way():
            if how == DEAD_FIRST:
                self._reset()
            time.sleep(account.knobs.delay if account.phase else 0.0)
            job = account.carry_out(create, given, provider.prefix)
        if how == DEAD_FIRST:
            return
        if how == "other job":
            other = next((known for known in account.jobs if known is not job), job)
            self._send(Answer(provider.shown(account, other)))
            return
        self._answer_astray(Answer(provider.shown(account, job)), how)

    def _answer_astray(self, answer: Answer, how: str) -> None:
        if how == "reset":
            self._reset()
        elif how == "close":
            self._end(socket.SHUT_RDWR)
        elif how == "half":
            self._send(answer, cut=len(answer.body) // 2)
        elif how == "silence":
            time.sleep(LONGEST_SILENCE)
            self._end(socket.SHUT_RDWR)
        elif how in ("bad gateway", "gateway timeout", "server error"):
            status = {"bad gateway": 502, "gateway timeout": 504, "server error": 500}[how]
            self._send(Answer({"error": {"message": how, "type": "server_error"}}, status))
        else:
            self._send(answer)

    def _send(self, answer: Answer, cut: int | None = None) -> None:
        with suppress(OSError):
            self.send_response(answer.status)
            for name, value in {"content-type": "application/json", **answer.headers}.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body[:cut])
            if cut is not None:
                self._reset()

    def _end(self, how: int) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(how)

    def _reset(self) -> None:
        """Close so that the client gets a RST."""
        self.close_connection = True
        with suppress(OSError):
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            os.close(self.connection.detach())
