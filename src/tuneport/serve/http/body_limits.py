"""Size limits of request bodies that are read into memory. Uploads have limits of their own."""

from __future__ import annotations

import re
from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.types import Receive

_UPLOADS = re.compile(r"/v1/files|/new|/v1/uploads/[^/]+/parts|/new/[^/]+/validation")


@dataclass(frozen=True)
class BodyLimits:
    """Limits in bytes. Chats with base64 images are the largest bodies besides uploads."""

    json: int = 2**20
    chat: int = 64 * 2**20

    def limit_for_path(self, path: str) -> int | None:
        """Return the limit of a path, or None if its body is an upload."""
        if _UPLOADS.fullmatch(path):
            return None
        return self.chat if path == "/v1/chat/completions" else self.json


def limit_request_body(receive: Receive, most: int) -> Receive:
    """Return a `receive` that answers 413 as soon as more than `most` bytes have come, whatever length was
    announced."""
    received = 0

    async def counted():  # type: ignore[no-untyped-def]
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > most:
            # FastAPI turns any other exception while a body is read into a 400.
            raise HTTPException(413, f"The body is too large: at most {most:,} bytes.")
        return message

    return counted
