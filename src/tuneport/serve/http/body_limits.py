"""Size limits of request bodies that are read into memory. Uploads have limits of their own."""

from __future__ import annotations

import re
from dataclasses import dataclass

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
