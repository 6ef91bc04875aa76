"""The local page for a review: on this machine only, behind a random token, without anything from a network.

A page of another site that knows the port is told apart by the Host and Origin headers, and lacks the token.
"""

from __future__ import annotations

import json
import secrets
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tuneport.data.review.session import ReviewSession
from tuneport.errors import ConfigError, StorageError, TuneportError
from tuneport.validation import decode_json

MAX_BODY_BYTES = 16 * 2**20
DISCARDED_BYTES = 64 * 2**10
_PAGE = Path(__file__).with_name("review.html")


class ReviewServer(ThreadingHTTPServer):
    """Serves the page until `shutdown`; `review_url` is the URL for the browser. Raises ConfigError if the port is
    taken."""

    daemon_threads = True
    review: ReviewSession
    token: str
    remote_pictures: bool

    def __init__(self, review: ReviewSession, port: int = 0, *, remote_pictures: bool = False) -> None:
        """Open the server. `remote_pictures`: the page may load pictures from other sites, which tells them who looks
        at what."""
        self.review, self.remote_pictures = review, remote_pictures
        self.token = secrets.token_urlsafe(24)
        try:
            super().__init__(("127.0.0.1", port), _Handler)
        except (OSError, OverflowError) as error:
            raise ConfigError(f"port {port} cannot be opened on 127.0.0.1: {error}; give another, or 0") from error

    @property
    def review_port(self) -> int:
        return int(self.server_address[1])

    @property
    def review_url(self) -> str:
        return f"http://127.0.0.1:{self.review_port}/{self.token}/"

    def allowed_hosts(self) -> tuple[str, ...]:
        return f"127.0.0.1:{self.review_port}", f"localhost:{self.review_port}"


class _Handler(BaseHTTPRequestHandler):
    server: ReviewServer
    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_GET(self) -> None:
        path = self._path()
        if path is None:
            return
        if path == "":
            nonce = secrets.token_urlsafe(16)
            page = _PAGE.read_text(encoding="utf-8").replace("{{nonce}}", nonce)
            page = page.replace("{{remote}}", str(self.server.remote_pictures).lower())
            self._send(200, page.encode(), "text/html; charset=utf-8", nonce)
        elif path == "review":
            self._document(200, self.server.review.as_dict())
        else:
            self._document(404, {"error": "there is nothing here"})

    def do_POST(self) -> None:
        path = self._path()
        if path is None:
            return
        try:
            body = self._body()
            if path == "judge":
                answer = self.server.review.judge(int(body["index"]), str(body["verdict"]), body.get("text"))
                self._document(200, answer)
            elif path == "undo":
                self._document(200, self.server.review.undo())
            elif path == "finish":
                self._document(200, self.server.review.summary().as_dict())
                self.server.shutdown()
            else:
                self._document(404, {"error": "there is nothing here"})
        except StorageError as error:
            self._document(507, {"error": str(error)})
        except TuneportError as error:
            self._document(400, {"error": str(error)})
        except (KeyError, TypeError, ValueError) as error:
            self._document(400, {"error": f"the request cannot be read: {error}"})

    def _path(self) -> str | None:
        """Return the path under the token, or None, with the refusal sent, if the request has no right to it."""
        hosts = self.server.allowed_hosts()
        origin = self.headers.get("Origin")
        _, _, rest = self.path.partition("?")[0].partition("/")
        token, _, path = rest.partition("/")
        allowed = (
            self.headers.get("Host") in hosts
            and (origin is None or origin.removeprefix("http://") in hosts)
            and self.headers.get("Sec-Fetch-Site") in (None, "same-origin", "none")
            and secrets.compare_digest(token.encode(), self.server.token.encode())
        )
        if allowed:
            return path
        self.close_connection = True
        self._discard()
        self._document(403, {"error": "open the address that tuneport review printed"})
        return None

    def _body(self) -> dict[str, Any]:
        length = int(self.headers.get("Content-Length") or 0)
        if not 0 <= length <= MAX_BODY_BYTES or self.headers.get_content_type() != "application/json":
            self.close_connection = True
            self._discard()
            raise ValueError(f"a JSON document of up to {MAX_BODY_BYTES:,} bytes is expected")
        body = decode_json(self.rfile.read(length) or b"{}")
        if not isinstance(body, dict) or not isinstance(body.get("text"), str | None):
            raise ValueError("a JSON object is expected, its text as a string")
        return body

    def _discard(self) -> None:
        """Read some of what was sent, since closing on unread bytes may take the answer away from the other side."""
        sent = self.headers.get("Content-Length") or ""
        if sent.isdecimal() and int(sent) <= DISCARDED_BYTES:
            self.rfile.read(int(sent))

    def _document(self, status: int, document: dict[str, Any]) -> None:
        text = json.dumps(document, ensure_ascii=True)
        self._send(status, text.encode(), "application/json")

    def _send(self, status: int, body: bytes, kind: str, nonce: str | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.send_header("Referrer-Policy", "no-referrer")  # the address holds the token
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("X-Frame-Options", "DENY")
        images = "http: https: data:" if self.server.remote_pictures else "'self' data:"
        own = "'none'" if nonce is None else f"'nonce-{nonce}'"
        self.send_header(
            "Content-Security-Policy",
            f"default-src 'none'; script-src {own}; style-src {own}; connect-src 'self'; img-src {images}; "
            "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        )
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Log nothing: requests are no news, and their paths hold the token."""
